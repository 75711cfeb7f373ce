"""What holds for any result file: no damage to one line ever loses another."""

import random
import tempfile
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gemini.result_file import ResultFile, read_line_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def line_of(key: str, text: str, *, first: bool) -> bytes:
    """Return a result line with its key at the start or at the end."""
    response = {"candidates": [{"content": {"parts": [{"text": text}]}}]}
    members = {"key": key, "response": response} if first else {"response": response, "key": key}
    return orjson.dumps(members)


LINES = st.lists(
    st.tuples(KEYS, TEXTS, st.booleans()), min_size=1, max_size=5, unique_by=lambda line: line[0]
)


@settings(max_examples=40)
@given(
    LINES,
    st.randoms(use_true_random=False),
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n  \n"]),
    st.booleans(),
)
def test_every_line_is_found_by_its_key(
    lines: list[tuple[str, str, bool]],
    shuffle: random.Random,
    end: bytes,
    bom: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    """In any order, with any line end, with or without a byte order mark, each key has its line and nothing is left."""
    raw = {key: line_of(key, text, first=first) for key, text, first in lines}
    order = list(raw)
    shuffle.shuffle(order)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + end.join(raw[key] for key in order))
        with ResultFile(path) as results:
            assert {key: results.find_lines([key])[0] for key in raw} == {
                key: [line] for key, line in raw.items()
            }
            assert (results.unknown_count, results.unreadable_count, results.duplicate_count) == (
                0,
                0,
                0,
            )
            assert results.line_count == len(raw)


@settings(max_examples=40)
@given(LINES, st.data())
def test_damage_stays_in_its_line(lines: list[tuple[str, str, bool]], data: st.DataObject) -> None:
    """Cut any bytes out of one line, or put any in: every other line is still found, and the sum is right."""
    raw = {key: line_of(key, text, first=first) for key, text, first in lines}
    hurt = data.draw(st.sampled_from(sorted(raw)))
    start = data.draw(st.integers(0, len(raw[hurt])))
    stop = data.draw(st.integers(start, len(raw[hurt])))
    inside = data.draw(st.binary(max_size=8)).replace(b"\n", b"").replace(b"\r", b"")
    damaged = raw[hurt][:start] + inside + raw[hurt][stop:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        path.write_bytes(b"\n".join(damaged if key == hurt else line for key, line in raw.items()))
        with ResultFile(path) as results:
            asked = {key: results.find_lines([key])[0] for key in raw}
            for key, line in raw.items():
                assert key == hurt or line in asked[key]
            found = sum(len(found) for found in asked.values())
            assert found + results.unknown_count + results.unreadable_count == results.line_count


@given(TEXTS, KEYS, st.booleans())
def test_key_inside_a_text_is_no_key(text: str, key: str, first: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """Whatever an answer's text holds, line ends of a result line included, the key is the line's own."""
    nasty = text + line_of("other", text, first=first).decode() + ',"key":"other"}'
    assert read_line_key(line_of(key, nasty, first=first)) == key
    assert read_line_key(line_of(key, nasty, first=not first)) == key
