"""An https address of an image is fetched only if its resolved address is public."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline.engine import image_fetch
from pipeline.engine.image_fetch import fetch_image
from pipeline.engine.pictures import PictureError

PUBLIC = "93.184.216.34"
V4 = "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1"
V6 = "::1 fe80::1 fd00::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1:: ::10.0.0.1 ff02::1 none"
PRIVATE = f"{V4} {V6}".split()


@contextmanager
def serve_replies(*replies: bytes, closes: bool = True) -> Iterator[Callable[..., bytes]]:
    """Yield a `fetch` from a host that sends these replies, a reply per connection."""
    requested_addresses: list[tuple[str, str]] = []
    remaining_replies = list(replies)
    socket_ends: list[socket.socket] = []

    def connect(address: str, host: str, _port: int, _seconds: float) -> socket.socket:
        requested_addresses.append((address, host))
        client_end, server_end = socket.socketpair()
        socket_ends.extend((client_end, server_end))
        server_end.sendall(remaining_replies.pop(0))
        if closes:
            server_end.shutdown(socket.SHUT_WR)
        return client_end

    def resolve(host: str, _port: int) -> Sequence[str]:
        return {
            "inner.example": ["10.0.0.1"],
            "both.example": [PUBLIC, "10.0.0.1"],
            "no.example": [],
        }.get(host, [PUBLIC])

    yield partial(fetch_image, resolve=resolve, connect=connect)
    assert {address for address, _ in requested_addresses} <= {PUBLIC}
    assert not remaining_replies
    for socket_end in socket_ends:
        socket_end.close()


def make_reply(body: bytes = b"", *, status: str = "200 OK", extra_headers: str = "") -> bytes:
    """Return a reply of a server."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{extra_headers}\r\n".encode() + body
    )


def make_redirect(location: str) -> bytes:
    """Return a reply that redirects."""
    return make_reply(status="302 Found", extra_headers=f"Location: {location}\r\n")


def test_image_is_fetched_through_redirects_to_public_addresses() -> None:
    """Relative redirects are followed as well."""
    with serve_replies(
        make_redirect("/b?c=d"), make_redirect("https://other.example/e"), make_reply(b"bytes")
    ) as fetched:
        assert fetched("https://some.example/a") == b"bytes"


REFUSED: dict[str, tuple[str, Sequence[bytes], str]] = {
    "not https": ("http://some.example/a", (), "not a valid https:// URL"),
    "no host": ("https:///a", (), "not a valid https:// URL"),
    "a line end": ("https://some.example/a\r\nX: y", (), "not a valid https:// URL"),
    "a user": ("https://user:word@some.example/a", (), "user name"),
    "not known": ("https://no.example/a", (), "is unknown"),
    "private": ("https://inner.example/a", (), "private network"),
    "one of two private": ("https://both.example/a", (), "private network"),
    "a redirect to a private one": (
        "https://some.example/",
        [make_redirect("https://inner.example/")],
        "private network",
    ),
    "a redirect to another way": (
        "https://some.example/",
        [make_redirect("file:///etc/passwd")],
        "not a valid https:// URL",
    ),
    "a circle": ("https://some.example/", [make_redirect("/")] * 6, "redirects more than"),
    "not there": ("https://some.example/", [make_reply(status="404 Not Found")], "returned 404"),
    "too much": ("https://some.example/", [make_reply(b"123456789")], "more than 8 bytes"),
    "cut": (
        "https://some.example/",
        [make_reply(b"12345678")[:-3]],
        "request to some.example failed|fewer bytes than announced",
    ),
    "no answer": ("https://some.example/", [b""], "request to some.example failed"),
    "no HTTP": ("https://some.example/", [b"hello\r\n\r\n"], "request to some.example failed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_forbidden_address_or_bad_reply_is_refused(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason names only the host of the address."""
    monkeypatch.setattr(image_fetch, "MAX_IMAGE_BYTES", 8)
    url, replies, reason = REFUSED[case]
    with serve_replies(*replies) as fetched, pytest.raises(PictureError, match=reason):
        fetched(url)


@pytest.mark.parametrize("address", PRIVATE)
def test_private_address_is_never_requested(address: str) -> None:
    """Private addresses of both IP versions, and wrapped addresses, are refused."""

    def refuse(*_: object) -> socket.socket:
        raise AssertionError("it was asked")

    with pytest.raises(PictureError, match="private network"):
        fetch_image(
            "https://some.example/a", resolve=lambda _host, _port: [address], connect=refuse
        )


def test_endless_reply_is_stopped() -> None:
    """A reply must end within the timeout."""
    with (
        serve_replies(b"HTTP/1.1 200 OK\r\nX: ", closes=False) as fetched,
        pytest.raises(PictureError, match=r"no complete reply within 0\.2 s"),
    ):
        fetched("https://some.example/a", timeout_s=0.2)
