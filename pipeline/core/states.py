"""The states of a batch, ours and the API's, and the moves between them.

`BATCH_MOVES` is the whole table of allowed moves; `pipeline.store.batches` writes a state only through it.
`remote_state` is total: every state the SDK knows and every one it does not has an entry.
"""

from enum import StrEnum

STANDARD = "standard"  # the tier of a call that asks for none


class Mode(StrEnum):
    """Who answers the lines of a batch, and how: the Batch API, or our own calls."""

    BATCH = "batch"
    LIVE = "live"
    FLEX = "flex"  # our own calls at half price, which the API sheds where it is busy
    PRIORITY = "priority"  # one of our own calls that goes before others, at a higher price
    TRIAL = (
        "trial"  # our own calls, of which nothing is claimed and nothing is kept but what they cost
    )

    @property
    def tier(self) -> str:
        """Return what the API calls the service that is asked for, by which a reply is priced."""
        return self.value if self in {Mode.BATCH, Mode.FLEX, Mode.PRIORITY} else STANDARD


class BatchState(StrEnum):
    """Where one of our batches stands."""

    PREPARED = "prepared"  # the request file is sealed and its items are claimed
    ASKING = "asking"  # so, and our own calls ask its lines; dead where nobody holds its lock
    SUBMITTING = "submitting"  # a create call was, or may have been, sent
    SUBMITTED = "submitted"  # the remote name is known
    DOWNLOADED = "downloaded"  # the result, whole or partial, is sealed on disk
    INGESTED = "ingested"  # every request is accounted for
    FAILED = "failed"  # over without a result; its items were let go


BATCH_MOVES: dict[BatchState, set[BatchState]] = {
    BatchState.PREPARED: {BatchState.SUBMITTING, BatchState.FAILED},
    BatchState.ASKING: {BatchState.DOWNLOADED, BatchState.INGESTED},
    # submitting -> submitting is a further create, after the list showed that the last one left nothing
    BatchState.SUBMITTING: {BatchState.PREPARED, BatchState.SUBMITTED, BatchState.SUBMITTING},
    BatchState.SUBMITTED: {BatchState.DOWNLOADED, BatchState.FAILED},
    BatchState.DOWNLOADED: {BatchState.INGESTED, BatchState.FAILED},
    BatchState.INGESTED: set(),
    BatchState.FAILED: set(),
}

OVER = frozenset({BatchState.INGESTED, BatchState.FAILED})
OPEN = frozenset(BatchState) - OVER


class RemoteState(StrEnum):
    """What the API says of a batch, reduced to what matters for us."""

    WAITING = "waiting"  # not over; also every state never seen before
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_over(self) -> bool:
        """True when the API will not change this batch any more."""
        return self is not RemoteState.WAITING


# The twelve members of google.genai.types.JobState (SDK 3.3.0) without their prefix; the wire says BATCH_STATE_…, the
# SDK and some of Google's samples say JOB_STATE_…
REMOTE_STATES: dict[str, RemoteState] = {
    **dict.fromkeys(
        ("UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING"),
        RemoteState.WAITING,
    ),
    **dict.fromkeys(
        ("SUCCEEDED", "PARTIALLY_SUCCEEDED"), RemoteState.SUCCEEDED
    ),  # lines without an answer are missing
    "FAILED": RemoteState.FAILED,
    "CANCELLED": RemoteState.CANCELLED,
    "EXPIRED": RemoteState.EXPIRED,
}


def remote_state(word: str | None) -> RemoteState:
    """Return what a state word of the API means for us; None and unknown words mean that it is not over."""
    bare = (word or "").removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_")
    return REMOTE_STATES.get(bare, RemoteState.WAITING)


def is_known_state(word: str | None) -> bool:
    """Return whether the API's state word is one we have read about; others are worth a warning."""
    return (word or "").removeprefix("JOB_STATE_").removeprefix("BATCH_STATE_") in REMOTE_STATES


SUPPORTS_NONE = "the text supports no"  # how the reason begins why an item is parked that holds nothing to be said


def fate_of(reason: str) -> str:
    """Return what a person reads of an item that is parked for a reason: where its text is why, nothing failed."""
    return "set aside" if reason.startswith(SUPPORTS_NONE) else "parked"


class Outcome(StrEnum):
    """What became of one request of a batch; exactly one of these, or the batch is not ingested."""

    ANSWERED = "answered"
    REFUSED = "refused"  # an error line, a blocked or an empty candidate
    INVALID = "invalid"  # does not parse, or does not validate
    MISSING = "missing"  # no line
