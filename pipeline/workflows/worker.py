"""Do what is due as jobs, several at once, on as many machines as like to: Procrastinate says who does what, and when.

What is due stands in the workspace's own tables alone: a job that is lost is found due again, one that is done twice
finds nothing to do. Its tables have a schema of their own in the same PostgreSQL database.
"""

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import ConfigurationError, FindableError, InputError
from pipeline.core.progress import NoProgress
from pipeline.core.settings import Settings
from pipeline.engine.workspace import Access, WorkspaceSession, open_workspace
from pipeline.ops import health
from pipeline.store import schema
from pipeline.workflows import work
from pipeline.workflows.work import DueUnit

SCHEMA = schema.WORKER_SCHEMA
SURVEY_S = 5.0  # between two looks at what is due
HEARTBEAT_S = 5.0  # a worker without a sign of life for so long is taken for dead, its jobs retried
STALLED_S = 20.0
INDEXING = {"embed", "build"}  # while one of these waits or is done, no other is looked for
GRACE_S = 20.0  # after SIGTERM, until what is under way is left to who comes next


def run(
    settings: Settings,
    units: Collection[str],
    *,
    concurrency: int,
    agrees: bool,
    listening: socket.socket | None,
) -> None:
    """Work until SIGTERM or SIGINT comes, each job a line of JSON; serve health and figures at a socket that listens.

    Raises:
        InputError: the workspace is an SQLite file.
        ConfigurationError: the tables of jobs, or their library, are not there.
    """
    one = _Worker(
        _app(settings, concurrency), settings, ThreadPoolExecutor(concurrency + 2), agrees=agrees
    )
    if not one.is_ready():
        hint = f"`{CommandHint('worker', setup=True)}`"
        raise ConfigurationError(
            f"the tables of jobs, in the schema {SCHEMA}, are not there yet", hint=hint
        )
    said = f"working, {concurrency} at once: {', '.join(units)}"
    if listening is not None:
        health.serve_health(listening, is_ready=one.is_ready, metrics=one.metrics)
        said += f"; /healthz, /readyz and /metrics at port {listening.getsockname()[1]}"
    asyncio.run(one.run({"queues": list(units), "concurrency": concurrency}, said))
    if one.busy:
        os._exit(0)  # threads cannot be ended; their locks end with the process


def set_up(ws: WorkspaceSession) -> bool:
    """Make the tables of jobs; return whether they were not there. In another program's database it asks first."""
    app = _app(ws.settings, 1)
    if _is_set_up(ws):
        return False
    with ws.store.read() as tx:
        others = set(schema.other_tables(tx)) - {
            one.name for task in ws.tasks for one in task.tables(tx)
        }
    if others:
        ws.agree(f"Make the schema {SCHEMA} in {ws.store.shown}, beside another program's tables?")
    asyncio.run(_set_up(app))
    return True


def _app(settings: Settings, concurrency: int) -> Any:
    _, _, address = settings.url.reveal().partition("://")
    if settings.url.reveal().startswith("sqlite"):
        said = "workers stand beside each other on PostgreSQL, and this workspace is an SQLite file"
        raise InputError(said, hint=f"`{CommandHint('work')}` does the same in one process")
    try:
        from procrastinate import App, PsycopgConnector
    except ImportError as error:
        said = f"workers need a library that is not installed: {error}"
        raise ConfigurationError(
            said, hint="make setup EXTRAS=workers, or pip install -e '.[workers]'"
        ) from error
    own = {"options": f"-c search_path={SCHEMA}", "application_name": "findable worker"}
    return App(
        connector=PsycopgConnector(
            conninfo=f"postgresql://{address}", kwargs=own, min_size=1, max_size=concurrency + 3
        )
    )


def _is_set_up(ws: WorkspaceSession) -> bool:
    with ws.store.read() as tx:
        return (
            tx.exec_driver_sql(f"SELECT to_regclass('{SCHEMA}.procrastinate_jobs')").scalar()
            is not None
        )


