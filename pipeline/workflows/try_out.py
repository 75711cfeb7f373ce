"""Ask about a few items by our own calls, and show all that goes out and comes back to a person.

A question that changed under a version that was used is tried as a draft of it, about the rows as they were last read.
A reply is judged and not stored: what the workspace keeps is a batch of the way *trial*, which counts against every
budget and quota, and what it cost. So items may be tried that are answered, parked or claimed.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pipeline.batch import batch_files, budget, live
from pipeline.batch.live import TrialOutcome
from pipeline.batch.prepare import Selection
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import FindableError, InputError, QuestionChangedError
from pipeline.core.states import STANDARD, Mode, Outcome
from pipeline.core.text import one_line, plural
from pipeline.engine.record import PlannedRequest, RequestBuilder, judge_reply
from pipeline.engine.task import Task, TaskRow
from pipeline.engine.workspace import WorkspaceSession, declared
from pipeline.gemini import requests, responses
from pipeline.gemini.models import NO_USAGE, Usage, describe_cost, usage_cost
from pipeline.quality import evaluate, pilot
from pipeline.store import answers, claims
from pipeline.store.claims import RowClaim
from pipeline.store.database import Connection

FEW = 3  # how many are tried alone, and by two sides
SIZE = 50
LOST = "lost"
NOT_JUDGED = "not judged"
UNJUDGED = ("not asked", LOST, NOT_JUDGED)  # how an item may end without a judgement
DRAFT = "draft"  # as a side: what the task's file asks now


@dataclass
class TriedRow:
    """One item: its id and name, what was sent, how that ended in a word, and why there is no valid answer, if none is.

    `answer` is as it would be stored, `reply` the text that came, or the beginning of what came in the place of one;
    `cost` is in USD.
    """

    id: str
    name: str
    request: dict[str, Any]
    outcome: str = "not asked"
    reason: str = ""
    answer: dict[str, Any] | None = None
    reply: str = ""
    calls: int = 0
    cost: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0

    __repr__ = one_line


@dataclass(repr=False)
class TryReport:
    """What was tried: the extractor, the schema of an answer as it is sent, the items, and what ended it early."""

    extractor: str
    schema: dict[str, Any]
    items: list[TriedRow]
    stopped: FindableError | None = None
    interrupted: bool = False
    draft_of: str = ""  # the version under which another question was asked

    def __repr__(self) -> str:
        """Return in a line how it ended."""
        ends = Counter(one.outcome for one in self.items).most_common()
        told = ", ".join(f"{count} {outcome}" for outcome, count in ends)
        return f"<tried with {self.extractor}: {told}; ${self.cost:.4f}>"

    @property
    def cost(self) -> float:
        """Return what the replies cost, in USD."""
        return sum(one.cost for one in self.items)

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        told = {
            name: getattr(self, name) for name in ("extractor", "schema", "cost", "interrupted")
        }
        items = list(map(vars, self.items))
        stopped = self.stopped.message if self.stopped else None
        return {**told, "draft_of": self.draft_of or None, "items": items, "stopped": stopped}

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
    ws: WorkspaceSession, size: int = FEW, name: str | None = None, seed: int | None = None
) -> TryReport:
    """Ask about one item by its name, else about so many, drawn by a seed or the first that are to be asked.

    How many and the estimate are said before anything is spent.

    Raises:
        InputError: there is no such item, none to try, or the estimate was not confirmed; nothing was asked.
        ConfigurationError: no key, no such model, or no such gate.
    """
    evaluate.gates_of(ws)
    ws, draft_of = _brought(ws)
    with ws.store.read() as tx:
        ids = (
            [ws.task.id_of(tx, name)]
            if name is not None
            else _drawn(tx, ws.task, ws.extractor, size, seed)
        )
    report = ask_about(ws, ids)
    report.draft_of = draft_of
    return report


class PlannedRows(NamedTuple):
    """Some rows as they are asked: the schema of an answer, their requests and items by row id, and the cost in USD."""

    schema: dict[str, Any]
    requests: Mapping[str, PlannedRequest]
    items: Mapping[str, TriedRow]
    cost: float


def plan_rows(ws: WorkspaceSession, ids: Sequence[str]) -> PlannedRows:
    """Return some rows of the task in use as they are asked, in their order; nothing is asked.

    Raises:
        InputError: there is no row to ask about.
    """
    builder = RequestBuilder(ws.task, ws.model)
    words = ws.task.words
    with ws.store.read() as tx:
        rows = ws.task.rows(tx, ids)
        planned = {
            one.item.id: one
            for one in builder.lines(tx, {key: rows[key] for key in ids if key in rows})
        }
        names = ws.task.table(tx).names(tx, list(planned))
        known = budget.calibration(tx, ws.extractor)
    if not planned:
        ws.check_any_items()
        raise InputError(
            f"{words.all_done}; nothing was asked", hint=f"{OptionHint('item')} tries any of them"
        )
    items = {
        key: TriedRow(key, names.get(key, key), requests.shown_object(one.data))
        for key, one in planned.items()
    }
    usage = known.applied(
        sum((one.usage for one in planned.values()), NO_USAGE), count=len(planned)
    )
    return PlannedRows(builder.schema, planned, items, _cost(ws, usage))


def confirm_cost(ws: WorkspaceSession, planned: PlannedRows) -> None:
    """Say how many rows are asked at which estimate; a person is asked above CONFIRM_ABOVE."""
    words = ws.task.words
    count = plural(len(planned.items), words.one, words.many)
    ws.display.say(
        f"{ws.model.name}: {count}, {describe_cost(ws.model, planned.cost, tier=ws.settings.tier)}"
    )
    ws.spend(planned.cost, nothing="nothing was asked")


def ask_about(ws: WorkspaceSession, ids: Sequence[str]) -> TryReport:
    """Ask about some items of the task in use, as `run`."""
    batch_files.seal_dead(ws)
    planned = plan_rows(ws, ids)
    confirm_cost(ws, planned)
    tried = planned.items
    with ws.display.bar("asking", len(tried)) as bar:
        wanted = Selection(among=list(tried))
        asked = live.ask_rows(
            ws, wanted, way=Mode.TRIAL, on_progress=lambda report: bar.show(report.replies)
        )
    report = TryReport(
        ws.extractor, planned.schema, list(tried.values()), asked.stopped, asked.interrupted
    )
    for key, told in asked.tried.items():
        try:
            _judge(ws, tried[key], planned.requests[key].item, told)
        except FindableError as error:  # the task's own code cannot judge it
            report.stopped = report.stopped or error
    return report


def ask_and_keep(ws: WorkspaceSession, ids: Sequence[str]) -> TryReport:
    """Ask about those of some rows that are open, by live calls whose answers are kept, and return all of them.

    The rows are claimed before the first call, so a killed call of this goes on with what is left.
    """
    planned = plan_rows(ws, ids)
    with ws.store.read() as tx:
        open_ids = claims.askable_among(tx, ws.task, ids)
    live_report = live.LiveReport()
    if open_ids and ws.agreed is None:
        confirm_cost(ws, plan_rows(ws, open_ids))
    if open_ids:
        with ws.display.bar("asking", len(open_ids)) as bar:
            wanted = Selection(among=open_ids)
            live_report = live.ask_rows(
                ws, wanted, on_progress=lambda report: bar.show(report.replies)
            )
    with ws.store.read() as tx:
        items = [_stored_item(tx, ws.task, item) for item in planned.items.values()]
    return TryReport(
        ws.extractor, planned.schema, items, live_report.stopped, live_report.interrupted
    )


def _stored_item(tx: Connection, task: Task, item: TriedRow) -> TriedRow:
    """Return an item with what is stored of its requests under the task's version: the newest outcome, and all cost."""
    requests_of_item = answers.requests_of_item(tx, task.name, item.id)
    found = [one for one in requests_of_item if answers.is_of(one["extractor"], task.label)]
    ended = [one for one in found if one["outcome"] is not None]
    if not ended or len(ended) < len(found):
        return replace(item, outcome="claimed" if found else item.outcome)
    newest = ended[0]
    return replace(
        item,
        outcome=LOST if newest["outcome"] == Outcome.MISSING else newest["outcome"],
        reason=newest["reason"] or "",
        answer=newest["answer"],
        calls=sum(one["batch"] is not None for one in ended),
        cost=sum(one["cost"] for one in ended),
        tokens_in=newest["tokens_in"],
        tokens_out=newest["tokens_out"],
    )


