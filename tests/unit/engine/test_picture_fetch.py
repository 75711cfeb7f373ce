"""An https address that a table names is asked only where it is public, once resolved, and within bounds."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline.engine import image_fetch
from pipeline.engine.image_fetch import fetch
from pipeline.engine.pictures import PictureError

PUBLIC = "93.184.216.34"
V4 = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1"
V6 = "::1 fe80::1 fd00::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: ::10.0.0.1 ff02::1 none"
PRIVATE = f"{V4} {V6}".split()


@contextmanager
def answering(*replies: bytes, closes: bool = True) -> Iterator[Callable[..., bytes]]:
    """Give what fetches from a host that answers so, one connection after the other; `asked` are its addresses."""
    asked: list[tuple[str, str]] = []
    left = list(replies)
    ends: list[socket.socket] = []

    def connect(address: str, host: str, _port: int, _seconds: float) -> socket.socket:
        asked.append((address, host))
        mine, other = socket.socketpair()
        ends.extend((mine, other))
        other.sendall(left.pop(0))
        if closes:
            other.shutdown(socket.SHUT_WR)
        return mine

    def resolve(host: str, _port: int) -> Sequence[str]:
        return {
            "inner.example": ["10.0.0.1"],
            "both.example": [PUBLIC, "10.0.0.1"],
            "no.example": [],
        }.get(host, [PUBLIC])

    yield partial(fetch, resolve=resolve, connect=connect)
    assert {address for address, _ in asked} <= {PUBLIC}
    assert not left
    for end in ends:
        end.close()


def reply(body: bytes = b"", *, status: str = "200 OK", more: str = "") -> bytes:
    """Return an answer of a server."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


def moved(to: str) -> bytes:
    """Return an answer that redirects."""
    return reply(status="302 Found", more=f"Location: {to}\r\n")


def test_an_address_gives_its_bytes_through_redirects_to_public_ones() -> None:
    """Relative ones as well."""
    with answering(moved("/b?c=d"), moved("https://other.example/e"), reply(b"bytes")) as fetched:
        assert fetched("https://some.example/a") == b"bytes"


REFUSED: dict[str, tuple[str, Sequence[bytes], str]] = {
    "not https": ("http://some.example/a", (), "begins with https://"),
    "no host": ("https:///a", (), "begins with https://"),
    "a line end": ("https://some.example/a\r\nX: y", (), "begins with https://"),
    "a user": ("https://user:word@some.example/a", (), "user's name"),
    "not known": ("https://no.example/a", (), "is not known"),
    "private": ("https://inner.example/a", (), "private network"),
    "one of two private": ("https://both.example/a", (), "private network"),
    "a redirect to a private one": (
        "https://some.example/",
        [moved("https://inner.example/")],
        "private network",
    ),
    "a redirect to another way": (
        "https://some.example/",
        [moved("file:///etc/passwd")],
        "begins with https://",
    ),
    "a circle": ("https://some.example/", [moved("/")] * 6, "redirects more than"),
    "not there": ("https://some.example/", [reply(status="404 Not Found")], "answers 404"),
    "too much": ("https://some.example/", [reply(b"123456789")], "more than 8 bytes"),
    "cut": (
        "https://some.example/",
        [reply(b"12345678")[:-3]],
        "could not be asked|less than it promised",
    ),
    "no answer": ("https://some.example/", [b""], "could not be asked"),
    "no HTTP": ("https://some.example/", [b"hello\r\n\r\n"], "could not be asked"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_to_be_asked_or_gives_no_image_is_refused(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a reason that names no more than the host."""
    monkeypatch.setattr(image_fetch, "MAX_IMAGE_BYTES", 8)
    url, replies, reason = REFUSED[case]
    with answering(*replies) as fetched, pytest.raises(PictureError, match=reason):
        fetched(url)


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_but_a_public_one_is_asked(address: str) -> None:
    """Of either version, and none that wraps another one."""

    def refuse(*_: object) -> socket.socket:
        raise AssertionError("it was asked")

    with pytest.raises(PictureError, match="private network"):
        fetch("https://some.example/a", resolve=lambda _host, _port: [address], connect=refuse)


def test_an_answer_that_never_ends_is_cut_off() -> None:
    """After the time that is set, however it drips."""
    with (
        answering(b"HTTP/1.1 200 OK\r\nX: ", closes=False) as fetched,
        pytest.raises(PictureError, match=r"not within 0\.2 s"),
    ):
        fetched("https://some.example/a", timeout_s=0.2)
