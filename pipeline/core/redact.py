"""Credentials stay out of all that is written: messages, tracebacks, what libraries log, what a server echoes.

A credential is the key, in any of the forms in which it travels, the URL of an upload session, which needs no key, and
a password in the address of a database or server. `Secret` is what holds one.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn
from urllib.parse import quote

LIKE_A_KEY = 16  # characters; a shorter key may be a word of a text (Google's have 39)
PASSWORDS = (
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)  # URL options
KEYS = ("key", "api_key", "token", "access_token")  # of a server's URL
LOGGERS = (
    "httpx2",
    "httpcore2",
    "google_genai",
    "httpx",
    "httpcore",
    "asyncio",
)  # and those below them
_PASSWORD = re.compile(
    rf"""(://[^/\s:@"']*:)[^@\s]+(?=@)|([?&](?:{"|".join(PASSWORDS)})=)[^&\s"']+"""
)
_SESSION = re.compile(
    r"""(upload_id|[?&]key)(%3D|["']?\s*[=:]\s*["']?)[^&\s"',})]+""", re.IGNORECASE
)


def masked(key: str) -> str:
    """Return a key as it may be shown: its last four characters, and not even those of a short one."""
    return "…" + key[-4:] if len(key) > 12 else "…"  # noqa: PLR2004 - a third of the shortest key worth telling apart


def without_password(url: str) -> str:
    """Return a URL as it may be shown: without the password that stands in it, before the host or among the options.

    A password may hold an `@` where it should not, so that all up to the last one is left out.
    """
    shown = re.sub(r"^((?:[^/?]*://)?+[^/:]*):.*@", r"\1:…@", url, flags=re.DOTALL)
    return re.sub(rf"(?<=[?&])({'|'.join((*PASSWORDS, *KEYS))})=[^&]*", r"\1=…", shown)


class Secret:
    """A key, or a URL that may hold a password: whatever prints, formats or copies it shows it masked.

    `reveal` alone returns the text. It cannot be pickled, and neither can what holds it.
    """

    __slots__ = ("__shown", "__text")

    def __init__(self, text: str, shown: Callable[[str], str] = masked) -> None:
        self.__text = text
        self.__shown = shown

    @classmethod
    def url(cls, text: str) -> "Secret":
        """Return a URL as a secret, which is shown without its password."""
        return cls(text, without_password)

    def reveal(self) -> str:
        """Return the text itself."""
        return self.__text

    def __str__(self) -> str:
        return self.__shown(self.__text)

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        return self.__text == other.__text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.__text)

    def __deepcopy__(self, memo: object = None) -> "Secret":
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: the text would stand in the file."""
        raise TypeError(
            "a key or a password is not pickled; open the workspace anew where it is needed"
        )


def redact(text: str, *keys: str) -> str:
    """Return a text without these keys, without upload sessions and passwords in addresses."""
    for key in filter(None, keys):
        for form in {key, quote(key, safe=""), key.replace("\\", "\\\\")}:
            text = text.replace(form, "***")
    return _SESSION.sub(r"\1\2***", _PASSWORD.sub(r"\1\2***", text))


def redact_document(data: bytes, key: str) -> bytes:
    """Return the bytes of a JSON document without the key; one that is too short to be told from a word stays."""
    return data.replace(key.encode(), b"***") if len(key) >= LIKE_A_KEY else data


_keys: set[str] = set()  # of this process: a logger belongs to all clients in it
_NULL_HANDLER = logging.NullHandler()


def keep_out_of_logs(key: str) -> None:
    """See that no library of `LOGGERS` logs the key or an upload session, at any level."""
    if len(key) >= LIKE_A_KEY:
        _keys.add(key)
    logging.getLogger("google_genai").addHandler(
        _NULL_HANDLER
    )  # or Python prints its warnings on standard error
    _redact_records()


@cache
def _redact_records() -> None:
    make = logging.getLogRecordFactory()

    def made(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name.partition(".")[0] in LOGGERS:
            record.msg, record.args = redact(record.getMessage(), *_keys), None
        return record

    logging.setLogRecordFactory(made)
