"""Keep credentials out of messages, tracebacks, log records of libraries and echoes of servers.

A credential is one of these:

- The API key, in any of the forms in which it is sent.
- The URL of an upload session, which works without a key.
- A password in the address of a database or server.

`Secret` is the type of a credential.
"""

import logging
import re
from collections.abc import Callable
from functools import cache
from typing import Any, NoReturn
from urllib.parse import quote

# Characters; a shorter key may be a word of a text (Google's have 39).
MIN_REDACTED_KEY_CHARS = 16
# Google's keys begin like this, the older ones with the first word, and OpenAI's with sk-.
_KNOWN_KEY = re.compile(r"\b(?:AIza|AQ\.)[\w-]{30,}|\bsk-[\w-]{20,}")
# Options of database URLs.
PASSWORD_OPTIONS = (
    "password",
    "sslpassword",
    "oauth_client_secret",
    "scram_client_key",
    "scram_server_key",
)
# Loggers of the libraries that log requests, with their children.
REDACTED_LOGGERS = ("httpx2", "httpcore2", "google_genai", "httpx", "httpcore", "asyncio")
# Characters of a key of which the last four may be shown: they are a third of it at most.
_MIN_MASKED_CHARS = 13
_PASSWORD = re.compile(
    rf"""(://[^/\s:@"']*:)[^@\s]+(?=@)|([?&](?:{"|".join(PASSWORD_OPTIONS)})=)[^&\s"']+""",
)
# A user and a password in an address, with a scheme or without. The user may be misplaced behind a
# slash. The path of an SQLite file has neither.
_USER_AND_PASSWORD = re.compile(
    r"^(?!sqlite[^:]*:///)((?:[^/?]*:)?//[^:]*?|(?!(?:[^/?]*:)?//)[^/:]*?)(:|%3A).*@",
    re.DOTALL | re.IGNORECASE,
)
# Ends of the names of options with a secret, in a URL, a connection string of libpq or of ODBC.
_SECRET_NAMES = ("password", "passwd", "passphrase", "pass", "pwd", "secret", "key", "token")


def _make_escapable_pattern(word: str) -> str:
    """Return a pattern that finds a word also if some of its letters are percent-encoded."""
    letters = (f"(?:{letter}|%{ord(letter):x}|%{ord(letter.upper()):x})" for letter in word)
    return "".join(letters)


_SECRET_OPTION = re.compile(
    rf"((?:{'|'.join(map(_make_escapable_pattern, _SECRET_NAMES))})(?:\s|%20|\+)*(?:=|%3D))[^&]+",
    re.IGNORECASE,
)
_SESSION = re.compile(
    r"""(upload_id|[?&]key)(%3D|["']?\s*[=:]\s*["']?)[^&\s"',})]+""",
    re.IGNORECASE,
)


def mask_key(key: str) -> str:
    """Return a key as it may be shown: its last four characters, or none of a short key."""
    if len(key) >= _MIN_MASKED_CHARS:
        return "…" + key[-4:]
    return "…"


def mask_url_secrets(url: str) -> str:
    """Return a URL without the password before its host, and without the secrets in its options.

    A password may contain an unescaped `@`, so all text up to the last `@` is removed. The value of
    an option ends at the next `&` only.
    """
    masked_user_url = _USER_AND_PASSWORD.sub(r"\1\2…@", url)
    return _SECRET_OPTION.sub(r"\1…", masked_user_url)


class Secret:
    """A key, or a URL that may contain a password; it is masked if printed or formatted.

    Only `reveal` returns the text. Copies are the secret itself. It cannot be pickled, and neither
    can an object that contains it.
    """

    __slots__ = ("__mask", "__text")

    def __init__(self, text: str, mask_text: Callable[[str], str] = mask_key) -> None:
        """Keep a text.

        Args:
            text: The credential.
            mask_text: Function that returns the masked text.
        """
        self.__text = text
        self.__mask = mask_text

    @classmethod
    def register_key(cls, text: str) -> "Secret":
        """Return a key as a secret, and keep it out of all output of this process."""
        keep_out_of_output(text)
        return cls(text)

    @classmethod
    def from_url(cls, text: str) -> "Secret":
        """Return a URL as a secret that is shown without its password."""
        return cls(text, mask_url_secrets)

    def reveal(self) -> str:
        """Return the unmasked text."""
        return self.__text

    def __str__(self) -> str:
        return self.__mask(self.__text)

    def __repr__(self) -> str:
        return repr(str(self))

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Secret):
            return self.__text == other.__text
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.__text)

    def __deepcopy__(self, memo: object = None) -> "Secret":
        return self

    __copy__ = __deepcopy__

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, because the file would contain the unmasked text.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "a key or a password cannot be pickled; open the workspace again in the other process",
        )


def redact(text: str, *keys: str) -> str:
    """Return a text without keys, upload sessions, and passwords in addresses.

    Args:
        text: Any text, such as a traceback.
        keys: Keys to remove, in addition to those of `redact_keys`; "" is ignored.
    """
    without_passwords = _PASSWORD.sub(r"\1\2***", redact_keys(text, *keys))
    return _SESSION.sub(r"\1\2***", without_passwords)


def redact_keys(text: str, *keys: str) -> str:
    """Return a message without keys: those of this process, and what looks like one.

    A message may quote a key that was typed as the value of another option.
    """
    return hide_keys(_KNOWN_KEY.sub("***", text), *keys)


def hide_keys(text: str, *keys: str) -> str:
    """Replace keys in a text by `***`: those that clients of this process registered, and others.

    Args:
        text: Any text.
        keys: More keys to remove; all are also removed if they are URL-quoted or escaped.
    """
    for key in filter(None, {*keys, *_redacted_keys}):
        for key_form in {key, quote(key, safe=""), key.replace("\\", "\\\\")}:
            text = text.replace(key_form, "***")
    return text


def redact_document(data: bytes, key: str) -> bytes:
    """Return the bytes of a JSON document without the key.

    A key of less than `MIN_REDACTED_KEY_CHARS` characters stays, because it may also be a word of
    the text.
    """
    if len(key) >= MIN_REDACTED_KEY_CHARS:
        return data.replace(key.encode(), b"***")
    return data


# Keys of this process, because standard streams and loggers are shared by all clients in it.
_redacted_keys: set[str] = set()
_NULL_HANDLER = logging.NullHandler()


def keep_out_of_output(key: str) -> None:
    """Remove the key from all further messages and output, until the process ends.

    Keys of less than `MIN_REDACTED_KEY_CHARS` characters are not removed.
    """
    if len(key) >= MIN_REDACTED_KEY_CHARS:
        _redacted_keys.add(key)


def keep_out_of_logs(key: str) -> None:
    """Remove the key and upload sessions from all further log records of `REDACTED_LOGGERS`.

    The handling lasts until the process ends; see `keep_out_of_output`.
    """
    keep_out_of_output(key)
    # Without a handler, Python prints the warnings of this library on standard error.
    logging.getLogger("google_genai").addHandler(_NULL_HANDLER)
    _install_redacting_record_factory()


@cache
def _install_redacting_record_factory() -> None:
    """Replace the factory of log records so that records of REDACTED_LOGGERS have no API keys.

    Arguments of such a record are put into its message first, because they can contain a key.
    Further calls do nothing.
    """
    create_record = logging.getLogRecordFactory()

    def create_redacted_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = create_record(*args, **kwargs)
        if record.name.partition(".")[0] in REDACTED_LOGGERS:
            record.msg = redact(record.getMessage())
            record.args = None
        return record

    logging.setLogRecordFactory(create_redacted_record)
