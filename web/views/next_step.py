"""The next step, carried out as its command does it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.batch import poll, submit
from pipeline.batch.budget import calibration
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.batch.submit import Submitted
from pipeline.core.errors import FindableError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.states import STANDARD
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import usage_cost
from pipeline.index import build
from pipeline.index.embed import Embedder
from pipeline.quality.pilot import next_pilot
from pipeline.store.batches import Batch
from pipeline.workflows import preflight, rounds, tag
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report, Rounds
from web.running import Work

ROUNDED = 1e-6  # USD that a cost which was shown may differ by
DOES = frozenset({"tag", "batch-submit", "batch-poll", "batch-ingest", "index", "passages-pilot", "passages-backfill"})


def command_of(what: str) -> str:
    """Return the command that `make …` names, where the page can carry it out; else an empty text."""
    words = what.split()
    is_plain = len(words) > 1 and all(word.startswith(("TASK=", "PILOT=")) for word in words[2:])
    return words[1] if is_plain and words[1] in DOES else ""


@dataclass(frozen=True)
class NextStep:
    """What `make …` says, about an open workspace; more than `cost` (USD) is not spent, by estimate."""

    ws: OpenWorkspace
    what: str
    cost: float = 0.0

    def plan(self) -> dict[str, Any] | None:
        """Return what it would ask, as `preflight` or `batch-submit DRY=1` say; None where nothing new is sent.

        `cost` is the estimate in USD that is to be agreed to.
        """
        command = command_of(self.what)
        if command in {"tag", "passages-backfill"}:
            estimated = preflight.estimate(self.ws, limit=None, deadline_s=None)
            found = estimated.document()
            if command != "tag":  # a backfill goes by batch, whatever is recommended
                found |= {"recommended": "batch", "reason": "it may take days"}
            return {**found, "cost": round(estimated.going_out(found["recommended"] or "batch")[1], 6)}
        if command in {"batch-submit", "passages-pilot"}:
            among = self._drawn() if command == "passages-pilot" else None
            self.ws.bring_items()
            would = Submitted(submit.plan_all(self.ws, Selection(among=among)))
            dry = would.document(self.ws.model, dry=True)
            return {**dry, "cost": dry["estimated_cost"], "recommended": "batch"}
        return self._to_embed() if command == "index" else None

    def _to_embed(self) -> dict[str, Any] | None:
        """Return how many texts an index would embed and what that costs; None where that is free."""
        embedder = Embedder(self.ws)
        collection = self.ws.task.index
        if collection is None or not embedder.is_paid():
            return None
        with self.ws.store.read() as tx:
            texts, tokens, cost = embedder.cost(collection.entries(tx), bar=NoProgress())
        known = {"items": texts, "tokens_in": tokens, "tokens_out": 0, "cost": round(cost, 6)}
        return {**known, "recommended": "live", "reason": "texts are embedded in calls of a hundred"}

    def one_call(self, item_id: str) -> float | None:
        """Return what a call about one item will cost, by estimate (USD); None where that cannot be told."""
        ws = self.ws
        try:
            with ws.store.read() as tx:
                question = next(RequestBuilder(ws.task, ws.model).lines(tx, ws.task.rows(tx, [item_id])), None)
                known = calibration(tx, ws.extractor)
        except FindableError:  # said once it is asked
            return None
        if question is None:
            return None
        return usage_cost(ws.model, known.applied(question.usage, count=1), STANDARD, on=ws.now().date())

    def carry_out(self, display: Work) -> dict[str, Any]:
        """Do it, and return the document of its command.

        Raises:
            InputError: the estimate is more than what was agreed to by now; nothing was sent.
        """
        does: dict[str, Callable[[Work], dict[str, Any]]] = {
            "tag": self._tag,
            "batch-submit": self._submit,
            "batch-poll": self._poll,
            "batch-ingest": self._ingest,
            "index": self._index,
            "passages-pilot": self._pilot,
            "passages-backfill": self._backfill,
        }
        return does[command_of(self.what)](display)

    def _check(self, cost: float) -> None:
        if cost > self.cost + ROUNDED:
            said = f"the estimate is ${cost:,.4f} by now, more than the ${self.cost:,.4f} that was agreed to"
            raise InputError(f"{said}; nothing was sent", hint="look at the next step again")

    def _tag(self, display: Work) -> dict[str, Any]:
        def announce(estimated: Preflight, mode: str, reason: str) -> None:
            """Hold the estimate against what was agreed to."""
            self._check(estimated.going_out(mode)[1])
            display.say(f"{mode}: {reason}")

        size = next((int(word[6:]) for word in self.what.split() if word.startswith("PILOT=")), None)
        options = tag.TagOptions(wait=True, pilot=size)
        report = tag.run(self.ws, options, announce=announce, confirm=lambda _cost: True)
        for quality in report.reports.values():
            display.say(quality.line)
        _warn_of(display, report)
        return report.document()

    def _drawn(self) -> list[str]:
        with self.ws.store.read() as tx:
            return next_pilot(tx, self.ws.task, self.ws.extractor)[2]

    def _pilot(self, display: Work) -> dict[str, Any]:
        done = tag.run_pilot(self.ws, size=None, seed=None, announce=self._agreed, confirm=lambda _cost: True)
        for one in done.ingested:
            _tell(display, one.batch)
        done.check()
        return done.document()

    def _backfill(self, display: Work) -> dict[str, Any]:
        """Ask about all that are left, and wait for them; a failed gate stops what was not sent."""
        done = tag.run(
            self.ws,
            tag.TagOptions(wait=True, backfill=True),
            announce=lambda estimated, mode, _reason: self._check(estimated.going_out(mode)[1]),
            confirm=lambda _cost: True,
            ingested=lambda account: _tell(display, account.batch),
        )
        if done.quality is not None:
            done.quality.check()
        return done.document()

    def _agreed(self, plan: BatchPlan) -> None:
        self._check(plan.cost)

    def _submit(self, _display: Work) -> dict[str, Any]:
        rounds.begin(self.ws)
        going = Rounds(self.ws, judges=False)
        sent = going.submit(agree=self._agreed, patient=False)
        if (no_money := going.end().no_money) is not None:
            raise no_money
        return sent.document(self.ws.model)

    def _poll(self, display: Work) -> dict[str, Any]:
        report = poll.run(self.ws, wait=True)
        _warn_of_failed(display, report.failed)
        if report.stopped is not None:
            raise report.stopped
        return {"downloaded": report.downloaded, "failed": {str(number): why for number, why in report.failed.items()}}

    def _ingest(self, display: Work) -> dict[str, Any]:
        going = Rounds(self.ws, ingested=lambda one: _tell(display, one.batch))
        going.ingest()
        done = going.end()
        for report in done.reports.values():
            display.say(report.line)
        return {"ingested": done.document()["ingested"]}

    def _index(self, _display: Work) -> dict[str, Any]:
        """Build the index anew, once what would be embedded was held against what was agreed to."""
        plan = self._to_embed() if math.isfinite(self.cost) else None
        self._check(plan["cost"] if plan else 0.0)
        self.ws.bring_index()
        return asdict(build.run(self.ws))


def _tell(display: Work, one: Batch) -> None:
    """Say what came of a batch; which items went wrong is told where the batch is shown."""
    display.say(f"batch {one.number}: {one.answered or 0:,} answers of {one.requests:,}")
    counts = {"refused": one.refused, "invalid": one.invalid, "missing": one.missing, "not applied": one.not_applied}
    if wrong := [f"{count:,} {name}" for name, count in counts.items() if count]:
        display.warn(f"batch {one.number}: {', '.join(wrong)}")


def _warn_of_failed(display: Work, failed: Mapping[int, str]) -> None:
    for number, why in failed.items():
        display.warn(f"batch {number}: failed at the API ({why}); what it asked about can be asked again")


def _warn_of(display: Work, report: Report) -> None:
    for one in report.ingested:
        _tell(display, one.batch)
    _warn_of_failed(display, report.failed)
    failed = report.live.failed.most_common() if report.live else []
    for reason, count in failed:
        display.warn(f"{count:,} failed ({reason})")
    if report.out_of_money:
        display.warn(f"{report.out_of_money}; {report.left:,} left")
    if report.no_room:
        display.warn(f"{report.no_room:,} wait for room at the API")
