"""Run due units as jobs of Procrastinate: several at once, on any number of machines.

The workspace's own tables alone decide which units are due. A lost job is found due again, and a
job that runs twice finds nothing to do. The tables of jobs are in a separate schema of the same
PostgreSQL database.
"""

import asyncio
import contextlib
import json
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.core.command_hint import CommandHint, format_installation
from askrows.pipeline.core.errors import AccountError, AskrowsError, ConfigurationError, InputError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.ops import health
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.ops.status import read_status
from askrows.pipeline.run import units as due_units
from askrows.pipeline.run import work
from askrows.pipeline.run.units import DueUnit
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.opening import Access

JOB_SCHEMA = schema.WORKER_SCHEMA
# Pause between two surveys of due units.
SURVEY_PAUSE_S = 5.0
# A worker without a heartbeat for STALLED_S counts as dead, and its jobs are retried.
HEARTBEAT_S = 5.0
STALLED_S = 20.0
INDEX_UNIT = "index"
# After SIGTERM, running jobs have this long to end.
GRACE_S = 20.0
JOB_POLL_PAUSE_S = 1.0
# Threads besides those of the jobs: for surveys and health checks.
EXTRA_THREADS = 2
# Database connections besides those of the jobs.
EXTRA_CONNECTIONS = 3


def run_worker(
    settings: Settings,
    units: Collection[str],
    *,
    concurrency: int,
    is_cost_confirmed: bool,
    health_socket: socket.socket | None,
) -> None:
    """Run jobs until SIGTERM, SIGINT or an error of the account; print a line of JSON for each.

    Ends when no job runs any more. If jobs still run GRACE_S + HEARTBEAT_S seconds after a signal,
    the process ends with status 0.

    Args:
        settings: The settings.
        units: Run only these units.
        concurrency: How many jobs run at the same time.
        is_cost_confirmed: The cost of all requests is confirmed. Otherwise a unit whose cost needs
            a confirmation fails.
        health_socket: Serve health checks and metrics at this socket, or None for no server.

    Raises:
        InputError: The workspace is an SQLite file.
        ConfigurationError: The tables of jobs do not exist, or Procrastinate is not installed.
        AccountError: Requests failed because of the account, so that others would fail, too.
        AskrowsError: The database does not answer.
    """
    app = _create_app(settings, concurrency)
    pool = ThreadPoolExecutor(concurrency + EXTRA_THREADS)
    worker = _Worker(app, settings, pool, is_cost_confirmed=is_cost_confirmed)
    if not worker.can_accept_jobs():
        raise ConfigurationError(
            f"the schema {JOB_SCHEMA} has no tables of jobs yet; no job was run",
            hint=f"`{CommandHint('worker', setup=True)}` creates them",
        )

    start_message = f"working, at most {concurrency} at once: {', '.join(units)}"
    # Without a handler, Python prints the traces of these libraries on standard error.
    for library in ("procrastinate", "asyncio"):
        logging.getLogger(library).addHandler(_JsonLogHandler(logging.WARNING))
    if health_socket is not None:
        health.start_health_server(
            health_socket, is_ready=worker.can_accept_jobs, get_metrics=worker.metrics
        )
        port = health_socket.getsockname()[1]
        start_message += f"; /healthz, /readyz and /metrics at port {port}"

    asyncio.run(worker.run({"queues": list(units), "concurrency": concurrency}, start_message))
    if worker.account_error is not None:
        raise worker.account_error


def create_job_tables(
    store: Store, tasks: Sequence[Task], *, settings: Settings, confirm: Callable[[str], None]
) -> Report:
    """Create the tables of jobs unless they exist; report whether they were created.

    They are in a schema of their own. A person is asked first if the database also has tables of
    another program.

    Raises:
        InputError: The workspace is an SQLite file, or the person did not confirm.
        ConfigurationError: Procrastinate is not installed.
    """
    app = _create_app(settings, 1)
    report = Report(
        {"made": False}, f"the schema {JOB_SCHEMA} exists", next_step=CommandHint("worker")
    )
    if _is_set_up(store):
        return report

    with store.read() as tx:
        foreign_tables = set(schema.other_tables(tx))
        for task in tasks:
            foreign_tables -= {table.name for table in task.list_tables(tx)}
    if foreign_tables:
        confirm(
            f"Create the schema {JOB_SCHEMA} in {store.display_name}, which has tables of "
            "another program?",
        )

    asyncio.run(_create_job_tables(app))
    report.figures["made"] = True
    return report


