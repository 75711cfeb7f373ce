"""Read what the API says of batches, files and models, and map all that goes wrong with a call to our errors.

The SDK drops most of its raw documents: `error`, `batchStats` and `response` never reach its caller, and a failed batch
would have no reason. Counts come as texts, those that are zero do not come at all, and a state may be new or missing.
What is of another type or form than it should be counts as missing.

A refusal is clear when it is a 4xx other than 408, 409 and 499: then nothing happened there. All else says nothing,
but for connections that were never made. Google's words are quoted without credentials: a server may echo what it got.
"""

import base64
import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pipeline.core.errors import (
    FindableError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    RemoteError,
    SchemaRefusedError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.redact import redact
from pipeline.core.states import RemoteState, remote_state
from pipeline.gemini.responses import HTTP_OF_RPC, error_code, excerpt_of, is_error

BATCH_NAME = re.compile(
    r"batches/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}"
)  # 400: ours; Google's have about 40
FILE_NAME = re.compile(r"files/[A-Za-z0-9][A-Za-z0-9._~-]{0,399}")  # never becomes a path here
# A result's name as it is, without `files/`, or inside a full address, of which no other part is ever used.
RESULT_NAME = re.compile(
    r"(?:(?:\S*/)?files/)?([A-Za-z0-9][A-Za-z0-9._~-]{0,399})(?::download)?(?:\?\S*)?"
)
MAX_ERROR = 1_000  # characters kept of the reason of a failed batch


class UnreadableReplyError(ValueError):
    """An answer of the API that is not what it should be; the client turns it into one of our errors."""


@dataclass(frozen=True)
class RemoteBatch:
    """One remote batch as the API last described it.

    `word` is the API's state word, None when there was none; `error` the reason of a failed batch as `<code>: <text>`.
    `done` is how many requests ended, 0 where the API gave no statistics. `created_at` is aware, UTC. The result is in
    the file `result_file`, or in `inlined`, whose entries have a `response` or an `error` and the key in `metadata`.
    """

    name: str
    display_name: str
    created_at: datetime | None
    word: str | None
    state: RemoteState
    result_file: str | None = None
    error: str = ""
    done: int = 0
    inlined: Sequence[Any] = field(default=(), repr=False, hash=False)

    @property
    def has_result(self) -> bool:
        """Return whether the API named a result file or sent the results inline."""
        return bool(self.result_file or self.inlined)


def read_operation(document: Any) -> RemoteBatch:
    """Return the batch an operation is about; raise UnreadableReplyError where it is about none."""
    name = _object(document).get("name")
    if not isinstance(name, str) or not BATCH_NAME.fullmatch(name):
        raise UnreadableReplyError("the answer has no name of a batch")
    metadata = _object(document.get("metadata"))
    word = (
        metadata.get("state")
        if isinstance(metadata.get("state"), str)
        else _word_without_metadata(document)
    )
    created_at = None
    stats = _object(metadata.get("batchStats"))
    with contextlib.suppress(ValueError):
        created_at = datetime.fromisoformat(_text(metadata.get("createTime")))
    places = [_object(place) for place in (metadata.get("output"), document.get("response"))]
    return RemoteBatch(
        name,
        _text(metadata.get("displayName")),
        created_at if created_at is not None and created_at.tzinfo is not None else None,
        word,
        remote_state(word),
        next(filter(None, (_result_name(place.get("responsesFile")) for place in places)), None),
        reason_of(document.get("error")),
        sum(_count(stats.get(one)) for one in ("successfulRequestCount", "failedRequestCount")),
        next(filter(None, (_inlined_in(place) for place in places)), ()),
    )


def _word_without_metadata(document: Mapping[str, Any]) -> str | None:
    """Return the state of an operation that is over and has no metadata at all; else None."""
    if document.get("metadata") or document.get("done") is not True:
        return None
    if is_error(document.get("error")):
        return "BATCH_STATE_FAILED"
    return "BATCH_STATE_SUCCEEDED" if document.get("response") else None


def _result_name(value: Any) -> str | None:
    """Return the name `files/…` of a result that is told as a name, as a bare id or as a full address."""
    found = RESULT_NAME.fullmatch(value) if isinstance(value, str) else None
    return f"files/{found[1]}" if found else None


def _inlined_in(place: Mapping[str, Any]) -> Sequence[Any]:
    entries = _object(place.get("inlinedResponses")).get("inlinedResponses")
    return entries if isinstance(entries, list) else ()


def read_page(document: Any) -> tuple[list[RemoteBatch], str]:
    """Return (batches, token of the next page or "") of one page of the list; `{}` is the last one.

    A batch that cannot be read spoils the page, for it may be the one that is looked for; what has other members and no
    list is another document, which must not pass for an empty list.
    """
    if not isinstance(document, dict):
        raise UnreadableReplyError("the answer is no JSON object")
    found = document.get("operations", [])
    token = document.get("nextPageToken", "")
    is_another = "operations" not in document and not document.keys() <= {
        "nextPageToken",
        "unreachable",
    }
    if not isinstance(found, list) or not isinstance(token, str) or is_another:
        raise UnreadableReplyError("the answer is no page of a list of operations")
    if document.get("unreachable"):
        raise UnreadableReplyError("the list is not whole: a part of it cannot be reached")
    return [read_operation(one) for one in found], token


def file_in(document: Any) -> dict[str, Any]:
    """Return the file resource of an upload's last reply, `{"file": {…}}`; raise UnreadableReplyError where is none."""
    file = _object(_object(document).get("file"))
    if not FILE_NAME.fullmatch(_text(file.get("name"))):
        raise UnreadableReplyError("the answer has no name of a file")
    return dict(file)


def check_arrived(file: Mapping[str, Any], *, sha256: str, size: int) -> None:
    """Refuse an upload that is not what was sent (UnreadableReplyError): pieces get lost without any error.

    The hash comes in base64 of the digest (as documented) or of its hex text (seen live 2025-09).
    """
    arrived = file.get("sizeBytes") or 0
    if str(arrived) != str(size):
        raise UnreadableReplyError(f"{arrived} of {size} bytes arrived")
    ours = [
        base64.urlsafe_b64encode(one).rstrip(b"=").decode()
        for one in (bytes.fromhex(sha256), sha256.encode())
    ]
    theirs = _text(file.get("sha256Hash")).replace("+", "-").replace("/", "_").rstrip("=")
    if theirs not in ours and len(theirs) in map(len, ours):
        raise UnreadableReplyError("other bytes arrived than were sent")


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _count(value: Any) -> int:
    found = re.fullmatch("[0-9]{1,18}", str(value)) if isinstance(value, int | str) else None
    return int(found[0]) if found else 0


def reason_of(error: Any) -> str:
    """Return an error of the API as `<code>: <text>`, without credentials; "" if it says nothing."""
    if not isinstance(error, dict) or not error:
        return ""
    text = error["message"] if isinstance(error.get("message"), str) else excerpt_of(error)
    code = error.get("code", error.get("status", ""))
    said = redact(f"{code}: {text}" if isinstance(code, int | str) and code != "" else text)
    return " ".join("".join(one if one.isprintable() else " " for one in said).split())[:MAX_ERROR]


PACIFIC = ZoneInfo(
    "America/Los_Angeles"
)  # daily quotas are reset at midnight there (rate limits page, read 2026-11)
UNCLEAR = frozenset({408, 409, 499})  # of the 4xx, those that do not say that nothing happened
KEY_REASONS = (
    "API_KEY_",
    "SERVICE_DISABLED",
    "CONSUMER_",
    "BILLING_DISABLED",
)  # beginnings of ErrorInfo.reason
UNREAD = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)  # what the SDK raises of a reply it has no types for
MAX_QUOTED = 300  # characters of Google's own message
THINKING_WORDS = re.compile(
    r"thinking[ _]?(level|budget)", re.IGNORECASE
)  # in a refusal of a thinkingConfig
THINKING_HINT = (
    'thinking={"thinkingLevel": "LOW"} in the task file changes it, or `thinking` of the model in the file of '
    "FINDABLE_MODELS_FILE"
)
# What a refusal is about, in Google's words: a model without any quota, money, a model that is full, a large schema.
NO_QUOTA_WORDS = re.compile(r"\blimit: 0(?![\d.])")
CREDIT_WORDS = re.compile(
    r"\bcredits?\b.{0,40}\b(?:depleted|exhausted|used up)\b|\bspend(?:ing)? cap\b", re.IGNORECASE
)
CAPACITY_WORDS = re.compile(r"\bno capacity\b|capacity[ _](?:is )?exhausted", re.IGNORECASE)
SCHEMA_WORDS = re.compile(r"\btoo many states\b", re.IGNORECASE)
BILLING_PAGE = "https://aistudio.google.com"  # where Google's own refusals send people for billing, read 2026-11
LATER = "what came before is kept; run the same command again later"
LONGEST_WISH_S = 86_400.0  # a longer wish is no wish but a mistake


