"""When the next live call may start: limits of a minute and a day, concurrency, and pauses after failures together."""

import math
from collections.abc import Callable, Sized
from typing import TYPE_CHECKING

from pipeline.core.errors import FindableError, ThrottledError
from pipeline.cost.budget import today
from pipeline.gemini.rate_limiter import Limiter
from pipeline.live.backpressure import STALL_S, Backpressure, Concurrency
from pipeline.live.write_ahead import CallLedger, day_used_up
from pipeline.store import live_calls

if TYPE_CHECKING:
    from pipeline.live.writer import DbWriter


LOOK_S = 1.0  # at least so often the loop looks at the clock, the other processes' calls, and a stall
WARN_AT = 0.8  # of the day's requests


class Admission:
    """Says how long the next call of a run waits, and counts those that start."""

    def __init__(
        self, ledger: CallLedger, *, in_flight: Sized, patience_s: float, end: Callable[[FindableError], None]
    ) -> None:
        """Begin with nothing counted; `in_flight` are the run's calls, and `end` stops the run with a reason."""
        self._ws = ws = ledger.ws
        now = ws.monotonic()
        self._ledger, self._in_flight, self._patience_s, self._end = ledger, in_flight, patience_s, end
        self._next_look = now
        self._has_warned = False
        self._is_counted = False  # the day's requests were read since the last call ended
        self.limiter = Limiter(ledger.limits, at=now)
        self.concurrency = Concurrency(ws.settings.concurrency, rpm=ledger.limits.rpm, at=now)
        self.service = Backpressure(
            ws.settings,
            limiter=self.limiter,
            concurrency=self.concurrency,
            hurries=not math.isinf(patience_s),
            end=end,
            say=ws.display.say,
            monotonic=ws.monotonic,
        )

    async def look(self, writer: "DbWriter") -> bool:
        """Take in the other processes' calls, the day, and whether anything comes back; false where it is too soon."""
        now = self._ws.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + LOOK_S
        if any(limit is not None for limit in self._ledger.limits):
            await self._count(writer)
        if self.concurrency.look(in_flight=len(self._in_flight), at=now):
            self._ws.display.warn(f"no answer for {STALL_S:.0f} s: one call at a time until one comes")
        return True

    async def _count(self, writer: "DbWriter") -> None:
        """Count the calls of other processes in the last minute, and all calls of the day.

        The writer's thread only reads: the limiter belongs to this thread, whose calls change it meanwhile.
        """
        ws, self._is_counted = self._ws, True
        now, at = ws.now(), ws.monotonic()
        day, name, ledger = today(now).isoformat(), ws.model.name, self._ledger
        others, used = await writer.read(lambda tx: (ledger.others(tx), live_calls.calls_of_day(tx, name, day=day)))
        self.limiter.prime([(at - (now - one.asked_at).total_seconds(), one.tokens) for one in others], today=used)
        self._warn_of_day(used)

    def _warn_of_day(self, used: int) -> None:
        most = self._ledger.limits.rpd
        if most is not None and used >= WARN_AT * most and not self._has_warned:
            self._has_warned = True
            self._ws.display.warn(f"{used:,} of today's {most:,} requests of {self._ws.model.name} are used")

    def pause(self, tokens: int) -> float:
        """Return how long a call of so many prompt tokens waits, in seconds; 0.0 where it may start now."""
        now = self._ws.monotonic()
        held = self.service.hold_until - now
        if held > 0:
            return min(held, LOOK_S)
        pause = self.limiter.wait(tokens, at=now)
        if math.isinf(pause):
            return self._wait_for_count(at=now)
        if pause > self._patience_s:
            self._end(ThrottledError(f"the limits leave no room for another {pause:.0f} s", retry_after_s=pause))
            return LOOK_S
        is_full = pause == 0 and len(self._in_flight) >= self.concurrency.now
        return LOOK_S if is_full else min(pause, LOOK_S)

    def _wait_for_count(self, *, at: float) -> float:
        """End the run where the day's requests are used up; else return how long to wait until that is known.

        A call that is refused, or never sent, is taken off its day again when it is over.
        """
        if self._is_counted and not self._in_flight:
            self._end(day_used_up(self._ws.model.name, self._ledger.limits.rpd or 0, now=self._ws.now()))
        self._next_look = at
        return LOOK_S if self._in_flight else LOOK_S / 100

    def start(self, tokens: int) -> int:
        """Count a call that starts now, and return its number."""
        now = self._ws.monotonic()
        number = self.limiter.start(tokens, at=now)
        self._warn_of_day(self.limiter.used_today)
        self.concurrency.begun(in_flight=len(self._in_flight), at=now)
        return number

    def unasked(self, number: int) -> None:
        """Take back a call that was counted and is not made, which the service has not kept waiting."""
        self.limiter.withdraw(number)
        self.concurrency.unasked(at=self._ws.monotonic())

    def ended(self) -> None:
        """Note that a call ended: the day's requests may be fewer now."""
        self._is_counted = False
