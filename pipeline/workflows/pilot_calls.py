"""Ask a few requests of a pilot's batches once more by live calls, and compare the replies.

A live call sends the bytes of the batch's line. Facts of its reply are kept with the pilot as it comes, so a killed run
asks only what has none; the reply itself is not kept, and its cost is counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core import files
from pipeline.core.errors import RemoteError
from pipeline.core.states import Outcome
from pipeline.core.task import Item, Task
from pipeline.engine.questions import PlannedRequest, RequestBuilder, free_dead_owners
from pipeline.engine.record import Asked, MissingLine, judge_lines
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.requests import request_key
from pipeline.gemini.result_file import ResultFile, key_of_line
from pipeline.live.questions import QuestionSource
from pipeline.live.runner import ask_live
from pipeline.live.write_ahead import CallLedger, EndedCall, Purpose
from pipeline.store import batches, claims, pilots
from pipeline.store.batches import Batch
from pipeline.store.claims import InBatch
from pipeline.store.database import Store
from pipeline.workflows.differences import ReplyFacts, differences, facts_of

if TYPE_CHECKING:
    from pipeline.store.database import Connection

MAX_COMPARED = 5  # ours: enough to see a kind of failure that strikes most requests, for less than a cent
MAX_CANDIDATES = 100  # of a pilot's items, among which requests are chosen whose files are there


class Comparison(NamedTuple):
    """How many requests were asked both ways, how many replies of the batch are valid, and what differs, in words."""

    compared: int
    valid: int
    differences: list[str]

    @property
    def said(self) -> str:
        """Return in words what differs."""
        return "; ".join(self.differences) or "no reply differs"

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return self._asdict()


class _Compared(NamedTuple):
    """The requests to compare: where the batches asked about each item, and those batches by number."""

    pilot: int
    sent: Mapping[str, InBatch]
    batches: Mapping[int, Batch]

    def unanswered(self, store: Store, task: Task) -> list[str]:
        """Return the items that still exist and whose request has no facts of a live reply."""
        with store.read() as tx:
            done, existing = pilots.live_facts(tx, self.pilot), task.names(tx, list(self.sent))
        return [one for one, where in self.sent.items() if one in existing and where.name not in done]

    def lines(self, ids: Sequence[str], data: Path) -> dict[str, bytes]:
        """Return the request line about each of these items as it stands in its batch's sealed file."""
        lines: dict[str, bytes] = {}
        for number in {self.sent[one].batch for one in ids}:
            batch = self.batches[number]
            what = f"the request file of batch {number}"
            path = files.verify(data / batch.request_file, sha256=batch.request_sha256, what=what)
            keys = {request_key(batch.task, one): one for one in ids if self.sent[one].batch == number}
            lines |= {keys[key]: line for _, line in files.read_lines(path) if (key := key_of_line(line)) in keys}
        return lines


def run(ws: OpenWorkspace, pilot: int, ids: Sequence[str]) -> Comparison:
    """Ask live what a few requests about a pilot's items asked in batches, and compare; `ids` in the order drawn.

    Raises:
        RemoteError, ConfigurationError: what stopped it; what came is kept, and the next run asks the rest.
    """
    with ws.store.read() as tx:
        found = claims.in_batches(tx, ws.task.name, ws.extractor, ids[:MAX_CANDIDATES])
        homes = {number: batches.get_batch(tx, number) for number in {one.batch for one in found.values()}}
    whole = {number for number, batch in homes.items() if _has_files(batch, ws.data)}
    chosen = [one for one in ids[:MAX_CANDIDATES] if one in found and found[one].batch in whole][:MAX_COMPARED]
    compared = _Compared(pilot, {one: found[one] for one in chosen}, homes)
    _ask(ws, compared)
    return _compare(compared, ws.store, ws.task, ws.data)


def _has_files(batch: Batch, data: Path) -> bool:
    """Return whether a batch's request file and result are both there."""
    return all(name is not None and (data / name).is_file() for name in (batch.request_file, batch.result_file))


