"""Credentials stay out of all that is written: messages, tracebacks, what libraries log, what a server echoes.

A credential is the key, in any of the forms in which it travels, and the URL of an upload session, which needs no key.
"""

import logging
import re
from collections.abc import Iterable
from urllib.parse import quote

LIKE_A_KEY = 16  # characters; a shorter key may be a word of a text (Google's have 39)
LOGGERS = ("httpx2", "httpcore2", "google_genai", "httpx", "httpcore", "asyncio")  # and those below them
_SESSION = re.compile(r"""(upload_id|[?&]key)(%3D|["']?\s*[=:]\s*["']?)[^&\s"',})]+""", re.IGNORECASE)
_BELOW = ("connection", "http11", "http2", "proxy", "socks", "_api_client", "_common", "models", "files", "batches")


def redact(text: str, *keys: str) -> str:
    """Return a text without these keys and without upload sessions."""
    for key in filter(None, keys):
        for form in {key, quote(key, safe=""), key.replace("\\", "\\\\")}:
            text = text.replace(form, "***")
    return _SESSION.sub(r"\1\2***", text)


def redact_document(data: bytes, key: str) -> bytes:
    """Return the bytes of a JSON document without the key; one that is too short to be told from a word stays."""
    return data.replace(key.encode(), b"***") if len(key) >= LIKE_A_KEY else data


class _RedactingFilter(logging.Filter):
    """Takes credentials out of every record that passes."""

    keys: set[str] = set()  # noqa: RUF012 - of this process: a logger belongs to all clients in it

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record where it holds a credential, and let it pass."""
        said = record.getMessage()
        shown = redact(said, *self.keys)
        if shown != said:
            record.msg, record.args = shown, None
        return True


_redacting = _RedactingFilter()
_NULL_HANDLER = logging.NullHandler()


def keep_out_of_logs(key: str) -> None:
    """See that no library logs the key or an upload session, at any level."""
    if len(key) >= LIKE_A_KEY:
        _redacting.keys.add(key)
    logging.getLogger("google_genai").addHandler(_NULL_HANDLER)  # or Python prints its warnings on standard error
    for name in _names():
        logging.getLogger(name).addFilter(_redacting)  # adding it again does nothing


def _names() -> Iterable[str]:
    """Return the names of the libraries' loggers, those that are there and those that they are known to make."""
    there = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in LOGGERS]
    return {*LOGGERS, *there, *(f"{top}.{below}" for top in LOGGERS for below in _BELOW)}
