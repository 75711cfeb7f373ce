"""Do live calls agree with what was made of them? Their ends, what they count for the day, and their answers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.checks.accounts import RESTORE
from pipeline.checks.finding import Finding, Mend
from pipeline.store import calls, checks

if TYPE_CHECKING:
    from pipeline.runtime import Runtime


def check_calls(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Has every live call that is under way a living process, and an answer who was answered?"""
    with rt.store.read() as tx:
        dead = len(calls.dead(tx, now=rt.now()))
        answers, marks = checks.live_answers(tx)
    if dead:
        mended = ""
        if mend.on:
            with rt.store.write() as tx:
                mended = f"ended {calls.lose_dead(tx, now=rt.now())} as lost"
        said = f"{dead} live calls are under way in processes that are gone"
        why = "they count as money that may yet be spent; the next run ends them"
        yield Finding("calls", said, why, contradiction=False, mendable=True, mended=mended)
    if marks > answers:  # the other way round is no fault: calls were not always marked
        said = f"{marks} live calls were answered, and {answers} live answers are stored"
        yield Finding("calls", said, "what was answered and paid for is not there any more", next=RESTORE)


def check_usage(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Is what was used of each day's quota what the calls of that day add up to?"""
    with rt.store.read() as tx:
        wrong = calls.miscounted(tx)
    if not wrong:
        return
    mended = ""
    if mend.on:
        with rt.store.write() as tx:
            mended = f"counted {calls.recount(tx)} anew"
    days = ", ".join(f"{model} on {day}" for model, day in wrong)
    why = "a run would end before the day's quota is used up, or ask for more than there is"
    yield Finding("usage", f"a day's requests are not those of its calls: {days}", why, mendable=True, mended=mended)
