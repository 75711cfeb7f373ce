"""Ask about a few items by live calls, and keep all that goes out and comes back for a person to read.

A reply is judged and not stored: what the workspace keeps of it is its call, which counts against every budget and
quota, and what it cost. So items may be tried that are answered, parked or claimed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import FindableError, InputError
from pipeline.engine import questions, workspace
from pipeline.engine.questions import PlannedRequest, RequestBuilder
from pipeline.engine.task import Item, Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests
from pipeline.gemini.tokens import NO_USAGE, Usage
from pipeline.live.questions import SelectedQuestions
from pipeline.live.runner import ask_live
from pipeline.live.write_ahead import CallLedger, EndedCall, Marked, Purpose, Settled
from pipeline.quality import evaluate, pilot
from pipeline.store import answers, asks
from pipeline.store.database import PAGE, streamed

if TYPE_CHECKING:
    from pipeline.store.database import Connection


FEW = 3


class TryWanted(NamedTuple):
    """Which items to try: one by its name, else so many, drawn by a seed or the first that are to be asked."""

    size: int = FEW
    name: str | None = None
    seed: int | None = None


@dataclass
class TriedItem:
    """One item: its id and name, what was sent, and how its last call ended, None where none came to its end.

    `usage`, `cost` (USD) and `seconds` are of all its calls, of which there are more where the service failed.
    """

    id: str
    name: str
    request: dict[str, Any]
    ended: EndedCall | None = None
    calls: int = 0
    usage: Usage = NO_USAGE
    cost: float = 0.0
    seconds: float = 0.0

    @property
    def system(self) -> str:
        """Return the system instruction that was sent, empty where none was."""
        parts = self.request.get("systemInstruction", {}).get("parts", [])
        return "\n".join(part["text"] for part in parts)

    @property
    def parts(self) -> list[dict[str, Any]]:
        """Return the parts of the prompt."""
        found: list[dict[str, Any]] = self.request["contents"][0]["parts"]
        return found

    @property
    def outcome(self) -> str:
        """Return how it ended, in a word."""
        if self.ended is None:
            return "not judged" if self.calls else "not asked"
        return self.ended.how.value

    @property
    def reason(self) -> str:
        """Return why there is no valid answer, empty where there is one."""
        judgement = self.ended.judgement if self.ended is not None else None
        return "" if judgement is None or judgement.answer is not None else judgement.reason

    @property
    def answer(self) -> dict[str, Any] | None:
        """Return the answer as it would be stored, None where none is valid."""
        judgement = self.ended.judgement if self.ended is not None else None
        if judgement is None or judgement.answer is None:
            return None
        found: dict[str, Any] = judgement.answer.model_dump(mode="json")
        return found

    @property
    def reply(self) -> str:
        """Return the text that came, or the beginning of what came in the place of one."""
        reply = self.ended.judgement.reply if self.ended is not None and self.ended.judgement is not None else None
        return "" if reply is None else reply.text or reply.excerpt


@dataclass
class TryReport:
    """What was tried: the extractor, the schema of an answer as it is sent, the items, and what ended it early."""

    extractor: str
    schema: dict[str, Any]
    items: list[TriedItem]
    stopped: FindableError | None = None
    interrupted: bool = False

    def check(self) -> None:
        """Pass where nothing ended it early.

        Raises:
            FindableError: what did: a quota, a budget, or a service that is down.
            KeyboardInterrupt: a Ctrl-C.
        """
        if self.interrupted:
            raise KeyboardInterrupt
        if self.stopped is not None:
            raise self.stopped


def run(
    ws: OpenWorkspace,
    wanted: TryWanted,
    *,
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> TryReport:
    """Ask about a few items; `announce` gets how many and the estimate (USD) before anything is spent.

    `confirm` is called with the estimate if it is above CONFIRM_ABOVE.

    Raises:
        InputError: there is no such item, none to try, or the estimate was not confirmed; nothing was asked.
        ConfigurationError: no key, no such model, or no such gate.
    """
    evaluate.check_gate_overrides(ws)
    ws.bring_items()
    questions.free_dead_owners(ws.store, now=ws.now())
    with ws.store.read() as tx:
        ids = _chosen(tx, ws.task, ws.extractor, wanted)
    trial = plan_trial(ws, ids)
    if not trial.ledger.tried:
        questions.check_any_items(ws.store, ws.task)
        raise InputError(f"{ws.task.words.all_done}; nothing was asked", hint="ITEM= tries any of them")
    confirm_trials([trial], confirm_above=ws.settings.confirm_above, announce=announce, confirm=confirm)
    return ask_trial(trial)


def plan_trial(ws: OpenWorkspace, ids: Sequence[str]) -> "Trial":
    """Return a trial of these items, of which nothing is asked yet."""
    ledger, builder = _TryLedger.calibrated(ws, Purpose.COMPARE), RequestBuilder(ws.task, ws.model)
    cost = 0.0
    with ws.store.read() as tx:
        planned = {one.item.id: one for one in builder.lines(tx, ids)}
        names = ws.task.names(tx, list(planned))
    for item_id, one in planned.items():
        ledger.tried[item_id] = TriedItem(item_id, names.get(item_id, item_id), requests.shown_object(one.data))
        cost += ledger.cost_of(ledger.likely(one))
    return Trial(ledger, builder, cost)


def confirm_trials(
    trials: "Sequence[Trial]",
    *,
    confirm_above: float,
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> None:
    """Announce how many calls trials make and their estimate (USD), and ask where that is above CONFIRM_ABOVE.

    Raises:
        InputError: it was not confirmed.
    """
    cost = sum(one.cost for one in trials)
    announce(sum(len(one.ledger.tried) for one in trials), cost)
    if cost > confirm_above and not confirm(cost):
        raise InputError("not confirmed; nothing was asked", hint="YES=1 answers yes")


def ask_trial(trial: "Trial") -> TryReport:
    """Ask about the items of a trial, and return what was sent and what came."""
    ledger, ws = trial.ledger, trial.ledger.ws
    with ws.display.bar("asking", len(ledger.tried)) as bar:
        asked = ask_live(
            ledger,
            SelectedQuestions(trial.builder, list(ledger.tried)),
            on_progress=lambda report, _: bar.show(report.done),
        )
    if asked.stopped is not None:  # as a file's own check does that fails: what was asked then may have cost something
        with ws.store.write() as tx:
            ledger.abandon(tx)
    return TryReport(ws.extractor, trial.builder.schema, list(ledger.tried.values()), asked.stopped, asked.interrupted)


def document(report: TryReport) -> dict[str, Any]:
    """Return what was tried for programs."""
    return {
        "extractor": report.extractor,
        "schema": report.schema,
        "items": [
            {
                "id": one.id,
                "name": one.name,
                "request": one.request,
                "outcome": one.outcome,
                "reason": one.reason,
                "answer": one.answer,
                "reply": one.reply,
                "calls": one.calls,
                "tokens_in": one.usage.prompt,
                "tokens_out": one.usage.answer + one.usage.thoughts,
                "cost": one.cost,
                "seconds": round(one.seconds, 3),
            }
            for one in report.items
        ],
        "cost": sum(one.cost for one in report.items),
        "stopped": report.stopped.message if report.stopped else None,
        "interrupted": report.interrupted,
    }


def _chosen(tx: "Connection", task: Task, extractor: str, wanted: TryWanted) -> Sequence[str]:
    if wanted.name is not None:
        return [task.id_of(tx, wanted.name)]
    if wanted.seed is None:
        first = [one for page in asks.askable_pages(tx, task, limit=wanted.size) for one in page]
        if first:
            return first
    seed = pilot.SEED if wanted.seed is None else wanted.seed
    return pilot.draw_pilot(tx, task, extractor, size=wanted.size, seed=seed)


@dataclass(frozen=True)
class _TryLedger(CallLedger):
    tried: dict[str, TriedItem] = field(default_factory=dict)  # by item id
    began: dict[str, float] = field(default_factory=dict)  # of the call under way, monotonic seconds, by item id

    def mark(self, tx: "Connection", question: PlannedRequest) -> Marked:
        marked = super().mark(tx, question)
        if marked.number is not None:
            one = self.tried[question.item.id]
            one.request, one.calls = requests.shown_object(question.data), one.calls + 1
            self.began[question.item.id] = self.ws.monotonic()
        return marked

    def settle(self, tx: "Connection", number: int, item: Item, ended: EndedCall, same: Sequence[str] = ()) -> Settled:
        super().settle(tx, number, item, ended, same)
        one, used = self.tried[item.id], ended.usage
        one.ended = ended
        one.seconds += self.ws.monotonic() - self.began[item.id]
        if used is not None:
            one.usage, one.cost = one.usage + used, one.cost + self.cost_of(used)
        return Settled(ended.judgement is None)


class Trial(NamedTuple):
    """What is to be asked: the ledger with the items, what builds their requests, and the estimated cost in USD."""

    ledger: _TryLedger
    builder: RequestBuilder
    cost: float


SIZE = 50


class Side(NamedTuple):
    """One way: what it is called, and the label of stored answers, or the workspace to ask with."""

    name: str
    label: str = ""
    ws: OpenWorkspace | None = None


class TriedPair(NamedTuple):
    """One item by id and name, and what each side says of it: an answer, or why there is none."""

    id: str
    name: str
    said: tuple[Mapping[str, Any] | str, Mapping[str, Any] | str]


class PairReport(NamedTuple):
    """Both sides in words, the items, and what was asked for it."""

    sides: tuple[str, str]
    pairs: list[TriedPair]
    asked: list[TryReport]


def run_pair(
    ws: OpenWorkspace,
    texts: tuple[str, str],
    *,
    size: int,
    seed: int,
    announce: Callable[[int, float], None],
    confirm: Callable[[float], bool],
) -> PairReport:
    """Put two sides beside each other on a sample; `announce` and `confirm` are as in `try_out.run`.

    Raises:
        InputError: a side is none, there is nothing to try, or it was not confirmed; nothing was asked.
        ConfigurationError: no key, or no such model.
    """
    sides = [_side(ws, text) for text in texts]
    if any(one.ws for one in sides):
        ws.bring_items()
        questions.free_dead_owners(ws.store, now=ws.now())
    with ws.store.read() as tx:
        labels = [one.label for one in sides if one.ws is None]
        among = answers.items_of_versions(tx, ws.task.name, labels) if labels else _every(tx, ws.task)
        ids = pilot.draw_items(among, size=size, seed=seed)
        names = ws.task.names(tx, ids)
        said = [_stored(tx, ws.task, one.label, ids) if one.ws is None else {} for one in sides]
    if not names:
        raise InputError(
            f"there is no {ws.task.words.one} with an answer of {' and of '.join(labels) or 'any'}; nothing was asked",
            hint=f"`{ws.task.words.make('versions')}` lists those there are",
        )
    trials = {at: plan_trial(side.ws, list(names)) for at, side in enumerate(sides) if side.ws is not None}
    if trials:
        above = ws.settings.confirm_above
        confirm_trials(list(trials.values()), confirm_above=above, announce=announce, confirm=confirm)
    asked: list[TryReport] = []
    for at, trial in trials.items():
        if not any(one.stopped or one.interrupted for one in asked):
            asked.append(ask_trial(trial))
            said[at] = {one.id: one.answer or one.reason or one.outcome for one in asked[-1].items}
    a, b = said
    pairs = [TriedPair(one, name, (a.get(one, "not asked"), b.get(one, "not asked"))) for one, name in names.items()]
    return PairReport((sides[0].name, sides[1].name), pairs, asked)


def _side(ws: OpenWorkspace, text: str) -> Side:
    """Return the side that a text means: a version by its number or label, a model, or the path of a task's file."""
    if text.isdecimal() or "@" in text:
        label = f"{ws.task.label.partition('@')[0]}@{text}" if text.isdecimal() else text
        if not ws.task.keeps_answers:
            said = f"the answers of {ws.task.name} stand in a table of their own"
            raise InputError(said, hint="A= and B= may be two models, which are asked")
        return Side(f"the answers of {label}", label)
    if text.endswith(".py") or "/" in text:
        if not workspace.is_declared(ws.settings):
            raise InputError(f"{ws.task.name} is no task of a file; nothing was asked", hint="A= may be a model")
        other = replace(ws, task=workspace.declared().task_beside(ws.task, Path(text), at=ws.now()))
    else:
        sources = {**ws.settings.sources, "model": "A= or B="}
        other = replace(ws, settings=replace(ws.settings, model=text, sources=sources))
    name = f"{text} with {other.model.name}" if other.task is not ws.task else other.extractor
    other.client = ws.client
    return Side(name, ws=other)


def _stored(tx: "Connection", task: "Task", label: str, ids: list[str]) -> dict[str, Any]:
    found = answers.newest_of_version(tx, task.name, label, ids)
    return {key: json.loads(row["answer"]) for key, row in found.items()}


def _every(tx: "Connection", task: "Task") -> Iterator[str]:
    for query in (task.pending(tx), answers.answered_ids(task.name)):
        yield from streamed(tx, query, page=PAGE).scalars()