def failure(
    error: Exception, *, what: str, key: str, now: datetime, address: str, seconds: float
) -> FindableError:
    """Return our error for whatever went wrong in a call that was to do `what`; raise what is a fault of our own."""
    import httpx2
    from google.genai import errors

    if isinstance(error, FindableError):
        return error
    if isinstance(error, errors.APIError):
        headers = getattr(error.response, "headers", None)
        return refusal(error.code, error.details, what=what, key=key, now=now, headers=headers)
    name = type(error).__name__
    said = redact(" ".join(str(error).split()), key)[:MAX_QUOTED]
    if isinstance(
        error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.ProxyError
    ):
        unsent = (
            f"cannot connect to {address} to {what}; nothing was sent{f' ({said})' if said else ''}"
        )
        return NotSentError(unsent, hint="check the network, then run it again")
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        text = f"no answer within {seconds:g} s, when asked to {what}"
    elif isinstance(error, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL):
        text = f"the connection broke ({name}), when Gemini was asked to {what}"
    elif isinstance(error, (*UNREAD, OSError, RecursionError)):
        text = f"Gemini's answer cannot be read, when asked to {what}: {name}: {said}"
    else:
        raise error
    return UnavailableError(text, hint=LATER)


def refusal(
    code: int,
    document: Any,
    *,
    what: str,
    key: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
) -> RemoteError:
    """Return the error for an HTTP code and its body, whatever the body is; `what` is what was to be done.

    429 gives ThrottledError, with `resets_at` where a quota is daily: its RetryInfo is short and misleading then, and
    is dropped. A 429 that no waiting ends (no quota at all, no credit) is a KeyRefusedError. A wrong key is 400 on this
    API. 403 and 404 are MissingError, except where they are about the key.
    """
    error = _error_of(document)
    status = _plain(error.get("status"), key)[:40]
    quoted = _plain(error.get("message"), key)
    message = f"Gemini refused to {what} ({code}{' ' + status if status else ''})" + (
        f": {quoted}" if quoted else ""
    )
    wishes = [(headers or {}).get("retry-after", "")]
    wishes += [
        str(detail.get("retryDelay", "")).removesuffix("s")
        for detail in _details(error, "RetryInfo")
    ]
    wish = max(filter(None, map(_seconds, wishes)), default=None)
    if code == 429:  # noqa: PLR2004 - HTTP's own number
        return _throttled(message, error, what=what, status=status, wish=wish, now=now)
    if not 400 <= code < 500 or code in UNCLEAR:  # noqa: PLR2004 - HTTP's own numbers
        text = message.replace("Gemini refused to", "Gemini could not be asked to", 1)
        return UnavailableError(text, hint=LATER, code=code, status=status, retry_after_s=wish)
    if code == 401 or _is_about_key(code, error):  # noqa: PLR2004 - HTTP's own number
        return KeyRefusedError(
            message, hint="check GEMINI_API_KEY and its project", code=code, status=status
        )
    if code == 400:  # noqa: PLR2004 - HTTP's own number
        return _bad_request(message, quoted, status=status)
    if code not in {403, 404}:
        return RefusedError(message, code=code, status=status)
    hint = "check the key's rights; or it is gone, or belongs to another key's project"
    if re.search(r"no longer available|\bmodels/\S+ is not (found|supported)", quoted):
        hint = "this project cannot use that model; set FINDABLE_MODEL or FINDABLE_EMBEDDING_MODEL to another"
    return MissingError(message, hint=hint, code=code, status=status)


