"""What goes wrong: which faults the API has in a round, and what happens to the process of a command."""

import random
from dataclasses import dataclass
from signal import Signals
from typing import Any

from tests.faults import words
from tests.faults.words import Words, plain

LEASE_S = 1.0
MOST_FAULTS = 6
MOST_STEPS = 80
BEGUN_S = 0.2  # before that a command has not begun, and Python's own way with a signal is in force

CALLS: Words = (  # faults of single calls
    *words.BROKEN + words.LOST + words.THROTTLED + words.DAILY,
    *plain("hang", "key_invalid", "mime_refused", "drop_chunk", "chunk_status", "chunk_lost", "no_upload_url"),
    *plain("file_expired", "unknown_state", "missing_state", "no_output_yet", "cancel_ignored"),
    *plain("vectors_short", "vectors_fused", "vectors_wrong_dimension", "vectors_nan", "vectors_not_unit"),
    *((word, {"code": 503}) for word in ("get_status", "page_status", "download_status")),
    *((word, {"fraction": 0.6}) for word in ("cut_with_length", "cut_without_length")),
    ("slow_reply", {"seconds": 0.4}),
    ("slow_drip", {"pause_seconds": 0.02}),
    ("file_processing", {"looks": 2}),
    ("batch_vanishes", {"code": 404}),
)
CREATES: Words = (  # faults of creates
    *plain("create_lost_reply", "no_name", "quota_batch"),
    ("create_lost_reply_status", {"code": 503}),
    ("create_slow_reply", {"seconds": 0.9}),
    ("bad_line", {"line": 1}),
    ("list_lag", {"seconds": 0.6}),
)
FATES: Words = (  # what becomes of whole batches, decided at their create
    *plain("batch_fails", "batch_expires", "never_ends", "duplicate_batch"),
    *((word, {"partial": 0.5}) for word in ("batch_fails", "batch_expires", "batch_cancelled")),
)
PARTS = (  # of a result
    *("missing_line", "duplicate_equal", "duplicate_different", "duplicate_error_first", "unknown_key", "garbage_line"),
    *("broken_line", "line_separators", "max_tokens", "max_tokens_empty", "prompt_blocked", "safety", "no_candidates"),
    *("unknown_finish", "schema_mismatch", "markdown_fence", "other_model"),
)
LINES: Words = (  # what becomes of the lines of a result
    *plain("all_lines_fail", "cut_last_line", "no_last_newline", "blank_lines", "crlf", "bom"),
    *((word, {"fraction": 0.2}) for word in PARTS),
    *(("error_line", {"fraction": fraction, "code": code}) for fraction, code in ((0.2, 13), (0.1, 3))),
    ("answer_text", {"fraction": 0.2, "text": '{"tags": [""]}'}),
)


def faults(dice: random.Random) -> list[dict[str, Any]]:
    """Return up to six faults for a round; every fifth round has none."""
    if dice.random() < 0.2:
        return []
    found = []
    for _ in range(dice.randint(1, MOST_FAULTS)):
        kind = dice.choice((CALLS, CALLS, CREATES, CREATES, FATES, LINES))
        word, args = dice.choice(kind)
        nth = dice.randint(1, 6 if kind is CALLS else 2)
        found.append({"fault": word, "args": dict(args), "nth": nth, "times": dice.randint(1, 3)})
    return found


@dataclass(frozen=True)
class Fate:
    """What happens to one command: a signal, at a step of its own or at a moment, and how long it stands still."""

    signal: str = ""
    at_step: int = 0
    at_s: float = 0.0
    still_s: float = 0.0

    def __str__(self) -> str:
        """Return it as the log has it."""
        if not self.signal:
            return "in peace"
        when = f"step {self.at_step}" if self.at_step else f"{self.at_s:.2f} s"
        return f"SIG{self.signal} at {when}" + (f" for {self.still_s:.1f} s" if self.still_s else "")

    @property
    def number(self) -> Signals:
        """Return the signal."""
        return Signals[f"SIG{self.signal}"]


def fate(dice: random.Random) -> Fate:
    """Return what happens to a command: every second one is left in peace, most others are killed."""
    chosen = dice.choices(("", "KILL", "STOP", "INT", "TERM"), weights=(50, 28, 12, 6, 4))[0]
    if not chosen:
        return Fate()
    still_s = LEASE_S * dice.uniform(0.2, 1.8) if chosen == "STOP" else 0.0
    if dice.random() < 0.6:
        return Fate(chosen, at_step=1 + int(MOST_STEPS * dice.random() ** 2), still_s=still_s)
    earliest_s = BEGUN_S if chosen in {"INT", "TERM"} else 0.0
    return Fate(chosen, at_s=earliest_s + 0.7 * dice.random() ** 2, still_s=still_s)
