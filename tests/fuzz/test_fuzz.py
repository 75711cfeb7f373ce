"""The fuzzer's targets in small: its good inputs, the inputs it found, and what hypothesis makes of the good ones."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(path for path in CORPUS.rglob("*") if path.is_file())
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


@st.composite
def changed(draw: st.DrawFn, name: str) -> bytes:
    """Draw a good input of a target with some pieces cut out, put in, or doubled."""
    data = draw(st.sampled_from(list(seeds(name))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        stop = min(len(data), start + draw(st.sampled_from([0, 0, 1, 2, 5, 20])))
        data = data[:start] + draw(PIECES | st.binary(max_size=4)) + data[stop:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs_keep_their_promises(name: str) -> None:
    """The inputs a fuzzer starts from, and nothing at all."""
    for data in (b"", *seeds(name)):
        TARGETS[name](data)


@pytest.mark.parametrize("path", FOUND, ids=[f"{path.parent.name}/{path.name[:12]}" for path in FOUND])
def test_what_a_fuzzer_found_keeps_its_promises(path: Path) -> None:
    """Each input that reached a line no other did, or that broke a promise once."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_break_a_promise(name: str) -> None:
    """Good inputs with pieces of them changed, and any bytes at all."""

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(changed(name) | st.binary(max_size=80))
    def held(data: bytes) -> None:
        """Try one."""
        TARGETS[name](data)

    held()