async def _set_up(app: Any) -> None:
    async with app.open_async():
        await app.connector.execute_query_async(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        await app.schema_manager.apply_schema_async()


def _log(**told: Any) -> None:
    sys.stdout.write(json.dumps(told, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class _Log(NoProgress):
    """What a unit says, as lines of JSON that name it."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about

    def say(self, line: str) -> None:
        _log(**self._about, said=line)

    def warn(self, line: str) -> None:
        _log(**self._about, warned=line)


class _Worker:
    def __init__(
        self, app: Any, settings: Settings, pool: ThreadPoolExecutor, *, agrees: bool
    ) -> None:
        self._app = app
        self._settings = settings
        self._pool = pool
        self._agrees = agrees
        self._stopping = threading.Event()
        self._errors = Counter[str]()
        self.busy = set[int]()
        self._working: asyncio.Task[None] | None = None
        app.task(self._work, name="unit")

    async def run(self, how: dict[str, Any], said: str) -> None:
        """Work until a signal comes; what does not end in time is left as a killed process leaves it."""
        for one in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(one, self._stop)
        _log(said=said)
        how |= {
            "install_signal_handlers": False,
            "delete_jobs": "always",
            "fetch_job_polling_interval": 1.0,
        }
        how |= {"update_heartbeat_interval": HEARTBEAT_S, "stalled_worker_timeout": STALLED_S}
        async with self._app.open_async():
            surveying = asyncio.create_task(self._survey())
            while not self._stopping.is_set():
                self._working = working = asyncio.create_task(
                    self._app.run_worker_async(**how, shutdown_graceful_timeout=GRACE_S)
                )
                await asyncio.wait([working])
                if not self._stopping.is_set():  # the database went away, and may come back
                    _log(
                        warned=f"the worker's connection was lost: {working.exception() or 'it ended'}"
                    )
                    await asyncio.sleep(SURVEY_S)
            surveying.cancel()

    def _stop(self) -> None:
        self._stopping.set()
        last = threading.Timer(
            GRACE_S + HEARTBEAT_S, os._exit, (0,)
        )  # whatever does not let itself be cancelled
        last.daemon = True
        last.start()
        if self._working is not None:
            self._working.cancel()

    async def _survey(self) -> None:
        """Defer what is due of all tasks, and retry the jobs of workers that died, again and again."""
        from procrastinate.exceptions import ConnectorException, ProcrastinateException
        from procrastinate.jobs import Status

        loop = asyncio.get_running_loop()
        jobs = self._app.job_manager
        while True:
            try:
                there = list(await jobs.list_jobs_async())
                indexing = {one.task_kwargs["task"] for one in there if one.queue in INDEXING}
                for name in await loop.run_in_executor(self._pool, self._tasks):
                    for due, at in await loop.run_in_executor(
                        self._pool, self._due, name, name not in indexing
                    ):
                        await self._defer(due, at, but={one.lock for one in there})
                for job in await jobs.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
                    try:
                        await jobs.retry_job(job)
                    except (
                        ConnectorException
                    ):  # it was deferred again meanwhile, and waits for this one to end
                        await jobs.finish_job(job, status=Status.FAILED, delete_job=True)
            except (FindableError, ProcrastinateException) as error:
                _log(warned=str(error))
            await asyncio.sleep(SURVEY_S)

    async def _defer(self, one: DueUnit, at: datetime, *, but: Collection[str | None] = ()) -> None:
        from procrastinate.exceptions import AlreadyEnqueued

        name = f"{one.task}/{one.unit}/{one.number}"
        with contextlib.suppress(AlreadyEnqueued):
            if name not in but:
                how = {"queue": one.unit, "lock": name, "queueing_lock": name, "schedule_at": at}
                job = self._app.configure_task(
                    "unit", **how, priority=-(one.unit in INDEXING)
                )  # rows go before
                await job.defer_async(unit=one.unit, task=one.task, number=one.number)

    async def _work(self, unit: str, task: str, number: int | None) -> None:
        one = DueUnit(unit, task, number=number)
        again_at = await asyncio.get_running_loop().run_in_executor(self._pool, self._do, one)
        if again_at is not None:
            await self._defer(one, again_at)

    def _do(self, one: DueUnit) -> datetime | None:
        """Do one unit; return when it is due again, where it failed."""
        about = one.about
        began = time.monotonic()
        failed = list[FindableError]()
        again_at = None
        self.busy.add(me := threading.get_ident())
        did = ["stopped"]
        try:
            with (
                contextlib.suppress(KeyboardInterrupt),
                self._opened(one.task, Access.WRITE, about) as ws,
            ):
                done = work.once(ws, [one.unit], number=one.number)
                again_at = ws.now()
                failed = done.failures
                did = done.did
                again_at = again_at + timedelta(seconds=ws.settings.poll_most)
        except FindableError as error:
            failed = [error]
        finally:
            self.busy.discard(me)
        self._errors[one.unit] += len(failed)
        _log(
            **about,
            did=did,
            failed=[error.message for error in failed],
            seconds=round(time.monotonic() - began, 3),
        )
        return again_at if failed else None

    @contextlib.contextmanager
    def _opened(
        self, task: str, access: Access, about: dict[str, Any], *, whole: bool = False
    ) -> Iterator[WorkspaceSession]:
        settings = replace(self._settings, task=task)
        with open_workspace(settings, _Log(about), access=access, whole=whole) as ws:
            ws.stopping, ws.agreed = self._stopping, math.inf if self._agrees else None
            yield ws

    def _tasks(self) -> list[str]:
        with self._opened(self._settings.task, Access.READ, {}, whole=True) as ws:
            return [one.subject for one in ws.tasks]

    def _due(self, task: str, indexes: bool) -> list[tuple[DueUnit, datetime]]:  # noqa: FBT001 - for an executor
        with self._opened(task, Access.WRITE, {"task": task}) as ws:
            now = ws.now()  # the server's, which compares it with its own
            return [
                (one, now + timedelta(seconds=one.in_s))
                for one in work.next_due(ws, indexes=indexes)
            ]

    def is_ready(self) -> bool:
        """Return whether the tables of jobs are there, and it goes on; FindableError where no database answers."""
        with self._opened(self._settings.task, Access.READ, {}, whole=True) as ws:
            return _is_set_up(ws) and not self._stopping.is_set()

    def metrics(self) -> bytes:
        """Return the figures of all tasks; see `health.exposition`."""
        with contextlib.ExitStack() as held:
            found = [
                held.enter_context(self._opened(name, Access.READ, {})) for name in self._tasks()
            ]
            return health.exposition(found, self._errors)
