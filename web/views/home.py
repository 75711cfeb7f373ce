"""Home and the index: where everything stands, the next step with its cost, builds and the way back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.batch import budget, folder, poll, submit
from pipeline.batch.budget import calibration
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.batch.submit import Submitted
from pipeline.core.errors import FindableError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.states import STANDARD, Way
from pipeline.core.step import Step
from pipeline.engine.questions import RequestBuilder
from pipeline.engine.workspace import OpenWorkspace
from pipeline.gemini.models import usage_cost
from pipeline.index import build
from pipeline.index.builds import Builds
from pipeline.index.embed import Embedder
from pipeline.ops import status
from pipeline.ops.status import StatusCounts
from pipeline.quality.pilot import next_pilot
from pipeline.quality.report import report_documents
from pipeline.store.batches import Batch
from pipeline.store.database import Store
from pipeline.workflows import preflight, rounds, tag
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report, Rounds
from web.problem import Refused
from web.render import accepted, as_stated, desk_of, show_page
from web.running import Work
from web.views.adding import IMPORTS

router = APIRouter()

ROUNDED = 1e-6  # USD that a cost which was shown may differ by
DOES = frozenset({"tag", "batch-submit", "batch-poll", "batch-ingest", "index", "passages-pilot", "passages-backfill"})


def command_of(step: Step | None) -> str:
    """Return the command of a step, where the page can carry it out; else an empty text."""
    return step.command if step and step.command in DOES and step.options.keys() <= {"task", "pilot"} else ""


@dataclass(frozen=True)
class NextStep:
    """A step, about an open workspace; more than `cost` (USD) is not spent, by estimate."""

    ws: OpenWorkspace
    what: Step | None
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
        self.ws.agreed = self.cost
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

        options = tag.TagOptions(wait=True, pilot=self.what.options.get("pilot") if self.what else None)
        report = tag.run(self.ws, options, announce=announce)
        for quality in report.reports.values():
            display.say(quality.line)
        _warn_of(display, report)
        return report.document()

    def _drawn(self) -> list[str]:
        with self.ws.store.read() as tx:
            return next_pilot(tx, self.ws.task, self.ws.extractor)[2]

    def _pilot(self, display: Work) -> dict[str, Any]:
        done = tag.run_pilot(self.ws, size=None, seed=None, announce=self._agreed)
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


Usd = Annotated[float, Query(ge=0.0, allow_inf_nan=False)]


@router.get("/api/status")
def get_status(request: Request, task: str | None = None) -> dict[str, Any]:
    """Return where everything stands, as `findable status --json`."""
    with desk_of(request).to_read(task) as ws:
        return status.run(ws).document


@router.get("/api/tasks")
def get_tasks(request: Request) -> list[dict[str, Any]]:
    """Return the tasks of the workspace."""
    with desk_of(request).to_read() as ws:
        return [
            {"name": one.subject, "one": one.words.one, "many": one.words.many, "indexed": ws.indexes(one)}
            for one in ws.tasks
        ]


@router.get("/api/tasks/{task}/budgets")
def get_budgets(request: Request, task: str) -> list[dict[str, Any]]:
    """Return the budgets that hold for a task, with what is left of each in USD."""
    with desk_of(request).to_read(task) as ws:
        return _budgets(ws)


@router.get("/api/tasks/{task}/next")
def get_next(request: Request, task: str) -> dict[str, Any]:
    """Return what to type next and, where the page can do it (`command`), what it would ask and cost (`plan`)."""
    with desk_of(request).to_read(task) as ws:
        return _next(ws)


@router.post("/api/tasks/{task}/next", status_code=202)
def begin_next(request: Request, task: str, step: str, cost: Usd = 0.0) -> JSONResponse:
    """Begin the next step; `step` is what it is thought to be, `cost` the estimate in USD that was agreed to."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        now = status.run(ws).next
    if step != str(now or "") or not command_of(now):
        raise Refused(409, f"the next step is {now or 'none'}; nothing was begun", hint="look at it again")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            return NextStep(ws, now, cost).carry_out(display)

    command = command_of(now)
    return accepted(desk.running.begin(f"{command} {task}", work))


@router.get("/", include_in_schema=False)
def home_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show where everything stands."""
    with desk_of(request).to_read(task) as ws:
        report = status.run(ws)
        document, name = report.document, report.subject
        shown = {
            "counts": [
                (as_stated(key), count, "/items?" + urlencode({"task": name, "state": "" if key == "total" else key}))
                for key, count in document[name].items()
            ],
            "open_batches": [one for one in report.open_batches if one.way is Way.BATCH],
            "live_runs": _live_runs(ws, report.open_batches),
            "works": [one.document for one in desk_of(request).running.every()][-4:],
            "budgets": _budgets(ws),
            "due": [one for one in document["due"] if one["outcome"] is None],
            "failed_gates": [
                gate
                for one in report_documents(ws.data, ws.task.name, limit=1)
                for gate in one["gates"]
                if gate["passed"] is False
            ],
            "stale": document.get("stale") or {"count": 0},
            "command": command_of(report.next),
            "imports": IMPORTS,
            **{key: document[key] for key in ("index", "parked", "spent", "next")},
        }
        return show_page(request, "home.html", ws, **shown)


@router.get("/parts/next", include_in_schema=False)
def next_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show what the next step will cost, and the button that begins it."""
    with desk_of(request).to_read(task) as ws:
        found = _next(ws)
        address = f"/api/tasks/{ws.settings.task}/next?"
        cost = found["plan"]["cost"] if found["plan"] else 0.0
        begin = address + urlencode({"step": found["next"], "cost": repr(cost)})
        return show_page(request, "parts/next.html", ws, **found, begin=begin, leaving=ws.leaving, back="next")


