"""Measure the search on judged questions: for `eval`, and before a build is promoted beside the one in service.

    {"qid": "q1", "text": "who knows water law", "type": "topic"}
    q1 0 ada 2

A name is what people know an item by, a grade of 0 says that it is no answer. What is wrong is told with its file, line
and field. Judgements are incomplete in every collection we know: figures, those of trec_eval, compare systems, and say
nothing absolute.

That gate asks both builds as search asks them, each with its own model. Nothing is paid for it: where a service embeds,
the vectors of the questions are those that `eval` left in the cache. Another gate holds a large build against an exact
scan.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.core import files
from pipeline.core.errors import ConfigurationError, FindableError, GateError, InputError
from pipeline.core.ranking import K1, B, RankMode
from pipeline.core.text import UNSOUND, first_few, plural
from pipeline.engine.workspace import WorkspaceSession
from pipeline.index.build_reader import Index
from pipeline.index.builds import Builds
from pipeline.index.manifest import StagedBuild
from pipeline.index.query import SearchOptions, parse_question
from pipeline.index.search import SearchSession, check_embedding
from pipeline.index.tokenizer import words_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.engine.task import IndexedTask

FOLDER = "judged"  # below DATA: what builds of a collection are held to
QUERIES = "queries.jsonl"
QRELS = "qrels.tsv"
FEWEST = 50  # judged questions, below which no difference is told from chance
FIRST = 10  # entries of each ranking that the measure looks at
QUESTION = 'a line is {"qid": …, "text": …}'
JUDGEMENT = "a line is `qid 0 name grade`, the grade a whole number from -9 to 99"
JUDGED = re.compile(r"\s*(\S+)\s+\S+\s+(\S+)\s+(-[0-9]|[0-9]{1,2})(?!\S)", re.ASCII)
MAIN = "nDCG@10"  # what builds are compared by; gains are the grades themselves
MEASURES = (MAIN, "MRR", "P@5", "R@10")
DEPTH = 100  # entries of a ranking that are looked at
SEED = 20261122  # of a bootstrap, and how many are in memory
RESAMPLES = 5000
AT_ONCE = 250
ALL = "all"
EACH = 500  # vectors of its own, and as many others, of which a build of 8 bits a number is asked
LEAST_RECALL = 0.95  # of the ten nearest: the lower end of its 95 % interval


class JudgedQuery(BaseModel):
    """One question; `type` groups questions in a report and may be empty."""

    model_config = ConfigDict(frozen=True, strict=True, str_strip_whitespace=True)

    qid: Annotated[str, Field(min_length=1)]
    text: str
    type: str = ""


class JudgedQueries(NamedTuple):
    """Questions with something relevant, and the grades of names for each."""

    questions: Sequence[JudgedQuery]
    grades: Mapping[str, Mapping[str, int]]

    @property
    def texts(self) -> list[str]:
        """Return the texts of the questions, in the same order."""
        return [one.text for one in self.questions]


def plain_bm25(texts: Mapping[str, str], questions: Iterable[str], depth: int) -> list[list[str]]:
    """Return for each question at most `depth` names of texts that share a word with it, best first, ties in order.

    Okapi BM25 as Lucene has it, by bm25s: folded words, pairs of characters of scripts without spaces; never tuned. No
    stop words, no stems.
    """
    import bm25s
    import numpy as np

    names = [*texts]
    words = [[*words_of(text)] for text in texts.values()]
    known = {word for some in words for word in some}
    found = list[list[str]]()
    bm25 = bm25s.BM25(k1=K1, b=B, method="lucene")
    if known:
        bm25.index(words, show_progress=False)
    for question in questions:
        asked = [word for word in dict.fromkeys(words_of(question)) if word in known]
        scores = bm25.get_scores(asked) if asked else np.empty(0)
        order = np.argsort(-scores, kind="stable")[:depth]
        found.append([names[place] for place in order if scores[place] > 0])
    return found


def _open_build(ws: WorkspaceSession, index: Index) -> SearchSession:
    """Return a search in an open build, whose questions are embedded with its own model, and kept in the cache."""
    found = index.manifest
    settings = replace(ws.settings, embedding_model=found.model, dim=found.dim)
    return SearchSession(replace(ws, settings=settings), index=index, keeps=True)


def run(ws: WorkspaceSession, queries: Path, qrels: Path) -> list[dict[str, Any]]:
    """Return {system, type, queries, figures, weak} of the search by each rank and a plain BM25, in all and by type.

    A figure is its mean and the ends of its 95 % interval; `weak` is the share of questions whose first ten hits all
    are, None where that is not known.
    """
    judged = judged_of_files(queries, qrels)
    collection = ws.collection
    with Builds(ws.data, collection.folder).open() as index:
        check_embedding(ws, index.manifest)
        documents = (index.metadata_at(row) for row in range(len(index)))
        texts = {collection.name_of(one): " ".join(collection.texts(one)) for one in documents}
        _tell_unknown(ws, judged, texts)
        build = _open_build(ws, index)
        weak = dict[str, list[bool]]()
        ranked = {"bm25": plain_bm25(texts, judged.texts, DEPTH)}
        for rank in RankMode:
            found = [*build.ask_many(judged.texts, SearchOptions(DEPTH, rank))]
            ranked[rank] = [[collection.name_of(hit.metadata) for hit in hits] for hits in found]
            if index.manifest.floor is not None:
                weak[rank] = [all(hit.is_weak for hit in hits[:FIRST]) for hits in found]
    values = {system: measured(judged, ranked[system]) for system in (*RankMode, "bm25")}
    types = {ALL: list(range(len(judged.questions)))}
    for place, one in enumerate(judged.questions):
        types.setdefault(one.type or "none", []).append(place)
    shown = types if len(types) > 2 else {ALL: types[ALL]}  # noqa: PLR2004 - all, and two types at least
    return [
        {
            "system": str(system),
            "type": name,
            "queries": len(places),
            "figures": {
                measure: difference(one[places], 0 * one[places]) for measure, one in found.items()
            },
            "weak": sum(weak[system][at] for at in places) / len(places)
            if system in weak
            else None,
        }
        for name, places in sorted(shown.items(), key=lambda pair: (pair[0] != ALL, pair[0]))
        for system, found in values.items()
    ]


def _tell_unknown(ws: WorkspaceSession, judged: JudgedQueries, known: Collection[str]) -> None:
    """Warn of names that are judged an answer and cannot be found: mistyped, or in no index."""
    wanted = {
        name: None
        for grades in judged.grades.values()
        for name, grade in grades.items()
        if grade > 0
    }
    if unknown := [name for name in wanted if name not in known]:
        said = f"{len(unknown):,} of {plural(len(wanted), 'name')} that are judged an answer are not in the index"
        ws.display.warn(f"{said}, and count as not found: {first_few(unknown)}")


def gate_questions(data: Path, collections: "Iterable[IndexedTask]") -> list[str]:
    """Return the questions that builds of some collections are held to; of a broken file none."""
    found: list[str] = []
    for path in (data / FOLDER / one.folder / QUERIES for one in collections):
        try:
            found += [one.text for one in read_questions(path)] if path.exists() else []
        except FindableError:
            continue
    return found


def check_not_worse(ws: WorkspaceSession, staged: StagedBuild, *, worse_ok: bool) -> None:
    """Measure a staged build beside the one in service where that can be, and keep the figures in its manifest."""
    folder = ws.data / FOLDER / ws.collection.folder
    builds = Builds(ws.data, ws.collection.folder)
    display = ws.display
    if not (folder / QUERIES).exists() or builds.current() is None:
        return
    try:
        judged = judged_of_files(folder / QUERIES, folder / QRELS)
        with Index(staged.directory, staged.manifest) as new, builds.open() as before:
            number = before.manifest.number
            asked = [_open_build(ws, one) for one in (new, before)]
            why = ""
            if len(judged.questions) < FEWEST:
                why = f"{folder / QRELS} judges {len(judged.questions)} questions, and fewer than {FEWEST} tell nothing"
            elif not all(one.is_free(judged.texts) for one in asked):
                step = ws.task.words.step("eval", queries=folder / QUERIES, qrels=folder / QRELS)
                why = f"`{step}` embeds the judged questions, which costs"
            if why:
                display.say(f"not compared with the build in service: {why}")
                return
            found = (one.ask_many(judged.texts, SearchOptions(FIRST)) for one in asked)
            name_of = ws.collection.name_of
            ranked = ([[name_of(hit.metadata) for hit in hits] for hits in some] for some in found)
            ours, theirs = (measured(judged, some)[MAIN] for some in ranked)
    except FindableError as error:
        display.say(f"not compared with the build in service on judged questions: {error.message}")
        return
    (mean, low, high), reached, reference = (
        difference(ours, theirs),
        float(ours.mean()),
        float(theirs.mean()),
    )
    facts = {"number": number, MAIN: reference}
    told = {"questions": len(ours), MAIN: reached, "before": facts}
    staged.seal(judged={**told, "difference": {"mean": mean, "low": low, "high": high}})
    said = f"on {len(ours)} judged questions {MAIN} is {reached:.3f}, and {reference:.3f} in build {number}"
    if high >= 0:
        display.say(said)
    else:
        worse = f"{said}, which is in service: worse by {-mean:.3f} [{-high:.3f}, {-low:.3f}]"
        _refuse(ws, staged, worse, worse_ok=worse_ok)


def _refuse(ws: WorkspaceSession, staged: StagedBuild, why: str, *, worse_ok: bool) -> None:
    if not worse_ok:
        raise GateError(
            f"build {staged.manifest.number} was not promoted: {why}",
            hint=f"`{ws.task.words.step('index', worse_ok=True)}` promotes it all the same",
        )
    ws.display.warn(why)


def check_recall(ws: WorkspaceSession, staged: StagedBuild, *, worse_ok: bool) -> None:
    """Hold a build of 8 bits a number against an exact scan, and keep in its manifest what it finds; pass an exact one.

    Asked are some of its own vectors, and as many that it does not hold: the middle of two of its own each. The scan
    goes through the cache, at flat memory. An entry counts as found that is no farther than the tenth of the exact
    ones: of equal texts any is as good.
    """
    import numpy as np

    from pipeline.index.vector_file import BLOCK, is_exact, nearest_in
    from pipeline.index.write import TIE, keys_at

    count = staged.manifest.count
    cache = staged.cache
    rng = np.random.default_rng(SEED)
    if is_exact(count):
        return
    with Index(staged.directory, staged.manifest) as index:
        drawn = [rng.choice(count, min(EACH, count), replace=False).tolist() for _ in range(3)]
        own, one, other = (cache.fetch(keys_at(index, rows)) for rows in drawn)
        between = one + other
        queries = np.concatenate([own, between / np.linalg.norm(between, axis=1, keepdims=True)])
        places = [range(first, min(first + BLOCK, count)) for first in range(0, count, BLOCK)]
        exact, _ = nearest_in(
            queries, (cache.fetch(keys_at(index, rows)) for rows in places), FIRST
        )
        _, near = nearest_in(
            queries, (index.faiss.reconstruct_n(rows.start, len(rows)) for rows in places), FIRST
        )
        given = cache.fetch(keys_at(index, near.ravel().tolist())).reshape(*near.shape, -1)
    found = np.einsum("id,ijd->ij", queries, given) >= exact[:, -1:] - TIE
    mean, low, high = difference(found.mean(axis=1), np.zeros(len(found)))
    staged.seal(
        recall={"questions": len(found), "seed": SEED, "recall@10": mean, "low": low, "high": high}
    )
    said = f"8 bits a number find {mean:.3f} [{low:.3f}, {high:.3f}] of the ten nearest to {len(found):,} vectors"
    if low >= LEAST_RECALL:
        ws.display.say(said)
    else:
        _refuse(ws, staged, f"{said}, and {LEAST_RECALL} is the least", worse_ok=worse_ok)


def judged_of_files(queries: Path, qrels: Path) -> JudgedQueries:
    """Return the judged questions of files."""
    questions = read_questions(queries)
    grades = read_grades(qrels)
    found = [
        one for one in questions if any(grade > 0 for grade in grades.get(one.qid, {}).values())
    ]
    if not found:
        raise InputError(
            f"{qrels} judges none of the questions in {queries}",
            hint="are these two of one collection?",
        )
    return JudgedQueries(found, grades)


def read_questions(path: Path) -> list[JudgedQuery]:
    """Return the questions of a JSON lines file."""
    import jsonlines
    import orjson

    found: dict[str, JudgedQuery] = {}
    for place, line in _lines(path):
        try:
            question = JudgedQuery.model_validate(
                jsonlines.Reader([line], loads=orjson.loads).read()
            )
            parse_question(question.text)
        except jsonlines.InvalidLineError as error:
            raise InputError(
                f"{place}: no JSON: {error}", hint="one JSON document a line"
            ) from error
        except ValidationError as error:
            wrong = error.errors()[0]
            said = f"field {wrong['loc'][0]!r}: {wrong['msg']}" if wrong["loc"] else wrong["msg"]
            raise InputError(f"{place}: {said}", hint=QUESTION) from None
        except InputError as error:
            raise InputError(f"{place}: field 'text': {error.message}", hint=error.hint) from None
        if found.setdefault(question.qid, question) != question:
            raise InputError(
                f"{place}: field 'qid': {question.qid!r} stands for another question above",
                hint=QUESTION,
            )
    return list(found.values())


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Return the grades of names for each question that a TREC file judges."""
    found: dict[str, dict[str, int]] = {}
    for place, line in _lines(path):
        if line.lstrip().startswith("#"):
            continue
        one = JUDGED.match(line)
        if one is None or UNSOUND.search(line):
            raise InputError(
                f"{place}: expected `qid 0 name grade`, found {line[:80]!r}", hint=JUDGEMENT
            )
        qid, name, grade = one.groups()
        if found.setdefault(qid, {}).setdefault(name, int(grade)) != int(grade):
            raise InputError(
                f"{place}: field 'grade': {name!r} has another grade above", hint=JUDGEMENT
            )
    return found


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that are not blank, each with where it stands."""
    if why := files.why_not_readable(path):
        raise InputError(f"{path} {why}; nothing was measured", hint="check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {error}", hint="check the path; it must be UTF-8"
        ) from error
    yield from (
        (f"{path}, line {at}", one)
        for at, one in enumerate(text.split("\n"), start=1)
        if one.strip()
    )


def measured(judged: JudgedQueries, rankings: Iterable[Sequence[str]]) -> "dict[str, NDArray[Any]]":
    """Return by measure its value for each judged question, float64 (questions,), of names, best first.

    A question without a ranking scores zero.
    """
    import ir_measures
    import numpy as np

    if not ir_measures.pytrec_eval.is_available():
        raise ConfigurationError(
            "the measures need pytrec-eval-terrier, which has no package for this machine; nothing was measured",
            hint="pip install pytrec-eval-terrier, which needs a C compiler",
        )
    measures = {
        ir_measures.parse_measure("RR" if name == "MRR" else name): name for name in MEASURES
    }
    places = {one.qid: at for at, one in enumerate(judged.questions)}
    run = {
        qid: {name: -float(at) for at, name in enumerate(some)}
        for qid, some in zip(places, rankings, strict=True)
    }
    grades = {qid: dict(judged.grades[qid]) for qid in places}
    found = {name: np.zeros(len(places)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(measures), grades, run):
        found[measures[metric.measure]][places[metric.query_id]] = metric.value
    return found


def difference(values: "NDArray[Any]", others: "NDArray[Any]") -> tuple[float, float, float]:
    """Return by how much `values` are higher than `others` on the mean, and the ends of its 95 % interval.

    Both are of the same questions in the same order; the interval is by bootstrap over the questions, seeded.
    """
    import numpy as np

    differences = values - others
    rng = np.random.default_rng(SEED)
    count = len(differences)
    drawn = (
        rng.multinomial(count, np.full(count, 1 / count), AT_ONCE)
        for _ in range(RESAMPLES // AT_ONCE)
    )
    low, high = np.percentile(
        np.concatenate([times @ differences for times in drawn]) / count, [2.5, 97.5]
    )
    return float(differences.mean()), float(low), float(high)