def next_midnight_pacific(now: datetime) -> datetime:
    """Return when daily quotas are reset next, in UTC; days of 23 and 25 hours are right."""
    tomorrow = now.astimezone(PACIFIC).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=PACIFIC).astimezone(UTC)


def _bad_request(message: str, quoted: str, *, status: str) -> RefusedError:
    if THINKING_WORDS.search(quoted):
        return RefusedError(f"{message} ({THINKING_HINT})", code=400, status=status)
    if SCHEMA_WORDS.search(quoted):
        return SchemaRefusedError(message, code=400, status=status)
    return RefusedError(message, code=400, status=status)


def code_in_reply(document: Any) -> int | None:
    """Return the HTTP code of an error that came with status 200 in the place of a reply; None if a reply came."""
    if (
        not isinstance(document, dict)
        or document.get("candidates")
        or not is_error(document.get("error"))
    ):
        return None

    error = _object(document["error"])
    code = _count(error.get("code"))
    if 400 <= code < 600:  # noqa: PLR2004 - HTTP's own numbers
        return code
    return HTTP_OF_RPC.get(error_code(error) or 0, 500)


def _throttled(
    message: str,
    error: Mapping[str, Any],
    *,
    what: str,
    status: str,
    wish: float | None,
    now: datetime,
) -> RefusedError:
    said = _text(error.get("message"))
    if NO_QUOTA_WORDS.search(said):
        tier = "the free tier" if "free_tier" in said else "the key's project"
        model = re.search(r"\bmodel: ([\w.-]+)", said)
        quota = f"{tier} has no quota for {model[1] if model else 'this model'} (limit 0), and waiting does not help"
        hint = (
            f"set up billing at {BILLING_PAGE}, or set FINDABLE_MODEL to a model that has a quota"
        )
        return KeyRefusedError(
            f"Gemini refused to {what} (429): {quota}", hint=hint, code=429, status=status
        )
    if CREDIT_WORDS.search(said):
        hint = f"add credit or raise the spending cap at {BILLING_PAGE}, then run the same command again"
        return KeyRefusedError(message, hint=hint, code=429, status=status)
    if CAPACITY_WORDS.search(said):
        hint = (
            "the model is full, which is no quota of yours; "
            "run it again later, or set FINDABLE_MODEL to another model"
        )
        return ThrottledError(message, hint=hint, status=status, retry_after_s=wish)
    if any("PerDay" in str(detail.get("violations")) for detail in _details(error, "QuotaFailure")):
        resets_at = next_midnight_pacific(now)
        hint = (
            f"the daily quota is used up; run the same command after {resets_at:%Y-%m-%d %H:%M} UTC"
        )
        return ThrottledError(message, hint=hint, status=status, resets_at=resets_at)
    hint = "run the same command again " + (
        f"in {wish:.0f} s" if wish else "later, when running batches are over"
    )
    return ThrottledError(message, hint=hint, status=status, retry_after_s=wish)


