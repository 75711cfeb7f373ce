"""Ask about a few items by our own calls, and show all that goes out and comes back to a person.

A reply is judged and not stored: what the workspace keeps is a batch of the way *trial*, which counts against every
budget and quota, and what it cost. So items may be tried that are answered, parked or claimed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.batch import ask, budget, folder
from pipeline.batch.ask import Tried
from pipeline.batch.prepare import Selection
from pipeline.core.errors import FindableError, InputError
from pipeline.core.states import Outcome
from pipeline.engine import questions, workspace
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.record import Judgement, judge_reply
from pipeline.engine.task import Item, Task
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini import requests, responses
from pipeline.gemini.models import NO_USAGE, Usage, usage_cost
from pipeline.quality import evaluate, pilot
from pipeline.store import answers, asks
from pipeline.store.asks import Ask
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
    """One item: its id and name, what was sent, and what the reply is worth, None where there is no reply to judge.

    `failure` says why there is none; `usage`, `cost` (USD) and `seconds` are of the reply.
    """

    id: str
    name: str
    request: dict[str, Any]
    judgement: Judgement | None = None
    failure: str = ""
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
        if self.judgement is None:
            return "lost" if self.failure else "not judged" if self.calls else "not asked"
        return self.judgement.outcome.value

    @property
    def reason(self) -> str:
        """Return why there is no valid answer, empty where there is one."""
        if self.judgement is None:
            return self.failure
        return "" if self.judgement.answer is not None else self.judgement.reason

    @property
    def answer(self) -> dict[str, Any] | None:
        """Return the answer as it would be stored, None where none is valid."""
        if self.judgement is None or self.judgement.answer is None:
            return None
        found: dict[str, Any] = self.judgement.answer.model_dump(mode="json")
        return found

    @property
    def reply(self) -> str:
        """Return the text that came, or the beginning of what came in the place of one."""
        reply = self.judgement.reply if self.judgement is not None else None
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
    folder.seal_dead(ws)
    with ws.store.read() as tx:
        ids = _chosen(tx, ws.task, ws.extractor, wanted)
    trial = plan_trial(ws, ids)
    if not trial.tried:
        questions.check_any_items(ws.store, ws.task)
        raise InputError(f"{ws.task.words.all_done}; nothing was asked", hint="ITEM= tries any of them")
    confirm_trials([trial], confirm_above=ws.settings.confirm_above, announce=announce, confirm=confirm)
    return ask_trial(trial)


def plan_trial(ws: OpenWorkspace, ids: Sequence[str]) -> "Trial":
    """Return a trial of these items, of which nothing is asked yet."""
    builder = RequestBuilder(ws.task, ws.model)
    with ws.store.read() as tx:
        planned = {one.item.id: one for one in builder.lines(tx, ids)}
        names = ws.task.table(tx).names(tx, list(planned))
        known = budget.calibration(tx, ws.extractor)
    usage = sum((one.usage for one in planned.values()), NO_USAGE)
    cost = usage_cost(ws.model, known.applied(usage, count=len(planned)), batch=False, on=ws.now().date())
    tried = {key: TriedItem(key, names.get(key, key), requests.shown_object(one.data)) for key, one in planned.items()}
    return Trial(ws, {key: one.item for key, one in planned.items()}, tried, builder.schema, cost)


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
    announce(sum(len(one.tried) for one in trials), cost)
    if cost > confirm_above and not confirm(cost):
        raise InputError("not confirmed; nothing was asked", hint="YES=1 answers yes")


def ask_trial(trial: "Trial") -> TryReport:
    """Ask about the items of a trial, and return what was sent and what came.

    Raises:
        BudgetError: a budget has no room for it.
    """
    ws, tried = trial.ws, trial.tried
    with ws.display.bar("asking", len(tried)) as bar:
        wanted = Selection(among=list(tried), trial=True)
        asked, came = ask.ask_trial(ws, wanted, on_progress=lambda report: bar.show(report.replies))
    report = TryReport(ws.extractor, trial.schema, list(tried.values()), asked.stopped, asked.interrupted)
    for key, told in came.items():
        _judge(trial, tried[key], told, report)
    return report


def _judge(trial: "Trial", one: TriedItem, told: Tried, report: TryReport) -> None:
    """Note what came of an item; what the task's own code cannot judge ends the report with its error."""
    ws, item = trial.ws, trial.items[one.id]
    one.calls, one.seconds = 1, told.seconds
    if told.reply is None and not told.is_refused:
        one.failure = told.reason
        return
    asked = Ask(item.id, item.input_hash)
    if told.reply is None:
        one.judgement = Judgement(asked, Outcome.REFUSED, told.reason)
        return
    reply = responses.judge_response(told.reply)
    one.usage, one.cost = reply.usage, usage_cost(ws.model, reply.usage, batch=False, on=ws.now().date())
    try:
        one.judgement = judge_reply(ws.task, asked, reply, context=item.context)
    except FindableError as error:
        report.stopped = report.stopped or error


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


class Trial(NamedTuple):
    """What is to be asked: the items and how each stands, the schema of an answer, and the estimated cost in USD."""

    ws: OpenWorkspace
    items: Mapping[str, Item]
    tried: dict[str, TriedItem]
    schema: dict[str, Any]
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
        folder.seal_dead(ws)
    with ws.store.read() as tx:
        labels = [one.label for one in sides if one.ws is None]
        among = answers.items_of_versions(tx, ws.task.name, labels) if labels else _every(tx, ws.task)
        ids = pilot.draw_items(among, size=size, seed=seed)
        names = ws.task.table(tx).names(tx, ids)
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
