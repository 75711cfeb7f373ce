"""Read and write the files of a judged collection: questions as JSON lines, judgements as these or as TREC has them.

    {"qid": "q1", "text": "who knows water law", "type": "topic", "language": "en"}
    {"qid": "q1", "name": "ada", "grade": 2, "judge": "eve", "at": "2026-11-20T12:30:00+00:00"}
    q1 0 ada 2

Of a question `qid` and `text` are needed, of a judgement the first three. A name is what people know an item by, a
grade of 0 says that it is no answer. Everything that is wrong is told with its file, line and field.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.text import UNSOUND
from pipeline.index.question import parse_one_of_many
from pipeline.store.lab import LabQuestion

QUESTION = 'a line is {"qid": …, "text": …}'
JUDGEMENT = 'a line is `qid 0 name grade`, or {"qid": …, "name": …, "grade": …}'
LOWEST, HIGHEST = -9, 99  # grades; those below one are not relevant
_COLUMNS = 4  # of TREC
_OTHERWISE = "#{\ufeff"  # what a line begins with that is no judgement as TREC has it
T = TypeVar("T")


class ReadJudgement(NamedTuple):
    """One line of a file of judgements, with the place where it stands; judge and time (aware) are not always there."""

    qid: str
    name: str
    grade: int
    place: str
    judge: str | None = None
    at: datetime | None = None


def read_questions(path: Path) -> list[LabQuestion]:
    """Return the questions of a JSON lines file.

    Raises:
        InputError: the file is missing, a line is no question or one that search refuses, or two have one id.
    """
    found: dict[str, LabQuestion] = {}
    for place, document in _documents(path):
        question = _question(document, place)
        if found.setdefault(question.qid, question) != question:
            raise InputError(f"{place}: field 'qid': {question.qid!r} stands for another question above", hint=QUESTION)
    return list(found.values())


def read_judgements(path: Path) -> list[ReadJudgement]:
    """Return the judgements of a file, whose first letter tells which of the two forms it has.

    Raises:
        InputError: the file is missing, a line is no judgement, or one item has two grades for a question.
    """
    is_json = _read(path, lambda: path.read_text(encoding="utf-8-sig")).lstrip().startswith(_OTHERWISE[1])
    found: dict[tuple[str, str], ReadJudgement] = {}
    for one in _json_judgements(path) if is_json else _trec_judgements(path):
        if found.setdefault((one.qid, one.name), one).grade != one.grade:
            raise InputError(f"{one.place}: field 'grade': {one.name!r} has another grade above", hint=JUDGEMENT)
    return list(found.values())


def questions_as_lines(questions: Iterable[LabQuestion]) -> Iterator[bytes]:
    """Yield each question as a line; members that are empty are left out."""
    for one in questions:
        yield orjson.dumps({name: value for name, value in one._asdict().items() if value}) + b"\n"


def judgements_as_lines(judgements: Iterable[ReadJudgement], *, as_trec: bool) -> Iterator[bytes]:
    """Yield each judgement as a line of either form.

    Raises:
        InputError: TREC cannot hold an id or a name with white space, or an id that begins as a comment or as JSON.
    """
    for one in judgements:
        if not as_trec:
            members = {name: value for name, value in one._asdict().items() if name != "place"}
            yield orjson.dumps(members) + b"\n"
        elif broken := next((each for each in (one.qid, one.name) if each.split() != [each]), None):
            said = f"{broken!r} holds white space, which a TREC file cannot"
            raise InputError(f"{said}; nothing was written", hint="name a file that ends in .jsonl")
        elif one.qid[0] in _OTHERWISE:
            said = f"{one.qid!r} would be read as something else in a TREC file"
            raise InputError(f"{said}; nothing was written", hint="name a file that ends in .jsonl")
        else:
            yield f"{one.qid} 0 {one.name} {one.grade}\n".encode()


def _read(path: Path, read: Callable[[], T]) -> T:
    """Return what reading a file gives.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="check the path; it must be UTF-8") from error


def _documents(path: Path) -> list[tuple[str, Any]]:
    """Return each document of a JSON lines file with its place."""
    with closing(_read(path, lambda: files.read_jsonl(path))) as lines:
        return _read(path, lambda: [(f"{path}, line {number}", document) for number, document in lines])


def _question(document: Any, place: str) -> LabQuestion:
    """Return one question, or say what is wrong with it."""
    if not isinstance(document, dict):
        raise InputError(f"{place}: a question must be an object", hint=QUESTION)
    needed = [_text(document, name, place, hint=QUESTION) for name in ("qid", "text")]
    parse_one_of_many(needed[1], f"{place}: field 'text'")
    given = [_text(document, name, place, hint=QUESTION, needed=False) for name in ("type", "language")]
    return LabQuestion(*needed, *given)


def _text(document: Mapping[str, Any], name: str, place: str, *, hint: str, needed: bool = True) -> str:
    """Return a member that is text, trimmed, or say what is wrong with it."""
    value = document.get(name)
    if not needed and value is None:
        return ""
    if not isinstance(value, str) or (needed and not value.strip()):
        raise InputError(f"{place}: field {name!r} must be a text{' that is not empty' * needed}", hint=hint)
    if UNSOUND.search(value):
        raise InputError(f"{place}: field {name!r} holds what is no text (NUL, or half a character)", hint=hint)
    return value.strip()


def _json_judgements(path: Path) -> Iterator[ReadJudgement]:
    for place, document in _documents(path):
        if not isinstance(document, dict):
            raise InputError(f"{place}: a judgement must be an object", hint=JUDGEMENT)
        qid, name = (_text(document, member, place, hint=JUDGEMENT) for member in ("qid", "name"))
        judge = _text(document, "judge", place, hint=JUDGEMENT, needed=False)
        at = _moment(_text(document, "at", place, hint=JUDGEMENT, needed=False), place)
        yield ReadJudgement(qid, name, _grade(document.get("grade"), place), place, judge or None, at)


def _moment(text: str, place: str) -> datetime | None:
    """Return an aware time, None where none is given."""
    if not text:
        return None
    at = None
    with suppress(ValueError):
        at = datetime.fromisoformat(text)
    if at is None or at.tzinfo is None:
        raise InputError(f"{place}: field 'at' must be a time with its zone, as ISO 8601 has it", hint=JUDGEMENT)
    return at


def _grade(value: Any, place: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not LOWEST <= value <= HIGHEST:
        said = f"{place}: field 'grade' must be a whole number from {LOWEST} to {HIGHEST}"
        raise InputError(said, hint=JUDGEMENT)
    return value


def _trec_judgements(path: Path) -> Iterator[ReadJudgement]:
    lines = _read(path, lambda: path.read_text(encoding="utf-8-sig")).split("\n")
    for number, line in enumerate(lines, start=1):
        place, parts = f"{path}, line {number}", line.split()
        if not parts or parts[0].startswith(_OTHERWISE[0]):
            continue
        if len(parts) < _COLUMNS:
            raise InputError(f"{place}: expected `qid 0 name grade`, found {line[:80]!r}", hint=JUDGEMENT)
        if unsound := UNSOUND.search(line):
            raise InputError(f"{place}: holds what is no text ({unsound[0]!r})", hint=JUDGEMENT)
        digits = parts[3].removeprefix("-")
        grade = int(parts[3]) if digits.isascii() and digits.isdecimal() and len(digits) < _COLUMNS else None
        yield ReadJudgement(parts[0], parts[2], _grade(grade, place), place)
