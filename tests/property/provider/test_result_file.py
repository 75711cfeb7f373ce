"""For any result file: damage to a line never loses another line."""

import tempfile
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from askrows.pipeline.core.files import iterate_lines_with_offsets
from askrows.pipeline.provider.result_file import ResultFile, read_line_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


def line_of(key: str, text: str, *, is_key_first: bool) -> bytes:
    """Return a result line with its key at the start or at the end."""
    response = {"candidates": [{"content": {"parts": [{"text": text}]}}]}
    members = (
        {"key": key, "response": response} if is_key_first else {"response": response, "key": key}
    )
    return orjson.dumps(members)


LINES = st.lists(
    st.tuples(KEYS, TEXTS, st.booleans()), min_size=1, max_size=5, unique_by=lambda line: line[0]
)


@settings(max_examples=40)
@given(LINES, st.data())
def test_damage_stays_in_its_line(
    lines: list[tuple[str, str, bool]], chance: st.DataObject
) -> None:
    """Bytes cut from a line or inserted lose no other line, and the sum is right."""
    raw = {key: line_of(key, text, is_key_first=is_key_first) for key, text, is_key_first in lines}
    damaged_key = chance.draw(st.sampled_from(sorted(raw)))
    start = chance.draw(st.integers(0, len(raw[damaged_key])))
    stop = chance.draw(st.integers(start, len(raw[damaged_key])))
    inserted = chance.draw(st.binary(max_size=8)).replace(b"\n", b"").replace(b"\r", b"")
    damaged = raw[damaged_key][:start] + inserted + raw[damaged_key][stop:]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "r")
        path.write_bytes(
            b"\n".join(damaged if key == damaged_key else line for key, line in raw.items())
        )
        with ResultFile(path) as results:
            lines_by_key = {key: results.read_and_mark_lines([key])[0] for key in raw}
            for key, line in raw.items():
                assert key == damaged_key or line in lines_by_key[key]
            requested_count = sum(len(key_lines) for key_lines in lines_by_key.values())
            all_count = requested_count + results.unknown_count + results.unreadable_count
            assert all_count == len(list(iterate_lines_with_offsets(path)))


@given(TEXTS, KEYS, st.booleans())
def test_key_inside_a_text_is_no_key(text: str, key: str, is_key_first: bool) -> None:  # noqa: FBT001
    """The key is the line's own, even if the answer's text contains a result line."""
    hostile_text = (
        text + line_of("other", text, is_key_first=is_key_first).decode() + ',"key":"other"}'
    )
    assert read_line_key(line_of(key, hostile_text, is_key_first=is_key_first)) == key
    assert read_line_key(line_of(key, hostile_text, is_key_first=not is_key_first)) == key
