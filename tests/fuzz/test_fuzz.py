"""The fuzzer's targets in small: its good inputs, the inputs it found, and what hypothesis makes of the good ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

TRIES = 80  # for each target
CORPUS = Path(__file__).parent / "corpus"
_PIECES = rb"""null 1e999 \u0000 \ud800 -1 true "" ../ %00 key </ biography>"""
PIECES = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'"{}[],:\\\n\r\0\xff</?=&'),
        *_PIECES.split(),
        *(b"9" * 40, b"[" * 600, b"\x1b[31m", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xed\xa0\x80"),
    ]
)
_VALUES = "1 -1 ../.. files/a batches/b1 2.5s STOP application/json"
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 7, 2**31, 2**63, 2**64, -(2**63), 10**30, 0.5, 1e308, -1e308),
        *("", " ", "\0", "\ud800", "\u202e", "1" * 400, "x" * 3000, *_VALUES.split()),
        *([], {}, [[]], [None], [{}], {"": None}, {"text": 7}, [1, "x"], [[[[[[[[[[]]]]]]]]]]),
    ]
)


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """Draw a good input of a target with some pieces cut out, put in, or doubled."""
    data = draw(st.sampled_from(list(seeds(name))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 5, 20])))
        data = data[:start] + draw(PIECES | st.binary(max_size=4)) + data[stop:]
    return data


@st.composite
def misshapen(draw: st.DrawFn, name: str) -> bytes:
    """Draw a good input of a target whose JSON has other values, or other names, in some places."""
    data = draw(st.sampled_from(list(seeds(name))))
    head, blank, body = data.partition(b"\n\n") if name == "endpoint" else (b"", b"", data)
    try:
        document = json.loads(body)
    except ValueError:
        return data
    for _ in range(draw(st.integers(1, 3))):
        document = _with(draw, document)
    return head + blank + json.dumps(document).encode()


def _with(draw: st.DrawFn, document: Any) -> Any:
    """Return a document with one value in it replaced, doubled, renamed or gone."""
    if not isinstance(document, dict | list) or not document or draw(st.integers(0, 5)) == 0:
        return draw(VALUES)
    if isinstance(document, list):
        at = draw(st.integers(0, len(document) - 1))
        more = draw(st.sampled_from([[], [document[at]], [draw(VALUES)]]))
        return [*document[:at], _with(draw, document[at]), *more, *document[at + 1 :]]
    name = draw(st.sampled_from(sorted(document)))
    rest = {other: value for other, value in document.items() if other != name}
    kept = draw(st.sampled_from([True, True, True, False]))
    return rest | ({name: _with(draw, document[name])} if kept else {draw(st.text(max_size=4)): document[name]})


@pytest.mark.parametrize("name", TARGETS)
def test_known_inputs_keep_their_promises(name: str) -> None:
    """The inputs a fuzzer starts from, nothing at all, and each that reached a new line or broke a promise once."""
    found = (path.read_bytes() for path in sorted((CORPUS / name).glob("*")))
    for data in (b"", *seeds(name), *found):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_promise(name: str) -> None:
    """Good inputs with pieces of them changed, and any bytes at all."""

    @settings(max_examples=TRIES, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(changed(name) | misshapen(name) | st.binary(max_size=80))
    def held(data: bytes) -> None:
        """Try one."""
        TARGETS[name](data)

    held()