def _next(ws: OpenWorkspace) -> dict[str, Any]:
    what = status.run(ws).next
    return {"next": str(what or ""), "command": command_of(what), "plan": NextStep(ws, what).plan()}


def _budgets(ws: OpenWorkspace) -> list[dict[str, Any]]:
    with ws.store.read() as tx:
        found = budget.budgets(ws, budget.running_budget(tx, ws.task)).left(tx)
    return [
        {"name": one.name, "usd": one.usd, "since": one.since.isoformat(), "left": round(left, 6)}
        for one, left in found
    ]


def _live_runs(ws: OpenWorkspace, going: list[Batch]) -> list[dict[str, Any]]:
    """Return the runs of our own calls that go on, whichever process they are of, with how far and how quick."""
    dead, now, found = {one.run or one.number for one in folder.dead_batches(ws)}, ws.now(), []
    for one in (one for one in going if one.way not in (Way.BATCH, Way.TRIAL)):
        done, took = max(one.calls, one.replies), max((now - one.created_at).total_seconds(), 1.0)
        pace = {"rate": done / took, "eta_s": (one.requests - done) * took / done} if done else {}
        state = "killed" if (one.run or one.number) in dead else "under way"
        told = {"number": one.number, "items": one.requests, "done": min(done, one.requests), "state": state}
        found.append({"rate": None, "eta_s": None, "estimated": one.estimated_cost, **told, **pace})
    return found


COMMAND = "index"
AtMost = Annotated[float | None, Query(ge=0.0, allow_inf_nan=False)]


@router.get("/api/tasks/{task}/index")
def get_index(request: Request, task: str) -> list[dict[str, Any]]:
    """Return the builds of a task's index that are on disk, the newest first."""
    with desk_of(request).to_read(task) as ws:
        return _builds(ws.store, Builds(ws.data, ws.collection.folder))


@router.post("/api/tasks/{task}/index", status_code=202)
def begin_index(request: Request, task: str, cost: AtMost = None) -> JSONResponse:
    """Begin to rebuild the index of a task, unless that is under way; the reply says where to look.

    With the estimate in USD that was agreed to (`cost`) nothing is embedded where it would cost more by now.
    """
    desk = desk_of(request)
    desk.check_there(task)

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            agreed = math.inf if cost is None else cost
            return NextStep(ws, ws.task.words.step(COMMAND), agreed).carry_out(display)

    return accepted(desk.running.begin(f"index {task}", work))


@router.post("/api/tasks/{task}/index/rollback")
def roll_back(request: Request, task: str) -> dict[str, Any]:
    """Put the build before the one in service back, as `findable index --rollback`."""
    with desk_of(request).to_write(task) as ws:
        return asdict(build.roll_back_index(ws))


@router.post("/api/tasks/{task}/index/verify", status_code=202)
def begin_verify(request: Request, task: str) -> JSONResponse:
    """Begin to read every byte of the build in service; the result says what is wrong with it (`wrong`)."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        builds = Builds(ws.data, ws.collection.folder)

    def work(_display: Work) -> dict[str, Any]:
        with builds.open() as index:
            number = index.manifest.number
        wrong = [*builds.damage(number), builds.unsound_rows(number)]
        return {"build": number, "wrong": [one for one in wrong if one]}

    return accepted(desk.running.begin(f"verify index {task}", work))


@router.get("/parts/index/plan", include_in_schema=False)
def plan_part(request: Request, task: str) -> HTMLResponse:
    """Show what a new build will cost, and the button that begins it."""
    with desk_of(request).to_read(task) as ws:
        step = ws.task.words.step(COMMAND)
        plan = NextStep(ws, step).plan()
        begin = f"/api/tasks/{ws.settings.task}/index?cost={plan['cost'] if plan else 0.0!r}"
        known = {"next": str(step), "command": COMMAND, "plan": plan, "begin": begin, "leaving": ws.leaving}
        return show_page(request, "parts/next.html", ws, **known, back="rebuild")


@router.get("/index", include_in_schema=False)
def index_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the index of a task."""
    running = desk_of(request).running
    with desk_of(request).to_read(task) as ws:
        report = status.run(ws)
        found = (running.newest(f"{kind} {report.subject}") for kind in ("index", "verify index"))
        works = [one.document for one in found if one is not None]
        builds = _builds(ws.store, Builds(ws.data, ws.collection.folder)) if ws.is_indexed else []
        shown = {"index": report.document["index"], "works": works, "builds": builds}
        has_items = bool(StatusCounts(*list(report.document[report.subject].values())[:6]).done)
        can_begin = not ws.is_indexed and ws.task.index is not None
        in_service = next((one["number"] for one in builds if one["in_service"]), None)
        can = {
            "can_begin": can_begin,
            "can_build": has_items and (ws.is_indexed or can_begin),
            "can_verify": in_service is not None,
            "can_go_back": any(in_service is None or one["number"] < in_service for one in builds),
        }
        return show_page(request, "index.html", ws, how=ws.task.how_to_index, **shown, **can)


def _builds(store: Store, builds: Builds) -> list[dict[str, Any]]:
    known, others = build.recorded_builds(store), set(builds.others())
    return [
        {
            "number": number,
            "in_service": number not in others,
            "built_at": builds.built_at(number),
            **{name: known[number][name] if number in known else None for name in ("count", "model", "dim")},
        }
        for number in reversed(builds.numbers())
    ]
