"""Files of the test lab: whatever stands in one, it is read or refused; what was written is read as it was."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.index.lab.judged_files import (
    ReadJudgement,
    judgements_as_lines,
    questions_as_lines,
    read_judgements,
    read_questions,
)
from pipeline.index.lab.variant_file import read_variant
from pipeline.index.question import parse_question
from pipeline.store.lab import LabQuestion

anything = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
PIECES = st.sampled_from(
    ['{"qid": "q1"', '"text": 7', "q1 0 a 1", "[[groups]]", "share = 1e999", "\0", "\n", "\ufeff", "}"]
)
BYTES = st.binary(max_size=60) | st.lists(PIECES).map(lambda some: "".join(some).encode())
LETTERS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)
WORDS = LETTERS.filter(lambda text: text.strip() == text)
MAYBE = WORDS | st.just("")


def is_asked(text: str) -> bool:
    """Return whether search takes a text as a question."""
    try:
        parse_question(text)
    except InputError:
        return False
    return True


ASKED = WORDS.filter(is_asked)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - drawn
JUDGEMENTS = st.builds(ReadJudgement, WORDS, WORDS, st.integers(-9, 99), st.just(""), WORDS, TIMES)
READERS = {"q.jsonl": read_questions, "j.tsv": read_judgements, "v.toml": read_variant, "v.json": read_variant}


@anything
@given(BYTES)
def test_any_file_is_read_or_refused(tmp_path: Path, data: bytes) -> None:
    """Nothing but an error of the input comes of it, which names the file."""
    for name, read in READERS.items():
        (tmp_path / name).write_bytes(data)
        try:
            read(tmp_path / name)
        except InputError as error:
            assert name in str(error)  # noqa: PT017 - it may be read as well


@anything
@given(st.lists(st.builds(LabQuestion, WORDS, ASKED, MAYBE, MAYBE), unique_by=lambda one: one.qid))
def test_questions_are_read_as_they_were(tmp_path: Path, questions: list[LabQuestion]) -> None:
    """With type and language, where they have any."""
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"".join(questions_as_lines(questions)))
    assert read_questions(path) == questions


@anything
@given(st.lists(JUDGEMENTS, unique_by=lambda one: (one.qid, one.name)), st.booleans())
def test_judgements_are_read_as_they_were(
    tmp_path: Path,
    judgements: list[ReadJudgement],
    as_trec: bool,  # noqa: FBT001 - hypothesis draws it
) -> None:
    """In either form; TREC refuses what it cannot hold."""
    path = tmp_path / "judged"
    odd = [one for one in judgements if len(one.qid.split() + one.name.split()) > 2 or one.qid[0] in "#{\ufeff"]
    if as_trec and odd:
        with pytest.raises(InputError, match="TREC file"):
            list(judgements_as_lines(judgements, as_trec=True))
        return
    path.write_bytes(b"".join(judgements_as_lines(judgements, as_trec=as_trec)))
    kept = [one._replace(place="") for one in read_judgements(path)]
    assert kept == [one._replace(judge=None, at=None) if as_trec else one for one in judgements]
