"""Five real items asked both ways before the rest: in a batch, which is ingested, and live, which is only compared.

The probe stands in the table from the transaction that claims its batch, so a run that was killed anywhere goes on
with it. Live calls send the very bytes of the batch's lines; what they gave is kept line by line as it comes, and only
lines without it are asked again. Nobody is asked twice in a batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline import creating, estimating, files, preparing
from pipeline.apply import Asked, Missing, judge
from pipeline.comparing import Seen, compare, seen
from pipeline.creating import Sent
from pipeline.engine.questions import RequestBuilder, free_dead
from pipeline.errors import InputError, RemoteError
from pipeline.gemini.requests import key_of, split_key
from pipeline.gemini.results import Results, key_in
from pipeline.live import asking
from pipeline.live.marking import Account, Ended, Purpose, Question
from pipeline.live.questioning import questions
from pipeline.preparing import Wanted
from pipeline.runtime import Runtime
from pipeline.states import BatchState, Outcome
from pipeline.store import batches, claims, probes
from pipeline.store.probes import Probe, Verdict

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.estimating import Calibration
    from pipeline.store.batches import Batch
    from pipeline.store.database import Connection
    from pipeline.task import Item

ITEMS = 5  # ours: enough to see a kind of failure that strikes most lines, for less than a cent
HOME = (BatchState.DOWNLOADED, BatchState.INGESTED)


def under_way(rt: Runtime) -> Probe | None:
    """Return the probe of the extractor in use that has no verdict, if there is one."""
    with rt.store.read() as tx:
        found = probes.newest(tx, rt.extractor)
    return found if found is not None and found.verdict is None else None


def begin(rt: Runtime) -> int:
    """Return the number of the batch whose probe is under way, preparing one where there is none, and send it.

    Raises:
        InputError: nobody is left to probe with, or no money.
        RemoteError, ConfigurationError: see `creating.send`; the next run goes on.
    """
    rt.client  # noqa: B018 - a missing key or an engine that cannot start is said before anything is written
    found = under_way(rt)
    if found is None:
        with rt.display.bar("writing requests", ITEMS) as bar:
            preparing.prepare(rt, Wanted(ITEMS, is_probe=True), bar=bar)
        found = under_way(rt)
    if found is None:
        raise InputError("no probe was begun: nobody is left to ask, or a budget has no room for it")
    with rt.store.read() as tx:
        batch = batches.get(tx, found.batch)
    if batch.state in (BatchState.PREPARED, BatchState.SUBMITTING):
        fate = creating.send(rt, batch.number)
        if fate is Sent.REBUILD:
            settle(rt, batch.number)
            raise RemoteError(
                "Gemini refused a line of the probe, so it is void",
                hint=f"`{rt.task.words.make('preflight PROBE=1')}` again",
            )
    return batch.number


def ask(rt: Runtime, number: int) -> None:
    """Ask live what the lines of a batch ask, those that were not yet; nothing where another process is at it.

    Raises:
        RemoteError, ConfigurationError: what stopped it; what came is kept, and the next run asks the rest.
    """
    free_dead(rt.store, now=rt.now())
    with rt.lease(f"probe:{number}") as lease:
        if lease is None:
            return
        with rt.store.read() as tx:
            known = estimating.calibration(tx, rt.extractor)
            items = {item_id: line for line, item_id in claims.items_of(tx, number).items()}
            done = probes.get(tx, number).live
        left = [item_id for item_id, line in items.items() if line not in done]
        if not left:
            return
        account = _ProbeAccount(rt, Purpose.PROBE, None, known, rt.limits, probe=number, lines=items)
        source = _BatchLines(rt, known, _sealed_lines(rt, number), left)
        with rt.display.bar("asking live", len(left)) as bar:
            report = asking.ask(rt, account, source, watching=_Shown(bar))
    if report.interrupted:
        raise KeyboardInterrupt
    if report.stopped is not None:
        raise report.stopped
    with rt.store.read() as tx:
        there = rt.task.names(tx, left)
        done = probes.get(tx, number).live
    if any(items[one] not in done for one in there):
        reasons = "; ".join(dict.fromkeys(reason for _, reason in report.samples))
        raise RemoteError(f"not every live call of the probe came back: {reasons}", hint="run the same command again")


def settle(rt: Runtime, number: int) -> Probe:
    """Return a probe, with its verdict where its batch is over and every live call came."""
    with rt.store.read() as tx:
        probe, batch = probes.get(tx, number), batches.get(tx, number)
    if probe.verdict is not None:
        return probe
    if batch.state is BatchState.FAILED:
        verdict, report = Verdict.VOID, {"compared": 0, "valid": 0, "lines": [], "why": batch.reason}
    elif batch.state in HOME and not _lacks_live(rt, probe):
        live = {line: Seen(**facts) for line, facts in probe.live.items()}
        verdict, report = compare(_in_result(rt, batch), live)
    else:
        return probe
    with rt.store.write() as tx:
        probes.end(tx, number, verdict, report=report, at=rt.now())
        return probes.get(tx, number)


def waive(rt: Runtime) -> int | None:
    """Do without the probe that failed or is under way; return its batch, None where no probe stops anything."""
    with rt.store.write() as tx:
        return probes.waive(tx, rt.extractor, at=rt.now())


def _lacks_live(rt: Runtime, probe: Probe) -> bool:
    """Return whether a live call is missing about somebody who is still there."""
    with rt.store.read() as tx:
        items = claims.items_of(tx, probe.batch)
        there = rt.task.names(tx, list(items.values()))
    return any(item_id in there and line not in probe.live for line, item_id in items.items())


def _sealed_lines(rt: Runtime, number: int) -> dict[str, bytes]:
    """Return the lines of a batch's request file by item id."""
    with rt.store.read() as tx:
        batch = batches.get(tx, number)
    path = files.verify(
        rt.data / batch.request_file, sha256=batch.request_sha256, what=f"the request file of batch {number}"
    )
    return {split_key(key_in(line) or "")[1]: line for _, line in files.read_lines(path)}