def _create_app(settings: Settings, concurrency: int) -> Any:
    """Return a Procrastinate app for the workspace's database, which is not opened yet.

    Args:
        concurrency: Jobs at the same time; the app may have EXTRA_CONNECTIONS connections more.

    Raises:
        InputError: The workspace is an SQLite file.
        ConfigurationError: Procrastinate is not installed.
    """
    url = settings.confirm_database_url().reveal()
    _, _, address = url.partition("://")
    if url.startswith("sqlite"):
        raise InputError(
            "workers need PostgreSQL, but this workspace is an SQLite file; nothing was started",
            hint=f"`{CommandHint('work')}` runs the same units in one process",
        )
    try:
        from procrastinate import App, PsycopgConnector
    except ImportError as error:
        raise ConfigurationError(
            f"workers need a library that is not installed: {error}",
            hint=format_installation("workers"),
        ) from error

    connection_options = {
        "options": f"-c search_path={JOB_SCHEMA}",
        "application_name": "askrows worker",
    }
    connector = PsycopgConnector(
        conninfo=f"postgresql://{address}",
        kwargs=connection_options,
        min_size=1,
        max_size=concurrency + EXTRA_CONNECTIONS,
    )
    return App(connector=connector)


def _is_set_up(store: Store) -> bool:
    """Return whether the tables of jobs exist."""
    statement = f"SELECT to_regclass('{JOB_SCHEMA}.procrastinate_jobs')"
    with store.read() as tx:
        return tx.exec_driver_sql(statement).scalar() is not None


async def _create_job_tables(app: Any) -> None:
    """Create the schema unless it exists, and the tables of jobs in it."""
    async with app.open_async():
        await app.connector.execute_query_async(f"CREATE SCHEMA IF NOT EXISTS {JOB_SCHEMA}")
        await app.schema_manager.apply_schema_async()


def _log(**members: Any) -> None:
    """Print a line of JSON to standard output, and flush it."""
    sys.stdout.write(json.dumps(members, ensure_ascii=False) + "\n")
    sys.stdout.flush()


class _JsonLog(NoProgress):
    """Prints the messages of a unit as lines of JSON that name the unit."""

    def __init__(self, members: dict[str, Any]) -> None:
        self._members = members

    def say(self, line: str) -> None:
        _log(**self._members, said=line)

    def warn(self, line: str) -> None:
        _log(**self._members, warned=line)


class _JsonLogHandler(logging.Handler):
    """Prints log records of libraries as lines of JSON, with the error instead of a trace."""

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            reason = f"{reason}: {_explain_error(error)}"
        _log(warned=reason)


def _explain_error(error: BaseException) -> str:
    """Return the message of an error in one line.

    Errors of Procrastinate about the database name the reason only as their cause.
    """
    reason = error.__cause__ or error
    return " ".join((str(reason) or repr(reason)).split())