def _ask(ws: OpenWorkspace, compared: _Compared) -> None:
    """Ask live the requests that have no facts yet; a second process waits for the first."""
    free_dead_owners(ws.store, now=ws.now())
    with ws.waited_lease(f"pilot:{compared.pilot}", waiting="another process compares the pilot; waiting for it"):
        left = compared.unanswered(ws.store, ws.task)
        if not left:
            return
        ledger = _PilotLedger.calibrated(ws, Purpose.COMPARE, pilot=compared.pilot, sent=compared.sent)
        lines = compared.lines(left, ws.data)
        source = _BatchLines(RequestBuilder(ws.task, ws.model, asks_each=True), lines, compared.sent, left)
        with ws.display.bar("asking live", len(left)) as bar:
            report = ask_live(ledger, source, on_progress=lambda asked, _: bar.show(asked.done))
        if report.interrupted:
            raise KeyboardInterrupt
        if report.stopped is not None:
            raise report.stopped
        if compared.unanswered(ws.store, ws.task):
            reasons = "; ".join(dict.fromkeys(reason for _, reason in report.samples))
            raise RemoteError(f"not every live call of the pilot came back: {reasons}", hint="run it again")


def _compare(compared: _Compared, store: Store, task: Task, data: Path) -> Comparison:
    """Return how the replies of the batches differ from the live ones."""
    with store.read() as tx:
        live = pilots.live_facts(tx, compared.pilot)
        both = {one: where for one, where in compared.sent.items() if where.name in live}
        contexts = task.rows.contexts(tx, list(both))
    replies: dict[str, ReplyFacts] = {}
    for number in sorted({where.batch for where in both.values()}):
        asked = [Asked(one, where.input_hash) for one, where in both.items() if where.batch == number]
        replies |= _read_facts(compared.batches[number], asked, task, contexts, data)
    said = [
        f"line {where.line} of batch {where.batch}: {one}"
        for item_id, where in both.items()
        for one in differences(replies[item_id], ReplyFacts(**live[where.name]))
    ]
    valid = sum(one.is_valid for one in replies.values())
    if both and not valid:
        said.append(f"none of {len(both)} replies of the batch is valid")
    return Comparison(len(both), valid, said)


def _read_facts(
    batch: Batch, asked: Sequence[Asked], task: Task, contexts: Mapping[str, Any], data: Path
) -> dict[str, ReplyFacts]:
    """Return the facts of a batch's replies to some of its requests, by item id."""
    missing = MissingLine("no line in the result", charged=False)
    with ResultFile(data / (batch.result_file or "")) as results:
        found = results.lines_of([request_key(batch.task, one.item_id) for one in asked])
    return {
        one.item_id: facts_of(judge_lines(task, one, lines, missing=missing, context=contexts.get(one.item_id)))
        for one, lines in zip(asked, found, strict=True)
    }


@dataclass(frozen=True)
class _PilotLedger(CallLedger):
    """Marks live calls as its base does, and keeps facts of their replies with the pilot, and nothing else."""

    pilot: int = 0
    sent: Mapping[str, InBatch] = field(default_factory=dict)  # by item id

    def settle(self, tx: "Connection", number: int, item: Item, ended: EndedCall) -> bool:
        """Keep how a call ended and facts of its reply; return whether to make it again, because none came."""
        super().settle(tx, number, item, ended)
        if ended.judgement is None:
            return True
        if ended.judgement.outcome is not Outcome.MISSING:
            pilots.keep_live_facts(tx, self.pilot, self.sent[item.id].name, facts_of(ended.judgement)._asdict())
        return False


@dataclass
class _BatchLines(QuestionSource):
    """Questions with the bytes of a batch's lines, each asked once; none about removed items."""

    data: Mapping[str, bytes]
    sent: Mapping[str, InBatch]
    ids: Sequence[str]

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[PlannedRequest]:  # noqa: ARG002 - each once
        """Return the questions that are left."""
        ids, self.ids = [one for one in self.ids if one in self.data], ()
        return [self._as_sent(one) for one in self.builder.lines(tx, ids)]

    def again(self, tx: "Connection", item_id: str) -> PlannedRequest | None:
        """Return one question again."""
        found = super().again(tx, item_id)
        return None if found is None else self._as_sent(found)

    def _as_sent(self, question: PlannedRequest) -> PlannedRequest:
        """Return a question as its batch asked it."""
        item_id = question.item.id
        item = question.item._replace(input_hash=self.sent[item_id].input_hash)
        return question._replace(item=item, head=self.data[item_id], rest=b"")
