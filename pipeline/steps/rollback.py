"""Take back one version's rows and its bookkeeping, and nothing else; what was asked and paid stays in the history.

Killed anywhere and run again it finishes. Versions whose rows were not asked for here can be taken back too.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline import withdrawing
from pipeline.errors import InputError
from pipeline.runtime import Runtime
from pipeline.task import Subject
from pipeline.withdrawing import Gone, Here

QUESTION = "Take this back for good? What it cost is spent all the same; other versions stay."


@dataclass
class Report:
    """What was found of the version that was named, of which subject, and what went of it in this run."""

    name: str
    subject: str
    found: list[Here] = field(default_factory=list)
    gone: Gone = field(default_factory=Gone)
    indexed: bool = False  # what went stands in the index until that is built anew


def run(rt: Runtime, name: str, *, announce: Callable[[Subject, Here], None], confirm: Callable[[str], bool]) -> Report:
    """Roll back a label with all its models, or with one (label/model).

    `announce` is told each version that would go, and `confirm` is asked, before anything is changed.

    Raises:
        InputError: something of it is under way, or it was not confirmed; nothing was changed.
    """
    subject, found = _find(rt, name)
    report = Report(name, subject.name, found, indexed=subject.collection is not None)
    if not found:
        return report
    with rt.store.read() as tx:
        withdrawing.check_free(rt, tx, subject.task, found)
    for one in found:
        announce(subject, one)
    if not all(one.withdrawn for one in found) and not confirm(QUESTION):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with rt.waited_lease(withdrawing.LEASE, waiting=withdrawing.WAITING) as lease:
        with rt.store.write() as tx:
            lease.check(tx)
            withdrawing.withdraw(rt, tx, subject.task, found)
        with rt.display.bar("taking back", sum(one.stock.rows for one in found)) as bar:
            for one in found:
                gone = withdrawing.remove(rt, lease, subject.task, one.stock, bar=bar)
                for part, count in vars(gone).items():
                    setattr(report.gone, part, getattr(report.gone, part) + count)
    return report


def _find(rt: Runtime, name: str) -> tuple[Subject, list[Here]]:
    """Return whose version is named, and what is here of it: of TASK= where that is set, else of whoever has it."""
    here = next(one for one in rt.subjects if one.task is rt.task)
    if "task" in rt.settings.sources:
        return here, _named(rt, here, name)
    mine = [one for one in rt.subjects if one.task.name == name.partition("@")[0]]
    for one in mine or rt.subjects:
        found = _named(rt, one, name)
        if found:
            return one, found
    return (mine or [here])[0], []


def _named(rt: Runtime, subject: Subject, name: str) -> list[Here]:
    """Return the versions of a subject that a name means."""
    with rt.store.read() as tx:
        return [one for one in withdrawing.here(tx, subject) if one.is_named(name)]
