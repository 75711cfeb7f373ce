"""Counting what each key asks of each model, and refusing what is over its limits, in Google's words.

A day is Pacific and begins anew at midnight there. A minute is the sixty seconds up to a call (the stricter reading,
of which no window of any place holds more than the limit) or, where the setting says `fixed`, the minute on the clock,
of which two halves side by side may hold twice as much. What the live service does is not documented. A call is
counted when it comes in, and only where it is good: a refused one counts against nothing.

The counts are in the engine's state, so that they survive a host and all hosts share them; the limits are settings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emulator.catalogue import Model
from emulator.clock import MINUTE_NS, SECOND_NS, Clock, next_pacific_midnight_ns, pacific_day, timestamp
from emulator.database import Database
from emulator.errors import ApiError, quota_violated
from emulator.limits import Limits, limits_of, violation
from emulator.settings import Settings


@dataclass(frozen=True)
class _Call:
    """A call at the moment it is to be counted; its minute began after `since_ns`."""

    owner: str
    model: Model
    requests: int
    tokens: int
    now_ns: int
    since_ns: int

    @property
    def window(self) -> tuple[str, str, int]:
        """What stands for the marks of `_IN_WINDOW`."""
        return self.owner, self.model.name, self.since_ns

    @property
    def day(self) -> str:
        """The Pacific day."""
        return pacific_day(self.now_ns).isoformat()


_IN_WINDOW = "FROM quota_calls WHERE owner = ? AND model = ? AND at_ns > ?"


class Quotas:
    """Admits calls, or refuses them."""

    def __init__(self, database: Database, *, clock: Clock, settings: Callable[[], Settings]) -> None:
        """Count in `database`, by the engine's clock."""
        self._database = database
        self._clock = clock
        self._settings = settings

    def admit(self, owner: str, model: Model, *, requests: int, tokens: int) -> int:
        """Count a call and return when it was counted, in nanoseconds; all hosts see it from then on.

        Where the model has no limits nothing is counted.

        Raises:
            ApiError: 429 naming every limit that the call would pass; nothing is counted.
        """
        settings = self._settings()
        limits = limits_of(settings.quotas, model.name)
        if limits.is_open:
            return self._clock.about_ns()
        with self._database.light_transaction():
            now = self._clock.now_ns()
            back = now % MINUTE_NS + 1 if settings.quota_window == "fixed" else MINUTE_NS
            call = _Call(owner, model, requests, tokens, now, now - back)
            excess = self._excess(call, limits)
            if excess:
                raise self._refusal(call, limits, excess)
            self._count(call)
        return now

    def _excess(self, call: _Call, limits: Limits) -> dict[str, int]:
        """Return by how much the call would pass each limit that it would pass."""
        [minute] = self._database.rows(
            f"SELECT SUM(requests) AS requests, SUM(tokens) AS tokens {_IN_WINDOW}", call.window
        )
        today = self._database.rows(
            "SELECT requests FROM quota_days WHERE owner = ? AND model = ? AND day = ?",
            (call.owner, call.model.name, call.day),
        )
        asked = {
            "requests_per_minute": (minute["requests"] or 0) + call.requests,
            "input_tokens_per_minute": (minute["tokens"] or 0) + call.tokens,
            "requests_per_day": (today[0]["requests"] if today else 0) + call.requests,
        }
        return {name: asked[name] - limit for name, limit in limits.document().items() if asked[name] > limit}

    def _refusal(self, call: _Call, limits: Limits, excess: Mapping[str, int]) -> ApiError:
        """Return the 429 for the limits passed.

        The delay is the longest that a limit of the minute needs. A daily one has none of its own: it comes with the
        rest of the minute on the clock, as short and misleading as the live service's. The details cut the fraction
        off, as live ones do.
        """
        on_clock = MINUTE_NS - call.now_ns % MINUTE_NS
        waits = [self._wait_ns(call, name, excess=over) for name, over in excess.items() if name != "requests_per_day"]
        seconds, fraction = divmod(max(waits, default=on_clock), SECOND_NS)
        values = limits.document()
        return quota_violated(
            [violation(name, values[name], model=call.model.name, embeds=call.model.embeds) for name in excess],
            retry_delay=f"{seconds}s",
            retry_in=f"{seconds}.{fraction:09d}s",
        )

    def _wait_ns(self, call: _Call, name: str, *, excess: int) -> int:
        """Return how long until the oldest calls of the minute that make up `excess` are out of it; else a minute."""
        column = "tokens" if name == "input_tokens_per_minute" else "requests"
        running = f"SELECT at_ns, SUM({column}) OVER (ORDER BY at_ns) AS over {_IN_WINDOW}"
        query = f"SELECT at_ns FROM ({running}) WHERE over >= ? ORDER BY at_ns LIMIT 1"  # noqa: S608 - our own words
        found = self._database.rows(query, (*call.window, excess))
        if not found:
            return MINUTE_NS
        if self._settings().quota_window == "fixed":
            return MINUTE_NS - call.now_ns % MINUTE_NS
        return int(found[0]["at_ns"]) + MINUTE_NS - call.now_ns

    def _count(self, call: _Call) -> None:
        """Count one call, and forget those no window reaches back to."""
        of_model = (call.owner, call.model.name)
        self._database.change(
            "DELETE FROM quota_calls WHERE owner = ? AND model = ? AND at_ns <= ?",
            (*of_model, call.now_ns - 2 * MINUTE_NS),
        )
        self._database.change(
            "INSERT INTO quota_calls VALUES (?, ?, ?, ?, ?)", (*of_model, call.now_ns, call.requests, call.tokens)
        )
        self._database.change(
            "INSERT INTO quota_days VALUES (?, ?, ?, ?, ?) ON CONFLICT (owner, model, day) DO UPDATE "
            "SET requests = requests + excluded.requests, tokens = tokens + excluded.tokens",
            (*of_model, call.day, call.requests, call.tokens),
        )

    def document(self) -> dict[str, Any]:
        """Return what each key used of each model in the sixty seconds up to now and today, with the limits."""
        now = self._clock.now_ns()
        day = pacific_day(now).isoformat()
        minutes = self._database.rows(
            "SELECT owner, model, SUM(requests) AS requests, SUM(tokens) AS tokens FROM quota_calls WHERE at_ns > ? "
            "GROUP BY owner, model",
            (now - MINUTE_NS,),
        )
        used = {(row["owner"], row["model"]): row for row in minutes}
        days = self._database.rows("SELECT * FROM quota_days WHERE day = ? ORDER BY owner, model", (day,))
        return {
            "day": day,
            "resetsAt": timestamp(next_pacific_midnight_ns(now)),
            "used": [
                {
                    "owner": row["owner"],
                    "model": row["model"],
                    "limits": limits_of(self._settings().quotas, row["model"]).document(),
                    "minute": _counts(used.get((row["owner"], row["model"]), {})),
                    "day": _counts(row),
                }
                for row in days
            ],
        }

    def clear(self) -> None:
        """Forget all that was counted."""
        with self._database.light_transaction():
            self._database.change("DELETE FROM quota_calls")
            self._database.change("DELETE FROM quota_days")


def _counts(row: dict[str, Any]) -> dict[str, int]:
    return {"requests": row.get("requests", 0), "tokens": row.get("tokens", 0)}
