"""Judged questions: read from files, and the measures of trec_eval that tell how good a ranking is.

    {"qid": "q1", "text": "who knows water law", "type": "topic"}
    q1 0 ada 2

A name is what people know an item by, a grade of 0 says that it is no answer. What is wrong is told with its file, line
and field. Judgements are incomplete in every collection we know: figures compare systems, and say nothing absolute.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.text import UNSOUND
from pipeline.index.question import parse_one_of_many

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUESTION = 'a line is {"qid": …, "text": …}'
JUDGEMENT = "a line is `qid 0 name grade`"
LOWEST, HIGHEST = -9, 99  # grades; those below one are not relevant
MAIN = "nDCG@10"  # what builds are compared by; gains are the grades themselves
MEASURES = (MAIN, "MRR", "P@5", "R@10")
DEPTH = 100  # entries of a ranking that are looked at
SEED, RESAMPLES, AT_ONCE = 20261122, 5000, 250  # of a bootstrap, and how many are in memory
_COLUMNS = 4  # of TREC
T = TypeVar("T")


class JudgedQuestion(NamedTuple):
    """One question; `type` groups questions in a report and may be empty."""

    qid: str
    text: str
    type: str = ""


class Judged(NamedTuple):
    """Questions with something relevant, and the grades of names for each."""

    questions: Sequence[JudgedQuestion]
    grades: Mapping[str, Mapping[str, int]]

    @property
    def qids(self) -> list[str]:
        """Return the ids of the questions."""
        return [one.qid for one in self.questions]

    @property
    def texts(self) -> list[str]:
        """Return the texts of the questions, in the same order."""
        return [one.text for one in self.questions]


def judged_of_files(queries: Path, qrels: Path) -> Judged:
    """Return the judged questions of files.

    Raises:
        InputError: a file is missing or a line of it is wrong, or none of the questions is judged.
    """
    for path in (queries, qrels):
        if why := files.why_not_readable(path):
            raise InputError(f"{path} {why}; nothing was measured", hint="check the path")
    grades = read_grades(qrels)
    found = [one for one in read_questions(queries) if any(grade > 0 for grade in grades.get(one.qid, {}).values())]
    if not found:
        raise InputError(f"{qrels} judges none of the questions in {queries}", hint="are these two of one collection?")
    return Judged(found, grades)


def read_questions(path: Path) -> list[JudgedQuestion]:
    """Return the questions of a JSON lines file.

    Raises:
        InputError: the file is missing, a line is no question or one that search refuses, or two have one id.
    """
    found: dict[str, JudgedQuestion] = {}
    for place, document in _documents(path):
        question = _question(document, place)
        if found.setdefault(question.qid, question) != question:
            raise InputError(f"{place}: field 'qid': {question.qid!r} stands for another question above", hint=QUESTION)
    return list(found.values())


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Return the grades of names for each question that a TREC file judges.

    Raises:
        InputError: the file is missing, a line is no judgement, or one item has two grades for a question.
    """
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(_read(path, lambda: path.read_text(encoding="utf-8-sig")).split("\n"), start=1):
        place, parts = f"{path}, line {number}", line.split()
        if not parts or parts[0].startswith("#"):
            continue
        if len(parts) < _COLUMNS:
            raise InputError(f"{place}: expected `qid 0 name grade`, found {line[:80]!r}", hint=JUDGEMENT)
        if unsound := UNSOUND.search(line):
            raise InputError(f"{place}: holds what is no text ({unsound[0]!r})", hint=JUDGEMENT)
        qid, name, grade = parts[0], parts[2], _grade(parts[3], place)
        if found.setdefault(qid, {}).setdefault(name, grade) != grade:
            raise InputError(f"{place}: field 'grade': {name!r} has another grade above", hint=JUDGEMENT)
    return found


def measure_rankings(
    rankings: Mapping[str, Sequence[str]], grades: Mapping[str, Mapping[str, int]], qids: Sequence[str]
) -> "dict[str, NDArray[Any]]":
    """Return by measure its value for each of `qids`, float64 (len(qids),), in their order.

    `rankings` maps questions to names, best first, `grades` to the grades of judged names; a question without a ranking
    scores zero.

    Raises:
        ConfigurationError: there is no trec_eval for this machine.
    """
    import ir_measures
    import numpy as np

    if not ir_measures.pytrec_eval.is_available():
        raise ConfigurationError(
            "the measures need pytrec-eval-terrier, which has no package for this machine; nothing was measured",
            hint="pip install pytrec-eval-terrier, which needs a C compiler",
        )
    measures = {ir_measures.parse_measure("RR" if name == "MRR" else name): name for name in MEASURES}
    run = {qid: {name: -float(place) for place, name in enumerate(rankings.get(qid, ()))} for qid in qids}
    found = {name: np.zeros(len(qids)) for name in MEASURES}
    place = {qid: at for at, qid in enumerate(qids)}
    judged = {qid: dict(grades[qid]) for qid in qids}
    for metric in ir_measures.iter_calc(list(measures), judged, {qid: names for qid, names in run.items() if names}):
        found[measures[metric.measure]][place[metric.query_id]] = metric.value
    return found


def difference(values: "NDArray[Any]", others: "NDArray[Any]") -> tuple[float, float, float]:
    """Return by how much `values` are higher than `others` on the mean, and the ends of its 95 % interval.

    Both are of the same questions in the same order; the interval is by bootstrap over the questions, seeded.
    """
    import numpy as np

    differences = values - others
    rng, count = np.random.default_rng(SEED), len(differences)
    drawn = (rng.multinomial(count, np.full(count, 1 / count), AT_ONCE) for _ in range(RESAMPLES // AT_ONCE))
    low, high = np.percentile(np.concatenate([times @ differences for times in drawn]) / count, [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def _read(path: Path, read: Callable[[], T]) -> T:
    """Return what reading a file gives."""
    try:
        return read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="check the path; it must be UTF-8") from error


def _documents(path: Path) -> Iterator[tuple[str, Any]]:
    with closing(_read(path, lambda: files.read_jsonl(path))) as lines:
        yield from _read(path, lambda: [(f"{path}, line {number}", document) for number, document in lines])


def _question(document: Any, place: str) -> JudgedQuestion:
    if not isinstance(document, dict):
        raise InputError(f"{place}: a question must be an object", hint=QUESTION)
    qid, text = (_text(document, name, place) for name in ("qid", "text"))
    parse_one_of_many(text, f"{place}: field 'text'")
    return JudgedQuestion(qid, text, _text(document, "type", place) if document.get("type") else "")


def _text(document: Mapping[str, Any], name: str, place: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{place}: field {name!r} must be a text that is not empty", hint=QUESTION)
    if UNSOUND.search(value):
        raise InputError(f"{place}: field {name!r} holds what is no text (NUL, or half a character)", hint=QUESTION)
    return value.strip()


def _grade(digits: str, place: str) -> int:
    plain = digits.removeprefix("-")
    grade = int(digits) if plain.isascii() and plain.isdecimal() and len(plain) < _COLUMNS else HIGHEST + 1
    if not LOWEST <= grade <= HIGHEST:
        said = f"{place}: field 'grade' must be a whole number from {LOWEST} to {HIGHEST}"
        raise InputError(said, hint=JUDGEMENT)
    return grade
