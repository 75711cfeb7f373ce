"""The fault words that may strike any endpoint, by what a client can know afterwards."""

from collections.abc import Mapping
from typing import Any

Word = tuple[str, Mapping[str, Any]]
Words = tuple[Word, ...]


def plain(*names: str) -> Words:
    """Return words without arguments."""
    return tuple((name, {}) for name in names)


def without(table: Words, *names: str) -> Words:
    """Return a class of faults without some of its words."""
    return tuple(word for word in table if word[0] not in names)


SLOW: Words = (
    ("hang", {}),
    ("slow_loris", {"part": "head"}),
    ("slow_loris", {"part": "body"}),
    ("slow_reply", {"seconds": 3}),
)
"""No answer in time: F01, F12, F40b. The last three did what was asked."""

BROKEN: Words = (
    ("drop", {}),
    ("reset", {}),
    ("html_502", {}),
    ("html_as_json", {}),
    ("html_200", {}),
    ("empty_200", {}),
    ("wrong_shape", {}),
    ("redirect", {}),
    ("status", {"code": 500}),
    ("status", {"code": 503, "headers": {"Retry-After": "0.1"}}),
    ("status", {"code": 504}),
    ("status", {"code": 408}),
    ("status", {"code": 499}),
)
"""Nothing was done, and nothing tells so: F02, F03, F04, F05, F06, F07, F08, F10, F24."""

LOST: Words = (
    ("lost_reply", {}),
    ("lost_reply_status", {}),
    ("success_code", {"code": 201}),
    ("success_code", {"code": 206}),
)
"""It was done, and the answer does not tell so: F40, F09."""

HARMLESS: Words = (
    ("slow_drip", {"bytes": 300, "pause_seconds": 0.001}),
    ("clock_jump", {"seconds": 3600}),
)
"""Nothing is wrong: F12, F90."""

SKEWED: Words = (("clock_skew", {"seconds": -90_000}), ("clock_skew", {"seconds": 90_000}))
"""Nothing is wrong but the clock that a document's times are from: F90."""


THROTTLED: Words = (
    ("quota_minute", {"delay": "0.1s"}),
    ("quota_bare", {}),
)
"""A quota that passes: F20, F23."""

DAILY: Words = (("quota_day", {}),)
"""A quota that does not pass before midnight: F21."""

REFUSED: Words = (
    ("list_wrapped", {"code": 400}),
    ("status", {"code": 413}),
)
"""A clear no that is about what was asked: F11."""

KEY: Words = (
    ("key_invalid", {}),
    ("status", {"code": 401}),
)
"""A clear no that is about the key: F26."""

GONE: Words = (
    ("status", {"code": 404}),
    ("status", {"code": 403}),
)
"""What was asked about is not there."""

UNANSWERED: Words = SLOW + BROKEN + LOST
"""Everything after which a client knows nothing."""

PASSING: Words = UNANSWERED + HARMLESS + THROTTLED
"""Everything that a call which may be repeated gets over, if it strikes once."""

LASTING: Words = BROKEN + LOST + THROTTLED
"""What such a call gives up at, if it strikes for ever; what is slow does so too, and takes its time."""
