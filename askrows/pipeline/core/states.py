"""The states of batches, at askrows and at the API, and the outcomes of requests.

`BATCH_MOVES` has all allowed moves; `askrows.pipeline.store.batches` checks every change of a
state. `parse_remote_state` maps every state of the SDK, and any unknown state.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from askrows.pipeline.core.text import replace_invisible_characters

# The service tier of a call that requests no tier.
STANDARD = "standard"
# The service tier that a project may have set as its default. It is never requested.
PRIORITY = "priority"
# Beginning of the display name of every remote batch that askrows creates.
DISPLAY_NAME_PREFIX = "askrows-"


@dataclass(frozen=True, kw_only=True)
class ModeFacts:
    """What distinguishes a mode: its words, its tier and price, and the times of its calls."""

    # How and when the mode asks, for people.
    label: str = ""
    # The service tier that is requested from the API. It determines the price.
    tier: str = STANDARD
    # Share of the price of a call without a tier. A model may have batch prices of its own.
    price_share: float = 1.0
    # Estimated seconds of a call before any was measured; 0 without calls.
    usual_call_s: float = 0.0
    # A call may take at least as many seconds, whatever the setting of the time-out is.
    min_timeout_s: float = 0.0
    # Calls that the service had no room for are repeated at least for this time.
    shed_retry_s: float = 0.0
    # A run may choose the mode by its price and time, and rows of a batch can be moved to it.
    is_automatic: bool = False
    # A person who waits may ask a few rows in it.
    asks_single_rows: bool = False
    # A batch claims its rows, and each of its requests gets an outcome of its own.
    claims_rows: bool = True


_NO_FACTS = ModeFacts()


class Mode(StrEnum):
    """How the requests of a batch are sent: by the Batch API, or as live calls."""

    facts: ModeFacts

    def __new__(cls, value: str, facts: ModeFacts = _NO_FACTS) -> Self:
        """Make a mode from the value of MODE= and its facts."""
        mode = str.__new__(cls, value)
        mode._value_ = value
        mode.facts = facts
        return mode

    # Prices of batch and flex: pricing page, read 2026-10.
    BATCH = (
        "batch",
        ModeFacts(
            label="by tomorrow, half price",
            tier="batch",
            price_share=0.5,
            is_automatic=True,
        ),
    )
    # Live calls at half price. The API rejects them when it is busy, and one may take 15 minutes.
    FLEX = (
        "flex",
        ModeFacts(
            label="in minutes, half price",
            tier="flex",
            price_share=0.5,
            usual_call_s=60.0,
            min_timeout_s=900.0,
            # Our own bound.
            shed_retry_s=3_600.0,
            is_automatic=True,
        ),
    )
    # Our choice: 1 to 2 s is normal.
    LIVE = (
        "live",
        ModeFacts(
            label="at once, full price",
            usual_call_s=1.5,
            is_automatic=True,
            asks_single_rows=True,
        ),
    )
    # Live calls that ask closed questions of a decision model, in 150 to 250 ms (public pages, read
    # 2026-11). A person must name this mode.
    DECIDE = (
        "decide",
        ModeFacts(
            label="at once, only the choices, each with its probability",
            usual_call_s=0.25,
            asks_single_rows=True,
        ),
    )
    # Live calls that claim no rows. Only their cost is stored.
    TRIAL = "trial", ModeFacts(claims_rows=False)


AUTOMATIC_MODES = tuple(mode for mode in Mode if mode.facts.is_automatic)
SINGLE_ROW_MODES = tuple(mode for mode in Mode if mode.facts.asks_single_rows)


class BatchState(StrEnum):
    """The state of a batch."""

    # The request file is sealed and its rows are claimed.
    PREPARED = "prepared"
    # The same, and live calls are running. It was interrupted if no process has its lock.
    ASKING = "asking"
    # A create call was sent, or may have been sent.
    SUBMITTING = "submitting"
    # The remote name is known.
    SUBMITTED = "submitted"
    # The result file, complete or partial, is sealed on disk.
    DOWNLOADED = "downloaded"
    # Every request has an outcome.
    INGESTED = "ingested"
    # It ended without a result, and its rows were released.
    FAILED = "failed"


BATCH_MOVES: dict[BatchState, set[BatchState]] = {
    BatchState.PREPARED: {BatchState.SUBMITTING, BatchState.FAILED},
    BatchState.ASKING: {BatchState.DOWNLOADED, BatchState.INGESTED},
    # submitting -> submitting is another create call. The list of batches showed before that the
    # last call had no effect.
    BatchState.SUBMITTING: {BatchState.PREPARED, BatchState.SUBMITTED, BatchState.SUBMITTING},
    BatchState.SUBMITTED: {BatchState.DOWNLOADED, BatchState.FAILED},
    BatchState.DOWNLOADED: {BatchState.INGESTED, BatchState.FAILED},
    BatchState.INGESTED: set(),
    BatchState.FAILED: set(),
}

ENDED_STATES = frozenset({BatchState.INGESTED, BatchState.FAILED})
OPEN_STATES = frozenset(BatchState) - ENDED_STATES


class RemoteState(StrEnum):
    """The state of a batch at the API, reduced to the relevant cases."""

    # Unfinished, or an unknown state.
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """Whether the API will not change this batch any more."""
        return self is not RemoteState.WAITING


# The twelve members of google.genai.types.JobState (SDK 3.3.0) without their prefix. Replies have
# BATCH_STATE_…, the SDK and some samples of Google have JOB_STATE_….
REMOTE_STATES: dict[str, RemoteState] = {
    **dict.fromkeys(
        ("UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING"),
        RemoteState.WAITING,
    ),
    # Requests without a line in the result have the outcome MISSING.
    **dict.fromkeys(("SUCCEEDED", "PARTIALLY_SUCCEEDED"), RemoteState.SUCCEEDED),
    "FAILED": RemoteState.FAILED,
    "CANCELLED": RemoteState.CANCELLED,
    "EXPIRED": RemoteState.EXPIRED,
}


# The name of an enumeration before its value, as in BATCH_STATE_FAILED or FinishReason.STOP.
_ENUM_PREFIX = re.compile(
    r"(?:\w+\.)?(?:(?:(?:JOB_|BATCH_)?STATE|FINISH_REASON|BLOCK(?:ED)?_REASON)_)?"
)


def normalize_api_enum(word: str) -> str:
    """Return a value of an enumeration of the API in upper case, without the enumeration's name.

    So `JOB_STATE_FAILED`, `BATCH_STATE_FAILED` and `failed` are the same value.
    """
    upper_word = word.strip().upper().replace("-", "_")
    return _ENUM_PREFIX.sub("", upper_word, count=1)


def parse_remote_state(word: str | None) -> RemoteState:
    """Return the state for a state word of the API; WAITING for None and unknown words."""
    return REMOTE_STATES.get(normalize_api_enum(word or ""), RemoteState.WAITING)


def describe_remote_state(word: str) -> str:
    """Return a state word of the API in words for people, such as "partially succeeded"."""
    return word.lower().rpartition("state_")[2].replace("_", " ")


def is_known_remote_state(word: str | None) -> bool:
    """Return whether a state word of the API is documented; callers warn of other words."""
    return normalize_api_enum(word or "") in REMOTE_STATES


# Beginning of the reason for parking a row whose text supports no answer.
UNSUPPORTED_REASON = "the text supports no"


def is_unsupported(reason: str) -> bool:
    """Return whether a row is parked because its text supports no answer, which is no failure."""
    return reason.startswith(UNSUPPORTED_REASON)


class NoAnswer(Exception):  # noqa: N818 - it is no error: a task's file raises it
    """The text of a row supports no answer; `clean` or `check` raises it, and the row is parked.

    Its text is the reason, such as "the text supports no tag".
    """

    def __init__(self, noun: str) -> None:
        """Make the reason.

        Args:
            noun: What the text does not support, such as "tag".
        """
        super().__init__(f"{UNSUPPORTED_REASON} {replace_invisible_characters(noun)}")


# Between the reason why a row is parked and its last failure.
LAST_FAILURE_INTRODUCTION = "; last: "
# The codes with which reasons are stored, in words for people. Other codes are words already.
_WORDS_BY_CODE = {
    "does-not-validate": "invalid answer",
    "does-not-parse": "unreadable answer",
    "different-answers": "two different valid answers",
    "max-tokens": "answer cut at the token limit",
    "max-tokens-empty": "no answer within the token limit",
    "prompt-blocked": "request blocked by the provider",
    "bad-finish": "answer not finished by the provider",
    "no-candidates": "reply without an answer",
    "no-response": "line without a reply",
    "error-line": "error of the provider",
    "wrong-form": "request refused like all others",
}
# A code is the first word of a reason, or of the last failure of a parked row.
_CODE_PATTERN = re.compile(rf"(^|{LAST_FAILURE_INTRODUCTION})({'|'.join(_WORDS_BY_CODE)})(?![\w-])")
# What the parser of JSON expected, and its place in the reply.
_PARSER_MESSAGE = re.compile(r": [^:;]+: line \d+ column \d+ \(char \d+\)")


def describe_reason(reason: str) -> str:
    """Return a stored reason of a failed request or row in words for people."""
    described = _CODE_PATTERN.sub(lambda match: f"{match[1]}{_WORDS_BY_CODE[match[2]]}", reason)
    return _PARSER_MESSAGE.sub("", described)


class Outcome(StrEnum):
    """The outcome of a request. Every request of an ingested batch has exactly one outcome."""

    ANSWERED = "answered"
    # An error line, or a blocked or empty candidate.
    REFUSED = "refused"
    # The reply does not parse, or does not validate.
    INVALID = "invalid"
    # The result file has no line for the request.
    MISSING = "missing"
