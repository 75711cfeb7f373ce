"""Do what is due as jobs, several at once, on as many machines as like to: Procrastinate says who does what, and when.

What is due stands in the workspace's own tables alone: a job that is lost is found due again, one that is done twice
finds nothing to do. Its tables have a schema of their own in the same PostgreSQL database.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import click
from sqlalchemy import make_url

from jobs import health
from jobs.command import opened
from jobs.keep import wanted_units
from jobs.options import Count, Report, Taken
from jobs.variables import KEPT, read_settings
from pipeline.core.errors import ConfigurationError, FindableError, InputError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import Settings
from pipeline.core.step import Step
from pipeline.engine.access import Access
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.store import schema
from pipeline.workflows import work
from pipeline.workflows.work import Due

SCHEMA = "findable_worker"
SURVEY_S = 5.0  # between two looks at what is due, beside the one after each job
HEARTBEAT_S, STALLED_S = 5.0, 20.0  # a worker without a sign of life for so long is taken for dead, its jobs retried
GRACE_S = 20.0  # after SIGTERM, until what is under way is left to who comes next


def worker(
    *,
    concurrency: Annotated[int, Taken("Jobs at once.", Count(1, 64))] = 4,
    only: Annotated[str, Taken(f"Only these units: {', '.join(work.UNITS)}.", metavar="UNIT,…")] = "",
    port: Annotated[int | None, Taken("Serve /healthz, /readyz, /metrics here.", click.IntRange(0, 65535))] = None,
    setup: Annotated[bool, Taken("Make the tables of jobs, then end.")] = False,
) -> Report | None:
    """Do what is due of all tasks until it is stopped, beside other workers; on PostgreSQL.

    --setup makes the tables of jobs, in a schema of their own in the workspace's database. Each job is a line of JSON
    on standard output. Within 30 s of SIGTERM it ends, and others go on with what it had. Above CONFIRM_ABOVE nothing
    is sent without --yes.
    """
    wanted, settings = wanted_units(only), read_settings()
    with opened("write", whole=True) as ws:
        if ws.store.path is not None:
            said, alone = (
                "workers stand beside each other on PostgreSQL, and this workspace is an SQLite file",
                Step("work"),
            )
            raise InputError(said, hint=f"`{alone}` does the same in one process")
        app, is_ready = _app(settings, concurrency), _is_set_up(ws)
        if setup:
            with ws.store.read() as tx:
                is_others = bool(schema.other_tables(tx))
            if not is_ready and is_others:
                ws.agree(f"Make the schema {SCHEMA} in {ws.store.shown}, beside another program's tables?")
            if not is_ready:
                asyncio.run(_set_up(app))
            return Report(
                {"schema": SCHEMA, "made": not is_ready}, f"the schema {SCHEMA} is there", hint=Step("worker")
            )
    if not is_ready:
        raise ConfigurationError("the tables of jobs are not there yet", hint=f"{Step('worker', setup=True)}")
    agrees = bool(click.get_current_context().meta.get(KEPT["yes"]))
    _Worker(app, settings, agrees=agrees).run(wanted, concurrency=concurrency, port=port)
    return None


def _app(settings: Settings, concurrency: int) -> Any:
    try:
        import procrastinate
    except ImportError as error:
        said = f"workers need a library that is not installed: {error}"
        raise ConfigurationError(said, hint="make setup EXTRAS=workers, or pip install -e '.[workers]'") from error
    address = make_url(settings.url.reveal()).set(drivername="postgresql").render_as_string(hide_password=False)
    own = {"options": f"-c search_path={SCHEMA}", "application_name": "findable worker"}
    return procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=address, kwargs=own, min_size=1, max_size=concurrency + 3)
    )


def _is_set_up(ws: OpenWorkspace) -> bool:
    with ws.store.read() as tx:
        return tx.exec_driver_sql(f"SELECT to_regclass('{SCHEMA}.procrastinate_jobs')").scalar() is not None


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
        self.about = about

    def say(self, line: str) -> None:
        _log(**self.about, said=line)

    def warn(self, line: str) -> None:
        _log(**self.about, warned=line)


class _Worker:
    def __init__(self, app: Any, settings: Settings, *, agrees: bool) -> None:
        self.app, self.settings, self.agrees = app, settings, agrees
        self.stopping, self.errors, self.busy = threading.Event(), Counter[str](), set[int]()
        app.task(self.work, name="unit")

    def run(self, units: list[str], *, concurrency: int, port: int | None) -> None:
        """Work until a signal comes; what does not end in time is left as a killed process leaves it."""
        self.pool = ThreadPoolExecutor(concurrency + 2)
        if port is not None:
            served = health.serve_health(port, is_ready=self._is_ready, metrics=self._metrics)
            _log(said=f"/healthz, /readyz and /metrics at port {served}")
        asyncio.run(self._main(units, concurrency))
        if self.busy:
            os._exit(0)  # threads cannot be ended; locks end with the process

    async def _main(self, units: list[str], concurrency: int) -> None:
        loop = asyncio.get_running_loop()
        how = {"queues": units, "concurrency": concurrency, "install_signal_handlers": False, "delete_jobs": "always"}
        times = {"update_heartbeat_interval": HEARTBEAT_S, "stalled_worker_timeout": STALLED_S}
        async with self.app.open_async():
            surveying = asyncio.create_task(self._survey_all())
            while not self.stopping.is_set():
                working = asyncio.ensure_future(
                    self.app.run_worker_async(
                        **how, **times, shutdown_graceful_timeout=GRACE_S, fetch_job_polling_interval=1.0
                    )
                )

                def stop(working: "asyncio.Future[None]" = working) -> None:
                    self.stopping.set()
                    working.cancel()

                for one in (signal.SIGINT, signal.SIGTERM):
                    loop.add_signal_handler(one, stop)
                await asyncio.wait([working])
                if not self.stopping.is_set():  # the database went away: it comes back, or who started this ends it
                    _log(warned=f"the worker's connection was lost: {working.exception() or 'stopped'}")
                    await asyncio.sleep(SURVEY_S)
            surveying.cancel()

    async def _survey_all(self) -> None:
        """Defer what is due, and retry the jobs of workers that died, again and again; at first of all tasks."""
        import procrastinate

        loop = asyncio.get_running_loop()
        while True:
            try:
                for name in await loop.run_in_executor(self.pool, self._tasks):
                    await self._survey(name)
                for job in await self.app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
                    with contextlib.suppress(procrastinate.exceptions.ConnectorException):  # deferred again meanwhile
                        await self.app.job_manager.retry_job(job)
            except (FindableError, procrastinate.exceptions.ProcrastinateException) as error:
                _log(warned=str(error))
            await asyncio.sleep(SURVEY_S)

    async def _survey(self, task: str) -> None:
        for one, at in await asyncio.get_running_loop().run_in_executor(self.pool, self._due, task):
            await self._defer(one, at)

    async def _defer(self, one: Due, at: Any) -> None:
        from procrastinate.exceptions import AlreadyEnqueued

        name, told = f"{one.task}/{one.unit}/{one.number}", {"task": one.task, "unit": one.unit, "number": one.number}
        how = {"queue": one.unit, "lock": name, "queueing_lock": name, "schedule_at": at}
        with contextlib.suppress(AlreadyEnqueued):
            await self.app.configure_task("unit", **how).defer_async(**told)

    def _tasks(self) -> list[str]:
        with self._opened(self.settings.task, Access.READ, whole=True) as ws:
            return [one.subject for one in ws.tasks]

    def _due(self, task: str) -> list[tuple[Due, Any]]:
        with self._opened(task, Access.WRITE) as ws:
            now = ws.now()  # the server's, which compares it with its own
            return [(one, now + timedelta(seconds=one.in_s)) for one in work.next_due(ws)]

    async def work(self, unit: str, task: str, number: int | None) -> None:
        """Do one unit; where it failed it is due again in a while, else what is due now is found out."""
        at = await asyncio.get_running_loop().run_in_executor(self.pool, self._do, Due(unit, task, number=number))
        if at is not None:
            await self._defer(Due(unit, task, number=number), at)
        await self._survey(task)

    def _do(self, one: Due) -> Any:
        about, began = {"unit": one.unit, "task": one.task, "batch": one.number}, time.monotonic()
        self.busy.add(me := threading.get_ident())
        try:
            with self._opened(one.task, Access.WRITE, display=_Log(about)) as ws:
                done, again = work.once(ws, [one.unit], number=one.number), ws.now()
                failed, again = done.failures, again + timedelta(seconds=ws.settings.poll_most)
            did = done.did
        except FindableError as error:
            failed, did, again = [error], [], None
        except KeyboardInterrupt:
            failed, did, again = [], ["stopped"], None
        finally:
            self.busy.discard(me)
        self.errors[one.unit] += len(failed)
        _log(**about, did=did, failed=[error.message for error in failed], seconds=round(time.monotonic() - began, 3))
        return again if failed else None

    @contextlib.contextmanager
    def _opened(
        self, task: str, access: Access, *, whole: bool = False, display: Progress | None = None
    ) -> Iterator[OpenWorkspace]:
        display = display or _Log({"task": task})
        settings = replace(self.settings, task=task)
        with open_workspace(settings, display, access=access, agrees=lambda _: self.agrees, whole=whole) as ws:
            ws.stopping = self.stopping
            yield ws

    def _is_ready(self) -> bool:
        try:
            with self._opened(self.settings.task, Access.READ, whole=True) as ws:
                return _is_set_up(ws) and not self.stopping.is_set()
        except FindableError:
            return False

    def _metrics(self) -> bytes:
        with contextlib.ExitStack() as held:
            opened = [held.enter_context(self._opened(name, Access.READ)) for name in self._tasks()]
            return health.exposition(opened, self.errors)
