"""The fuzzer's targets in small: its good inputs, the inputs it found, and what hypothesis makes of the good ones."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

TRIES = 250  # for each target
CORPUS = Path(__file__).parent / "corpus"
PIECES = st.sampled_from(
    [
        *(
            b'"',
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\\",
            b"\n",
            b"\r",
            b"\0",
            b"\xff",
            b"\xed\xa0\x80",
            b"null",
            b"1e999",
        ),
        *(b"\\u0000", b"\\ud800", b"-1", b"9" * 40, b"true", b'""', b"../", b"/", b"?", b"=", b"&", b"%00", b"key"),
        *(b"[" * 600, b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"<", b"</", b"biography>", b"\x1b[31m"),
    ]
)
VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(
            None,
            True,
            False,
            0,
            -1,
            1,
            7,
            2**31,
            2**63,
            2**64,
            -(2**63),
            10**30,
            0.5,
            1e308,
            -1e308,
            "",
            " ",
            "\0",
            "\ud800",
        ),
        *(
            "1",
            "-1",
            "1" * 400,
            "x" * 3000,
            "../..",
            "files/a",
            "batches/b1",
            "2.5s",
            "\u202e",
            "STOP",
            "application/json",
        ),
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
def test_good_inputs_keep_their_promises(name: str) -> None:
    """The inputs a fuzzer starts from, and nothing at all."""
    for data in (b"", *seeds(name)):
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_a_fuzzer_found_keeps_its_promises(name: str) -> None:
    """Each input that reached a line no other did, or that broke a promise once."""
    for path in sorted((CORPUS / name).glob("*")):
        TARGETS[name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_promise(name: str) -> None:
    """Good inputs with pieces of them changed, and any bytes at all."""

    @settings(max_examples=TRIES, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(changed(name) | misshapen(name) | st.binary(max_size=80))
    def held(data: bytes) -> None:
        """Try one."""
        TARGETS[name](data)

    held()