def _is_about_key(code: int, error: Mapping[str, Any]) -> bool:
    reasons = [str(detail.get("reason", "")) for detail in _details(error, "ErrorInfo")]
    if any(reason.startswith(KEY_REASONS) for reason in reasons):
        return True
    message = str(error.get("message", ""))
    if code == 400:  # noqa: PLR2004 - HTTP's own number
        return error.get("status") == "FAILED_PRECONDITION" or "API key not valid" in message
    return code == 403 and ("API key" in message or "unregistered callers" in message)  # noqa: PLR2004


def _error_of(document: Any) -> dict[str, Any]:
    """Return the error object of a body of any shape: wrapped, in a list, bare, or a proxy's text."""
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return {"message": document} if isinstance(document, str) else {}
    inner = document.get("error", document)
    return inner if isinstance(inner, dict) else {"message": str(inner)}


def _details(error: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    details = error.get("details")
    named = (one for one in details if isinstance(one, dict)) if isinstance(details, list) else ()
    return [one for one in named if str(one.get("@type", "")).endswith(f".{kind}")]


def _seconds(text: str) -> float | None:
    """Return a number of seconds written as text; None where it is none (a Retry-After may be a date) or absurd."""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", text)
    return min(float(found.group(1)), LONGEST_WISH_S) if found else None


def _plain(value: Any, key: str) -> str:
    """Return a text of the server as at most 300 printable characters on one line, without credentials or markup."""
    text = re.sub(r"<[^<>]{0,200}>", " ", value[:20_000]) if isinstance(value, str) else ""
    text = "".join(character if character.isprintable() else " " for character in redact(text, key))
    text = " ".join(text.split())
    return text if len(text) <= MAX_QUOTED else text[: MAX_QUOTED - 1] + "…"
