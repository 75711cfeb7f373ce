"""What goes wrong: which faults the API has in a round, and what happens to the process of a command."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from signal import Signals
from typing import Any

LEASE_S = 1.0
MOST_FAULTS = 6
MOST_STEPS = 80
BEGUN_S = 0.2  # before that a command has not begun, and Python's own way with a signal is in force

# Faults of single calls: word, arguments
CALLS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("status", {"code": 503}),
    ("status", {"code": 500}),
    ("status", {"code": 408}),
    ("status", {"code": 429}),
    ("quota_minute", {"delay": "0.2s"}),
    ("quota_day", {}),
    ("drop", {}),
    ("reset", {}),
    ("hang", {}),
    ("html_502", {}),
    ("html_200", {}),
    ("empty_200", {}),
    ("wrong_shape", {"document": {"neither": "this", "nor": ["that"]}}),
    ("slow_reply", {"seconds": 0.4}),
    ("slow_drip", {"pause_seconds": 0.02}),
    ("lost_reply", {}),
    ("lost_reply_status", {"code": 503}),
    ("get_status", {"code": 503}),
    ("key_invalid", {}),
    ("mime_refused", {}),
    ("drop_chunk", {}),
    ("chunk_status", {}),
    ("chunk_lost", {}),
    ("no_upload_url", {}),
    ("file_processing", {"looks": 2}),
    ("file_expired", {}),
    ("page_status", {"code": 503}),
    ("unknown_state", {}),
    ("missing_state", {}),
    ("no_output_yet", {}),
    ("batch_vanishes", {"code": 404}),
    ("cancel_ignored", {}),
    ("download_status", {"code": 503}),
    ("cut_with_length", {"fraction": 0.6}),
    ("cut_without_length", {"fraction": 0.6}),
    ("vectors_short", {}),
    ("vectors_fused", {}),
    ("vectors_wrong_dimension", {}),
    ("vectors_nan", {}),
    ("vectors_not_unit", {}),
)
# Faults of creates
CREATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("create_lost_reply", {}),
    ("create_lost_reply_status", {"code": 503}),
    ("create_slow_reply", {"seconds": 0.9}),
    ("no_name", {}),
    ("bad_line", {"line": 1}),
    ("list_lag", {"seconds": 0.6}),
    ("quota_batch", {}),
)
# What becomes of whole batches, decided at their create
FATES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("batch_fails", {}),
    ("batch_fails", {"partial": 0.5}),
    ("batch_expires", {"partial": 0.5}),
    ("batch_expires", {}),
    ("batch_cancelled", {"partial": 0.3}),
    ("never_ends", {}),
    ("duplicate_batch", {}),
)
# What becomes of the lines of a result
LINES: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("missing_line", {"fraction": 0.2}),
    ("duplicate_equal", {"fraction": 0.3}),
    ("duplicate_different", {"fraction": 0.3}),
    ("duplicate_error_first", {"fraction": 0.3}),
    ("unknown_key", {"fraction": 0.2}),
    ("garbage_line", {"fraction": 0.2}),
    ("broken_line", {"fraction": 0.2}),
    ("line_separators", {"fraction": 0.3}),
    ("error_line", {"fraction": 0.2, "code": 13}),
    ("error_line", {"fraction": 0.1, "code": 3}),
    ("all_lines_fail", {}),
    ("answer_text", {"fraction": 0.2, "text": '{"tags": []}'}),
    ("max_tokens", {"fraction": 0.2}),
    ("max_tokens_empty", {"fraction": 0.2}),
    ("prompt_blocked", {"fraction": 0.1}),
    ("safety", {"fraction": 0.1}),
    ("no_candidates", {"fraction": 0.1}),
    ("unknown_finish", {"fraction": 0.1}),
    ("schema_mismatch", {"fraction": 0.2}),
    ("markdown_fence", {"fraction": 0.3}),
    ("other_model", {"fraction": 0.3}),
    ("cut_last_line", {}),
    ("no_last_newline", {}),
    ("blank_lines", {}),
    ("crlf", {}),
    ("bom", {}),
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
