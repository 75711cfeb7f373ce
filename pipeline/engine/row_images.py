"""Look at the images that rows name, files below a folder or https addresses, and put them into what is asked.

What was seen of an image is kept beside its row, so that a file that did not change is not read again: size and times
alone tell, and tell nothing of a file that was written less than two seconds before it was read.

A table may have been written by others. The name in an address is resolved once, and the connection goes to the address
that was looked at: nothing can lead it to a machine of this network in between. Addresses that are not public are
refused, those that redirects lead to alike. A proxy is not asked, for it would resolve the name anew.
"""

import base64
import hashlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from pipeline.core.step import Option
from pipeline.engine import pictures
from pipeline.engine.pictures import MAX_BYTES, PictureError, Stamp
from pipeline.tables.cells import compact_json
from pipeline.tables.fill import Look, hash_of

if TYPE_CHECKING:
    from pipeline.gemini.requests import Prompt

SETTLED_NS = 2_000_000_000  # after which another write gives a file another time, on every file system
ADDRESSES = ("https://", "http://", "gs://")  # all but the first are refused where they are fetched
SECONDS = 30.0  # in which an address gives its image
REDIRECTS = 5  # ours; more lead in a circle
PORT = 443
_MOVED = frozenset({301, 302, 303, 307, 308})
_WITHIN_V6 = tuple(map(ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")))


def _resolved(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _connected(address: str, host: str, port: int, seconds: float) -> socket.socket:
    """Return a connection to an address, by whose certificate it is the host's."""
    plain = socket.create_connection((address, port), timeout=seconds)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def fetch(
    url: str,
    *,
    seconds: float = SECONDS,
    resolve: Callable[[str, int], Sequence[str]] = _resolved,
    connect: Callable[[str, str, int, float], socket.socket] = _connected,
) -> bytes:
    """Return the bytes that an address gives; PictureError says why it is not asked, or gives none within bounds."""
    until = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        parts = _parts(url)
        host, port = str(parts.hostname), parts.port or PORT
        address = _public_address(host, resolve, port)
        try:
            found = _answer(parts, connect(address, host, port, max(until - time.monotonic(), 0.001)), until=until)
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= until
            why = f"not within {seconds:g} s" if late else " ".join(str(error).split()) or type(error).__name__
            raise PictureError(f"{host} could not be asked: {why}") from None
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise PictureError(f"its address redirects more than {REDIRECTS} times")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "https" and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        is_right = False
    if not is_right or any(one <= " " or one == "\x7f" for one in url):
        raise PictureError("its address is none that begins with https:// and can be asked")
    if parts.username is not None or parts.password is not None:
        raise PictureError("its address holds a user's name, which is not sent")
    return parts


def _public_address(host: str, resolve: Callable[[str, int], Sequence[str]], port: int) -> str:
    found: Sequence[str] = ()
    with suppress(OSError, UnicodeError):
        found = resolve(host, port)
    if not found:
        raise PictureError(f"the host {host} is not known")
    if not all(map(_is_public, found)):
        raise PictureError(f"the host {host} is in a private network, which is not asked")
    return found[0]


def _is_public(address: str) -> bool:
    """Return whether an address is one of the public network; those that wrap another address are not."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and (found.ipv4_mapped or any(found in one for one in _WITHIN_V6)):
        return False
    return found.is_global and not found.is_multicast


def _answer(parts: SplitResult, connected: socket.socket, *, until: float) -> bytes | str:
    guard = threading.Timer(max(until - time.monotonic(), 0), _cut, [connected])  # of what drips
    guard.daemon = True
    guard.start()
    with closing(http.client.HTTPConnection(str(parts.hostname))) as connection:
        connection.sock = connected
        try:
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "findable"})
            with connection.getresponse() as reply:
                if reply.status in _MOVED and (place := reply.getheader("Location")):
                    return place
                if reply.status != HTTPStatus.OK:
                    raise PictureError(f"its address answers {reply.status} {reply.reason}")
                data = reply.read(MAX_BYTES + 1)
                if len(data) > MAX_BYTES:
                    raise PictureError(f"its address gives more than {MAX_BYTES:,} bytes, the most that is read")
                if reply.length:
                    raise PictureError("its address gave less than it promised")
        finally:
            guard.cancel()
    if time.monotonic() >= until:  # it was cut off, which an answer without a length does not tell
        raise TimeoutError
    return data


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class RowImages:
    """The images of a task's rows: the columns that name them, those asked about beside, their folder and size.

    `side` are the pixels of the longer side, at most. With `refetches` addresses are asked again.
    """

    columns: Sequence[str]
    asked: Sequence[str]
    folder: Path
    side: int
    refetches: bool = False

    def look(self, values: Mapping[str, Any], seen: str | None) -> Look:
        """Look at what a row names, given what the look before saw; see `pipeline.tables.fill.LookAt`."""
        known = json.loads(seen) if seen else {}
        found = {name: self._look(named, known.get(name) or {}) for name, named in self._named(values)}
        wrong = next(((name, one["why"]) for name, one in found.items() if one.get("why")), None)
        hashes = {name: found.get(name, {}).get("sha256") for name in self.columns}
        return Look(hashes, compact_json(found), None if wrong is None else f"{wrong[0]}: {wrong[1]}")

    def put_into(self, prompt: "Prompt", row: Mapping[str, Any]) -> "tuple[Prompt, str] | None":
        """Return a prompt with a row's images before its text, and the hash of both; None where one cannot be asked.

        The next look at the row says why. Where there are several columns, each image follows the name of its own.
        """
        parts: list[Mapping[str, Any]] = []
        hashes: dict[str, str | None] = dict.fromkeys(self.columns)
        for name, named in self._named(row):
            try:
                data = fetch(named) if named.startswith(ADDRESSES) else self._read(self._place(named))[0]
                sent = base64.b64encode(pictures.prepare(data, side=self.side)).decode("ascii")
            except PictureError:
                return None
            hashes[name] = hashlib.sha256(data).hexdigest()
            parts += [{"text": f"{name}:"}] * (len(self.columns) > 1)
            parts.append({"inlineData": {"mimeType": pictures.SENT_TYPE, "data": sent}})
        input_hash = hash_of({**row, **hashes}, [*self.asked, *self.columns])
        return prompt._replace(parts=[*parts, *prompt.parts]), input_hash

    def _named(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(name, str(row[name]).strip()) for name in self.columns if str(row.get(name) or "").strip()]

    def _look(self, named: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is seen of an image, for the next look: its `sha256`, and `why` it cannot be asked.

        An image that could be asked about and did not change since is not opened again.
        """
        told = known if known.get("named") == named and not known.get("why") else {}
        seen: dict[str, Any] = {"named": named, "sha256": None, "stamp": None}
        try:
            if named.startswith(ADDRESSES):
                if told.get("sha256") and not self.refetches:
                    return dict(told)
                data = fetch(named)
            else:
                place = self._place(named)
                if told.get("stamp") and pictures.stamp_of(place.stat()) == tuple(told["stamp"]):
                    return dict(told)
                data, seen["stamp"] = self._read(place)
            seen["sha256"] = hashlib.sha256(data).hexdigest()
            pictures.probe(data)
        except PictureError as error:
            seen["why"] = error.message
        except OSError as error:  # it went while it was looked at
            seen["why"] = f"it cannot be read: {error.strerror}"
        return seen

    def _place(self, named: str) -> Path:
        if not pictures.is_printed(named):
            raise PictureError(pictures.UNPRINTED)
        try:
            place = (self.folder / named).resolve(strict=True)
        except FileNotFoundError:
            raise PictureError(f"there is no such file in {self.folder}") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise PictureError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not place.is_relative_to(self.folder.resolve()):
            raise PictureError(f"it is not below {self.folder}; {Option('folder')} names another folder")
        return place

    def _read(self, place: Path) -> tuple[bytes, Stamp | None]:
        """Return the bytes of a file, and its stamp where its times would tell another change."""
        try:
            size = place.stat().st_size
            read = pictures.read_file(place) if size <= MAX_BYTES else None
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from None
        if read is None or len(read[0]) > MAX_BYTES:
            raise PictureError(f"it has {size:,} bytes, and {MAX_BYTES:,} are the most that is read")
        data, stamp = read
        return data, stamp if time.time_ns() - max(stamp[1:]) > SETTLED_NS else None
