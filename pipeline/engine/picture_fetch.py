"""Fetch an image from an https address that a table names, which may have been written by others.

The name is resolved once, and the connection goes to the address that was looked at: nothing can lead it to a machine
of this network in between. Addresses that are not public are refused, those that redirects lead to alike. A proxy is
not asked, for it would resolve the name anew.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

from pipeline.engine.pictures import MAX_BYTES, PictureError

REDIRECTS = 5  # ours; more lead in a circle
PORT = 443
_PIECE = 1 << 16
_MOVED = frozenset({301, 302, 303, 307, 308})
_WITHIN_V6 = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")))


def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def connected(address: str, host: str, port: int, seconds: float) -> socket.socket:
    """Return a connection to an address, by whose certificate it is the host's."""
    plain = socket.create_connection((address, port), timeout=seconds)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


@dataclass(frozen=True)
class PictureFetcher:
    """Fetches images, each within so many seconds; how a name is resolved and a connection made can be given."""

    seconds: float = 30.0
    resolve: Callable[[str, int], Sequence[str]] = resolved
    connect: Callable[[str, str, int, float], socket.socket] = connected

    def fetch(self, url: str) -> bytes:
        """Return the bytes that an address gives.

        Raises:
            PictureError: the address is not to be asked, or gives no bytes within the bounds; the message says why.
        """
        until = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            parts = _parts(url)
            found = self._answer(parts, self._address(parts), until=until)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise PictureError(f"its address redirects more than {REDIRECTS} times")

    def _address(self, parts: SplitResult) -> str:
        """Return the one address that a name stands for, where all it has are public."""
        host = str(parts.hostname)
        try:
            found = self.resolve(host, parts.port or PORT)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise PictureError(f"the host {host} is not known")
        if not all(map(_is_public, found)):
            raise PictureError(f"the host {host} is in a private network, which is not asked")
        return found[0]

    def _answer(self, parts: SplitResult, address: str, *, until: float) -> bytes | str:
        host, port = str(parts.hostname), parts.port or PORT
        left = max(until - time.monotonic(), 0.001)
        try:
            with closing(http.client.HTTPConnection(host, port)) as connection:
                connection.sock = self.connect(address, host, port, left)
                guard = threading.Timer(max(until - time.monotonic(), 0), _cut, [connection.sock])
                guard.daemon = True
                guard.start()
                try:
                    found = _read(connection, parts)
                finally:
                    guard.cancel()
                if time.monotonic() >= until:  # it was cut off, which an answer without a length does not tell
                    raise TimeoutError
                return found
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= until
            why = f"not within {self.seconds:g} s" if late else " ".join(str(error).split()) or type(error).__name__
            raise PictureError(f"{host} could not be asked: {why}") from None


def _read(connection: http.client.HTTPConnection, parts: SplitResult) -> bytes | str:
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "findable"})
    with connection.getresponse() as reply:
        return _body(reply)


def _body(reply: http.client.HTTPResponse) -> bytes | str:
    if reply.status in _MOVED and (place := reply.getheader("Location")):
        return place
    if reply.status != HTTPStatus.OK:
        raise PictureError(f"its address answers {reply.status} {reply.reason}")
    data = bytearray()
    while piece := reply.read(_PIECE):
        data += piece
        if len(data) > MAX_BYTES:
            raise PictureError(f"its address gives more than {MAX_BYTES:,} bytes, the most that is read")
    if reply.length:
        raise PictureError("its address gave less than it promised")
    return bytes(data)


def _cut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "https" and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        is_right = False
    if not is_right or not url.isascii() or any(one <= " " or one == "\x7f" for one in url):
        raise PictureError("its address is none that begins with https:// and can be asked")
    if parts.username is not None or parts.password is not None:
        raise PictureError("its address holds a user's name, which is not sent")
    return parts


def _is_public(address: str) -> bool:
    """Return whether an address is one of the public network; those that wrap another address are not."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped or any(found in one for one in _WITHIN_V6)):
        return False
    return found.is_global and not found.is_multicast
