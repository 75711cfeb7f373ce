"""Compare two ways to ask about the same items: two versions, two models, or two files of a task.

A side is a version whose answers are stored, or a model or a file that is asked live; what is stored of these already
is not asked again. A reply that is asked for the comparison is judged and not stored: its call is, with its cost.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import pilot
from pipeline.quality.agreement import ComparedItem, SideAnswer, field_agreements
from pipeline.quality.side_by_side import comparison_markdown, differing_fields
from pipeline.store import answers
from pipeline.store.database import PAGE, streamed
from pipeline.workflows.compare_sides import Side, is_stored_version, side_of, stored_of
from pipeline.workflows.try_out import TryReport, ask_trial, confirm_trials, plan_trial

if TYPE_CHECKING:
    from pipeline.core.task import Task
    from pipeline.store.database import Connection

SIZE = 50
NOT_ASKED = "not asked"


class CompareWanted(NamedTuple):
    """What to compare, as it was typed, and how many items drawn by which seed."""

    a: str
    b: str
    size: int = SIZE
    seed: int = pilot.SEED


@dataclass
class CompareReport:
    """What was compared: the task, both sides in words, the items, and what was asked for it."""

    task: str
    sides: tuple[str, str]
    seed: int
    items: list[ComparedItem]
    reports: list[TryReport] = field(default_factory=list)  # of the sides that were asked

    @property
    def asked(self) -> int:
        """Return how many items were asked about for it, those of both sides added up."""
        return sum(bool(one.calls) for report in self.reports for one in report.items)

    @property
    def cost(self) -> float:
        """Return what that cost, in USD."""
        return sum(one.cost for report in self.reports for one in report.items)

    def check(self) -> None:
        """Pass where nothing ended it early.

        Raises:
            FindableError: what did: a quota, a budget, or a service that is down.
            KeyboardInterrupt: a Ctrl-C.
        """
        for one in self.reports:
            one.check()


def run(
    ws: OpenWorkspace,
    wanted: CompareWanted,
    *,
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> CompareReport:
    """Compare two sides; `announce` gets how many calls are made and the estimate (USD) before anything is spent.

    `confirm` is called with the estimate if it is above CONFIRM_ABOVE.

    Raises:
        InputError: a side is none, there is nothing to compare, or it was not confirmed; nothing was asked.
        ConfigurationError: no key, or no such model.
    """
    if wanted.a == wanted.b:
        raise InputError(
            f"A= and B= are both {wanted.a!r}; nothing was asked", hint="name two versions, models or files"
        )
    if not all(is_stored_version(one) for one in wanted[:2]):
        ws.bring_items()
        questions.free_dead_owners(ws.store, now=ws.now())
    sides = (side_of(ws, wanted.a), side_of(ws, wanted.b))
    with ws.store.read() as tx:
        ids = _draw(tx, ws.task, sides, wanted)
        names = ws.task.names(tx, ids)
        found = [stored_of(tx, ws.task, side, ids) for side in sides]
    if not ids:
        questions.check_any_items(ws.store, ws.task)
    missing = [[one for one in ids if one not in some] for some in found]
    reports = _ask(ws.settings.confirm_above, sides, missing, announce, confirm)
    for number, report in reports.items():
        found[number] |= _tried(report)
    nothing = SideAnswer(None, NOT_ASKED)
    told = [(found[0].get(one, nothing), found[1].get(one, nothing)) for one in ids]
    items = [ComparedItem(one, names.get(one, one), both) for one, both in zip(ids, told, strict=True)]
    return CompareReport(
        ws.task.name, (sides[0].name, sides[1].name), wanted.seed, items, reports=list(reports.values())
    )


def markdown(report: CompareReport) -> str:
    """Return the report for a person."""
    return comparison_markdown(report.items, task=report.task, sides=report.sides, drawn=f"drawn by seed {report.seed}")


def document(report: CompareReport) -> dict[str, Any]:
    """Return the report for programs; shares are from 0 to 1, costs in USD."""
    return {
        "task": report.task,
        "a": report.sides[0],
        "b": report.sides[1],
        "seed": report.seed,
        "agreement": {one.field: one._asdict() for one in field_agreements(report.items)},
        "items": [
            {
                "id": one.id,
                "name": one.name,
                **{letter: side._asdict() for letter, side in zip("ab", one.sides, strict=True)},
                "differs": differing_fields(one),
            }
            for one in report.items
        ],
        "asked": report.asked,
        "cost": report.cost,
    }


def _draw(tx: "Connection", task: "Task", sides: Sequence[Side], wanted: CompareWanted) -> list[str]:
    """Return the items of the sample, in the order drawn: those that have the stored answers, else any.

    Raises:
        InputError: none has the stored answers.
    """
    labels = [side.label for side in sides if side.ws is None]
    ids = answers.items_of_versions(tx, task.name, labels) if labels else _every(tx, task)
    found = pilot.draw_items(ids, size=wanted.size, seed=wanted.seed)
    if not labels:
        return found
    there = task.names(tx, found)
    if not there:
        raise InputError(
            f"there is no {task.words.one} with an answer of {' and of '.join(labels)}; nothing was asked",
            hint=f"`{task.words.make('versions')}` lists those there are",
        )
    return [one for one in found if one in there]


def _every(tx: "Connection", task: "Task") -> Iterator[str]:
    """Yield the items that can be asked or were answered, each twice at the most."""
    for query in (task.pending(tx), answers.answered_ids(task.name)):
        yield from streamed(tx, query, page=PAGE).scalars()


def _ask(
    confirm_above: float,
    sides: Sequence[Side],
    missing: Sequence[Sequence[str]],
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> dict[int, TryReport]:
    """Ask each side that is asked live about the items it has no answer of; the second not where the first stopped."""
    trials = {
        number: plan_trial(side.ws, ids)
        for number, (side, ids) in enumerate(zip(sides, missing, strict=True))
        if side.ws is not None and ids
    }
    reports: dict[int, TryReport] = {}
    if trials:
        confirm_trials(list(trials.values()), confirm_above=confirm_above, announce=announce, confirm=confirm)
    for number, trial in trials.items():
        if not any(one.stopped or one.interrupted for one in reports.values()):
            reports[number] = ask_trial(trial)
    return reports


def _tried(report: TryReport) -> dict[str, SideAnswer]:
    """Return what came back, by item id."""
    return {
        one.id: SideAnswer(
            one.answer, one.reason or one.outcome, one.usage.prompt, one.usage.answer + one.usage.thoughts, one.cost
        )
        for one in report.items
    }
