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
# A user and a password in an address, with a scheme or without. The user may be misplaced behind a
# slash. The path of an SQLite file has neither.
_USER_AND_PASSWORD = re.compile(
    r"^(?!sqlite[^:]*:///)((?:[^/?]*:)?//[^:]*?|(?!(?:[^/?]*:)?//)[^/:]*?)(:|%3A).*@",
    re.DOTALL | re.IGNORECASE,
)
# Ends of the names of options with a secret, in a URL, a connection string of libpq or of ODBC.
_SECRET_NAMES = ("password", "passwd", "passphrase", "pass", "pwd", "secret", "key", "token")


def _with_escapes(word: str) -> str:
    """Return a pattern that finds a word also if some of its letters are percent-encoded."""
    letters = (f"(?:{letter}|%{ord(letter):x}|%{ord(letter.upper()):x})" for letter in word)
    return "".join(letters)


_SECRET_OPTION = re.compile(
    rf"((?:{'|'.join(map(_with_escapes, _SECRET_NAMES))})(?:\s|%20|\+)*(?:=|%3D))[^&]+",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"""(upload_id|[?&]key)(%3D|["']?\s*[=:]\s*["']?)[^&\s"',})]+""", re.IGNORECASE
)


def masked(key: str) -> str:
    """Return a key as it may be shown: its last four characters, and not even those of a short one."""
    return "…" + key[-4:] if len(key) > 12 else "…"  # noqa: PLR2004 - a third of the shortest key worth telling apart


def without_password(url: str) -> str:
    """Return a URL as it may be shown: without the password that stands in it, before the host or among the options.

    A password may hold an `@` where it should not, so that all up to the last one is left out. Only `&` is sure to end
    the value of an option.
    """
    shown = _USER_AND_PASSWORD.sub(r"\1\2…@", url)
    return _SECRET_OPTION.sub(r"\1…", shown)


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
