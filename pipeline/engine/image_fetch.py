"""Fetch an image from a public https address.

Addresses may be from strangers. A host name is resolved once, and the connection goes to the
address that was checked. Addresses that are not public are refused, also after a redirect. No proxy
is used, because it would resolve the name again.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

from pipeline.engine.pictures import MAX_IMAGE_BYTES, PictureError, describe_image_error

FETCH_TIMEOUT_S = 30.0
# Our bound; more redirects are a loop.
MAX_REDIRECTS = 5
HTTPS_PORT = 443
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
# IPv6 networks whose addresses contain an IPv4 address.
_IPV4_IN_IPV6_NETWORKS = tuple(
    ipaddress.IPv6Network(network)
    for network in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
)


def _resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the distinct IP addresses of a host."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(socket_address[0]) for *_, socket_address in entries]
    return list(dict.fromkeys(addresses))


def _connect_tls(address: str, host: str, port: int, timeout_s: float) -> socket.socket:
    """Return a TLS connection to an IP address whose certificate is valid for the host.

    Raises:
        OSError: The connection or the check of the certificate failed.
    """
    plain_socket = socket.create_connection((address, port), timeout=timeout_s)
    try:
        return ssl.create_default_context().wrap_socket(plain_socket, server_hostname=host)
    except BaseException:
        plain_socket.close()
        raise


def fetch_image(
    url: str,
    *,
    timeout_s: float = FETCH_TIMEOUT_S,
    resolve: Callable[[str, int], Sequence[str]] = _resolve_host,
    connect: Callable[[str, str, int, float], socket.socket] = _connect_tls,
) -> bytes:
    """Return the content of a public https address; follow at most MAX_REDIRECTS redirects.

    Whether the content is an image is not checked.

    Args:
        timeout_s: Limit for all redirects together, in seconds.
        resolve: Returns the IP addresses of (host, port).
        connect: Returns a connection to (IP address, host, port, timeout in seconds).

    Raises:
        PictureError: The URL is invalid or not public, the request failed or took too long, or the
            content has more than MAX_IMAGE_BYTES or is incomplete.
    """
    deadline = time.monotonic() + timeout_s
    for _ in range(MAX_REDIRECTS + 1):
        parts = _split_url(url)
        host = str(parts.hostname)
        port = parts.port or HTTPS_PORT
        address = _find_public_address(host, port, resolve)
        try:
            remaining_s = max(deadline - time.monotonic(), 0.001)
            connection = connect(address, host, port, remaining_s)
            reply = _request_content(parts, connection, deadline=deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = describe_image_error(error)
            if time.monotonic() >= deadline:
                reason = f"no complete reply within {timeout_s:g} s"
            raise PictureError(f"the request to {host} failed: {reason}") from None

        if isinstance(reply, bytes):
            return reply
        url = urljoin(url, reply)
    raise PictureError(f"its address redirects more than {MAX_REDIRECTS} times")


def _split_url(url: str) -> SplitResult:
    """Return the parts of an https URL.

    Raises:
        PictureError: The URL is not a valid ASCII https URL, or contains a user name or password.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme == "https" and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        is_valid = False
    if not is_valid or any(char <= " " or char == "\x7f" for char in url):
        raise PictureError("its address is not a valid https:// URL")
    if parts.username is not None or parts.password is not None:
        raise PictureError("its address contains a user name or password, which is not sent")
    return parts


def _find_public_address(
    host: str,
    port: int,
    resolve: Callable[[str, int], Sequence[str]],
) -> str:
    """Return the first IP address of a host; all its addresses must be public.

    Args:
        resolve: Returns the IP addresses of (host, port).

    Raises:
        PictureError: The host is unknown, or has an address that is not public.
    """
    addresses: Sequence[str] = ()
    with suppress(OSError, UnicodeError):
        addresses = resolve(host, port)
    if not addresses:
        raise PictureError(f"the host {host} is unknown")

    for address in addresses:
        if not _is_public(address):
            raise PictureError(f"the host {host} is in a private network, which is refused")
    return addresses[0]


def _is_public(address: str) -> bool:
    """Return whether an IP address is valid and public.

    An IPv6 address with an IPv4 address inside and a multicast address are not public.
    """
    # The zone of an IPv6 address follows the percent sign.
    zoneless_address = address.partition("%")[0]
    try:
        ip_address = ipaddress.ip_address(zoneless_address)
    except ValueError:
        return False

    if isinstance(ip_address, ipaddress.IPv6Address):
        if ip_address.ipv4_mapped:
            return False
        if any(ip_address in network for network in _IPV4_IN_IPV6_NETWORKS):
            return False
    return ip_address.is_global and not ip_address.is_multicast


def _request_content(
    url: SplitResult,
    connected_socket: socket.socket,
    *,
    deadline: float,
) -> bytes | str:
    """Send a GET request over a connection, read the reply, and close the connection.

    Args:
        url: The URL.
        deadline: Time of the monotonic clock, in seconds, at which a timer shuts the connection
            down, even while a reply arrives.

    Returns:
        The content as bytes, or the location of a redirect as text, as the server sent it.

    Raises:
        PictureError: The server refuses, or the content is too long or incomplete.
        OSError, http.client.HTTPException, ValueError: The connection failed, or was cut at the
            deadline.
    """
    # The timeout of a socket does not limit a server that sends a byte at a time.
    cut_timer = threading.Timer(
        max(deadline - time.monotonic(), 0),
        _shut_down,
        [connected_socket],
    )
    cut_timer.daemon = True
    cut_timer.start()
    with closing(http.client.HTTPConnection(str(url.hostname))) as connection:
        connection.sock = connected_socket
        try:
            target = url.path or "/"
            if url.query:
                target += f"?{url.query}"
            headers = {"Accept": "image/*", "User-Agent": "findable"}
            connection.request("GET", target, headers=headers)
            with connection.getresponse() as reply:
                content = _read_reply(reply)
        finally:
            cut_timer.cancel()

    # A reply without a length does not show that it was cut.
    if isinstance(content, bytes) and time.monotonic() >= deadline:
        raise TimeoutError
    return content


def _read_reply(reply: http.client.HTTPResponse) -> bytes | str:
    """Return the content of a reply (bytes), or the location of a redirect as sent (text).

    Raises:
        PictureError: The status is neither 200 nor a redirect with a location, or the content has
            more than MAX_IMAGE_BYTES or is incomplete.
    """
    location = reply.getheader("Location")
    if reply.status in _REDIRECT_STATUSES and location:
        return location
    if reply.status != HTTPStatus.OK:
        raise PictureError(f"its address returned {reply.status} {reply.reason}")

    content = reply.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:
        raise PictureError(
            f"its address returned more than {MAX_IMAGE_BYTES:,} bytes, the limit",
        )
    if reply.length:
        raise PictureError("its address returned fewer bytes than announced")
    return content


def _shut_down(connected_socket: socket.socket) -> None:
    with suppress(OSError):
        connected_socket.shutdown(socket.SHUT_RDWR)