def _cost(ws: WorkspaceSession, usage: Usage) -> float:
    return usage_cost(ws.model, usage, STANDARD, on=ws.now().date())


def _judge(ws: WorkspaceSession, one: TriedRow, item: TaskRow, told: TrialOutcome) -> None:
    one.calls, one.seconds, one.reason = 1, round(told.seconds, 3), told.reason
    one.outcome = Outcome.REFUSED.value if told.is_refused else LOST
    if told.reply is not None:
        reply = responses.judge_response(told.reply)
        one.tokens_in, one.tokens_out = (
            reply.usage.prompt,
            reply.usage.answer + reply.usage.thoughts,
        )
        one.outcome, one.reply, one.cost = (
            NOT_JUDGED,
            reply.text or reply.excerpt,
            _cost(ws, reply.usage),
        )
        judged = judge_reply(
            ws.task, RowClaim(item.id, item.input_hash), reply, context=item.context
        )
        one.outcome, one.reason = (
            judged.outcome.value,
            judged.reason if judged.answer is None else "",
        )
        one.answer = None if judged.answer is None else judged.answer.model_dump(mode="json")


def _brought(ws: WorkspaceSession) -> tuple[WorkspaceSession, str]:
    """Return the workspace with its rows brought up to date, or with the draft of a version, whose label is told."""
    try:
        ws.bring_items()
    except QuestionChangedError:
        other = replace(ws, task=declared().task_beside(ws.task, at=ws.now()))
        other.client = ws.client
        return other, ws.task.label
    return ws, ""