def _in_result(rt: Runtime, batch: "Batch") -> dict[int, Seen]:
    """Return what a batch gave for each line of its request file; nothing where its result was cleaned away."""
    path = rt.data / (batch.result_file or "")
    with rt.store.read() as tx:
        items = claims.items_of(tx, batch.number)
        contexts = rt.task.contexts(tx, list(items.values()))
    if not path.is_file():
        return {}
    missing = Missing("no line in the result", charged=False)
    with Results(path) as results:
        found = results.lines_of([key_of(batch.task, item_id) for item_id in items.values()])
    return {
        line: seen(judge(rt.task, Asked(item_id, ""), lines, missing=missing, context=contexts.get(item_id)))
        for (line, item_id), lines in zip(items.items(), found, strict=True)
    }


@dataclass(frozen=True)
class _ProbeAccount(Account):
    """Marks live calls as any account does, and keeps what they gave with the probe, by line, and nowhere else."""

    probe: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)  # by item id

    def settle(self, tx: "Connection", number: int, item: "Item", ended: Ended) -> bool:
        """Keep how a call ended and what it gave; return whether it may be made again, because nothing came."""
        super().settle(tx, number, item, ended)
        judgement = ended.judgement
        if judgement is None:
            return True
        if judgement.outcome is not Outcome.MISSING:
            probes.keep(tx, self.probe, self.lines[item.id], seen(judgement)._asdict())
        return False


@dataclass
class _BatchLines:
    """Questions with the bytes that stand in the batch's file, each asked once; none about those gone."""

    rt: Runtime
    known: "Calibration"
    data: Mapping[str, bytes]
    ids: Sequence[str]

    def page(self, tx: "Connection", *, but: frozenset[str]) -> Sequence[Question]:  # noqa: ARG002 - each once
        """Return the questions that are left."""
        ids, self.ids = self.ids, ()
        return [
            one._replace(data=self.data[one.item.id])
            for one in questions(tx, RequestBuilder(self.rt.task, self.rt.model), ids, known=self.known)
            if one.item.id in self.data
        ]

    def again(self, tx: "Connection", item_id: str) -> Question | None:
        """Return one question again."""
        found = next(questions(tx, RequestBuilder(self.rt.task, self.rt.model), [item_id], known=self.known), None)
        return None if found is None else found._replace(data=self.data[item_id])


@dataclass
class _Shown:
    """Shows how far the live calls have come."""

    bar: "Bar"

    def show(self, report: asking.Report, *, width: int) -> None:  # noqa: ARG002 - five calls need no more words
        """Move the bar."""
        self.bar.show(report.done)