class _Worker:
    """Creates jobs for due units, and runs jobs in threads."""

    def __init__(
        self,
        app: Any,
        settings: Settings,
        pool: ThreadPoolExecutor,
        *,
        is_cost_confirmed: bool,
    ) -> None:
        """Register the job of a unit with the app; nothing is started.

        Args:
            app: The Procrastinate app, not opened yet.
            settings: The settings.
            pool: Threads for jobs, surveys and health checks.
            is_cost_confirmed: The cost of requests is confirmed.
        """
        self._app = app
        self._settings = settings
        self._pool = pool
        self._is_cost_confirmed = is_cost_confirmed
        self._stopping = threading.Event()
        # Errors since the start, by unit.
        self._error_counts = Counter[str]()
        # The error of the account that ends the worker.
        self.account_error: AccountError | None = None
        self._running_worker: asyncio.Task[None] | None = None
        app.task(self._run_job, name="unit")

    async def run(self, options: dict[str, Any], start_message: str) -> None:
        """Run jobs, and create jobs for due units, until a signal arrives.

        The start and each lost connection to the database are printed. After a lost connection, the
        next one is tried SURVEY_PAUSE_S seconds later. A job that does not end in time after the
        signal is abandoned. Its unit is found due again, as after a kill.

        Args:
            options: Queues and concurrency, as Procrastinate takes them.
            start_message: Printed at the start.
        """
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, self._stop)
        _log(said=start_message)

        worker_options = {
            **options,
            "install_signal_handlers": False,
            "delete_jobs": "always",
            "fetch_job_polling_interval": JOB_POLL_PAUSE_S,
            "update_heartbeat_interval": HEARTBEAT_S,
            "stalled_worker_timeout": STALLED_S,
            "shutdown_graceful_timeout": GRACE_S,
        }
        async with self._app.open_async():
            survey = asyncio.create_task(self._survey())
            while not self._stopping.is_set():
                running_worker = asyncio.create_task(self._app.run_worker_async(**worker_options))
                self._running_worker = running_worker
                await asyncio.wait([running_worker])
                if self._stopping.is_set():
                    break
                # The database went away, and may come back.
                error = running_worker.exception()
                reason = _explain_error(error) if error else "the worker ended"
                _log(warned=f"lost the connection to the database: {reason}")
                await asyncio.sleep(SURVEY_PAUSE_S)
            survey.cancel()

    def _stop(self) -> None:
        """Stop taking jobs, and cancel the worker, which then waits up to GRACE_S for its jobs.

        If the process still runs after GRACE_S + HEARTBEAT_S seconds, it is ended with status 0.
        """
        self._stopping.set()
        # A thread cannot be ended; the locks of its job end with the process.
        exit_timer = threading.Timer(GRACE_S + HEARTBEAT_S, os._exit, (0,))
        exit_timer.daemon = True
        exit_timer.start()
        if self._running_worker is not None:
            self._running_worker.cancel()

    async def _survey(self) -> None:
        """Create jobs for all due units, and retry jobs of dead workers, until cancelled.

        This is repeated with a pause of SURVEY_PAUSE_S seconds. Errors of askrows and
        Procrastinate are printed and do not end it.
        """
        from procrastinate.exceptions import ProcrastinateException

        while True:
            try:
                await self._defer_due_units()
                await self._retry_stalled_jobs()
            except (AskrowsError, ProcrastinateException) as error:
                _log(warned=_explain_error(error))
            await asyncio.sleep(SURVEY_PAUSE_S)

    async def _defer_due_units(self) -> None:
        """Create a job for each due unit of all tasks that has none yet.

        A unit that is due later gets a job for that time. The index of a task that has a job for it
        is not read. The workspace is read in threads.
        """
        loop = asyncio.get_running_loop()
        jobs = list(await self._app.job_manager.list_jobs_async())
        existing_locks = {job.lock for job in jobs}
        tasks_being_indexed = {job.task_kwargs["task"] for job in jobs if job.queue == INDEX_UNIT}

        for task_name in await loop.run_in_executor(self._pool, self._task_names):
            should_index = task_name not in tasks_being_indexed
            due_units = await loop.run_in_executor(
                self._pool,
                self._due_units,
                task_name,
                should_index,
            )
            for due_unit, run_at in due_units:
                await self._defer(due_unit, run_at, existing_locks=existing_locks)

    async def _retry_stalled_jobs(self) -> None:
        """Retry the jobs of dead workers; if a unit has a new job meanwhile, delete the old one.

        A worker is dead if it has had no heartbeat for STALLED_S seconds.
        """
        from procrastinate.exceptions import ConnectorException
        from procrastinate.jobs import Status

        job_manager = self._app.job_manager
        for job in await job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_S):
            try:
                await job_manager.retry_job(job)
            except ConnectorException:
                # The new job of the same unit waits until this one ends.
                await job_manager.finish_job(job, status=Status.FAILED, delete_job=True)

    async def _defer(
        self,
        due_unit: DueUnit,
        run_at: datetime,
        *,
        existing_locks: Collection[str | None] = (),
    ) -> None:
        """Create a job that runs a unit at `run_at`; do nothing if the unit has a job already.

        A job that waits in the database always counts. A running job counts only if its lock is in
        `existing_locks`. Jobs of index units have a lower priority than jobs about rows.

        Args:
            due_unit: The unit.
            run_at: Time by the clock of the database server.
            existing_locks: Locks of jobs, waiting or running; a unit with one of these gets no job.
        """
        from procrastinate.exceptions import AlreadyEnqueued

        lock = f"{due_unit.task}/{due_unit.unit}/{due_unit.number}"
        if lock in existing_locks:
            return

        # Units about rows run before units about the index.
        priority = -1 if due_unit.unit == INDEX_UNIT else 0
        with contextlib.suppress(AlreadyEnqueued):
            job = self._app.configure_task(
                "unit",
                queue=due_unit.unit,
                lock=lock,
                queueing_lock=lock,
                schedule_at=run_at,
                priority=priority,
            )
            await job.defer_async(unit=due_unit.unit, task=due_unit.task, number=due_unit.number)

    async def _run_job(self, unit: str, task: str, number: int | None) -> None:
        """Run a unit in a thread; create a job that retries it if it failed.

        Procrastinate calls this with the parameters that the job stores. The worker stops if
        requests failed because of the account.
        """
        due_unit = DueUnit(unit, task, number=number)
        loop = asyncio.get_running_loop()
        retry_at = await loop.run_in_executor(self._pool, self._run_unit, due_unit)
        if retry_at is not None:
            await self._defer(due_unit, retry_at)
        if self.account_error is not None:
            self._stop()

    def _run_unit(self, due_unit: DueUnit) -> datetime | None:
        """Run one unit and print its result as a line of JSON.

        Opens the workspace for writing. Failures are counted for the metrics and not raised. A stop
        of the worker is printed as "stopped".

        Returns:
            When a failed unit is retried: `poll_most` seconds later. None if it succeeded or was
            stopped. Also None if its workspace could not be opened, because the next survey creates
            a job for the unit if it is still due.
        """
        unit_members = due_unit.json_members
        started_at_s = time.monotonic()
        failures = list[AskrowsError]()
        retry_at: datetime | None = None
        phrases = ["stopped"]

        try:
            with (
                contextlib.suppress(KeyboardInterrupt),
                self._open_session(due_unit.task, Access.WRITE, unit_members) as ws,
            ):
                state = work.do_due_units(ws, [due_unit.unit], number=due_unit.number)
                failures = state.errors
                phrases = [*work.describe_pass(state), *work.describe_stop(state)]
                self.account_error = self.account_error or state.account_error
                retry_at = ws.now() + timedelta(seconds=ws.settings.poll_most)
        except AskrowsError as error:
            failures = [error]

        self._error_counts[due_unit.unit] += len(failures)
        _log(
            **unit_members,
            did=phrases,
            failed=[error.message for error in failures],
            seconds=round(time.monotonic() - started_at_s, 3),
        )
        return retry_at if failures else None

    @contextlib.contextmanager
    def _open_session(
        self,
        task: str,
        access: Access,
        log_members: dict[str, Any],
        *,
        is_whole_workspace: bool = False,
    ) -> Iterator[WorkspaceSession]:
        """Open the workspace for a task; its messages are lines of JSON with `log_members`.

        Work in it ends when the worker stops. If the worker was started with consent to costs, any
        cost is agreed.

        Args:
            task: The name of the task.
            access: How the workspace is opened.
            log_members: Members of each line of JSON.
            is_whole_workspace: The work is about the whole workspace. A task that was never used
                here is replaced by people.
        """
        settings = replace(self._settings, task=task)
        with open_workspace(
            settings,
            _JsonLog(log_members),
            access=access,
            is_whole_workspace=is_whole_workspace,
        ) as ws:
            agreed_usd = math.inf if self._is_cost_confirmed else None
            yield replace(ws, stop_event=self._stopping, agreed_usd=agreed_usd)

    def _task_names(self) -> list[str]:
        """Return the names of all tasks of the workspace."""
        with self._open_session(
            self._settings.task,
            Access.READ,
            {},
            is_whole_workspace=True,
        ) as ws:
            return [task.subject for task in ws.tasks]

    def _due_units(
        self,
        task: str,
        should_index: bool,  # noqa: FBT001 - for an executor
    ) -> list[tuple[DueUnit, datetime]]:
        """Return the due units of a task, and when each is due by the database server's clock."""
        with self._open_session(task, Access.WRITE, {"task": task}) as ws:
            # The server compares this time with its own clock.
            now = ws.now()
            return [
                (due_unit, now + timedelta(seconds=due_unit.in_s))
                for due_unit in due_units.list_due_units(ws, should_index=should_index)
            ]

    def can_accept_jobs(self) -> bool:
        """Return whether the tables of jobs exist and the worker is not stopping.

        Raises:
            AskrowsError: The database does not answer.
        """
        with self._open_session(
            self._settings.task,
            Access.READ,
            {},
            is_whole_workspace=True,
        ) as ws:
            return _is_set_up(ws.store) and not self._stopping.is_set()

    def metrics(self) -> bytes:
        """Return the figures of all tasks and the errors by unit, in the format of Prometheus.

        Opens the workspace for reading once for each task.
        """
        status_documents = {}
        for name in self._task_names():
            with self._open_session(name, Access.READ, {}) as ws:
                document = read_status(ws.workspace, ws.task, ws.tasks)
                status_documents[ws.settings.task] = document
        return health.render_metrics(status_documents, self._error_counts)