def _drawn(
    tx: Connection, task: Task, extractor: str, size: int, seed: int | None
) -> Sequence[str]:
    first = (
        () if seed is not None else tx.execute(claims.askable(tx, task).limit(size)).scalars().all()
    )
    return first or pilot.draw_pilot(
        tx, task, extractor, size=size, seed=pilot.SEED if seed is None else seed
    )


class PairReport(NamedTuple):
    """Both sides in words, each item with its id, name, and what `a` and `b` say of it, and what was asked for it.

    A side says an answer, or why there is none. Of each field it is counted about how many items both say the same.
    """

    sides: tuple[str, str]
    pairs: list[dict[str, Any]]
    asked: TryReport | None
    compared: int
    agreement: Mapping[str, int]


def run_pair(ws: WorkspaceSession, texts: tuple[str, str], *, size: int, seed: int) -> PairReport:
    """Put two sides beside each other on a sample: versions, or one and `draft`, what is asked as it is now.

    Raises:
        InputError: a side is none, there is nothing to try, or it was not confirmed; nothing was asked.
        ConfigurationError: no key, or no such model.
    """
    labels = {at: _label(ws.task, text) for at, text in enumerate(texts) if text != DRAFT}
    if DRAFT in texts:
        ws, _ = _brought(ws)
    with ws.store.read() as tx:
        among = answers.items_of_versions(tx, ws.task.name, list(labels.values()))
        ids = pilot.draw_items(among, size=size, seed=seed)
        called = ws.task.table(tx).names(tx, ids)
        said: dict[int, dict[str, Any]] = {
            at: _stored(tx, ws.task, one, ids) for at, one in labels.items()
        }
    if not called:
        raise InputError(
            f"there is no {ws.task.words.one} with an answer of {' and of '.join(labels.values())}; nothing was asked",
            hint=f"`{ws.task.words.step('versions')}` lists those there are",
        )
    asked = ask_about(ws, list(called)) if DRAFT in texts else None
    if asked is not None:
        said[texts.index(DRAFT)] = {
            one.id: one.answer or one.reason or one.outcome for one in asked.items
        }
    a, b = ({key: said[at].get(key, "not asked") for key in called} for at in (0, 1))
    both = [
        (a[key], b[key])
        for key in called
        if not (isinstance(a[key], str) or isinstance(b[key], str))
    ]
    fields = dict.fromkeys(name for pair in both for one in pair for name in one)
    agreement = {
        name: sum(name in x and name in y and x[name] == y[name] for x, y in both)
        for name in fields
    }
    pairs = [{"id": key, "name": name, "a": a[key], "b": b[key]} for key, name in called.items()]
    first, second = (labels.get(at, f"the draft of {ws.extractor}") for at in (0, 1))
    return PairReport((first, second), pairs, asked, len(both), agreement)


def _label(task: Task, text: str) -> str:
    if not (text.isdecimal() or "@" in text):
        said = f"{text!r} is no version, and no draft; nothing was asked"
        raise InputError(
            said,
            hint=f"{OptionHint(a='1')} {OptionHint(b=DRAFT)}; {OptionHint('model')} is that of the draft",
        )
    return f"{task.label.partition('@')[0]}@{text}" if text.isdecimal() else text


def _stored(tx: Connection, task: Task, label: str, ids: list[str]) -> dict[str, Any]:
    return {
        key: json.loads(one)
        for key, one in answers.newest_of_version(tx, task.name, label, ids).items()
    }
