"""Run due units as jobs of Procrastinate: several at once, on any number of machines.

The workspace's own tables alone decide which units are due. A lost job is found due again, and a
job that runs twice finds nothing to do. The tables of jobs are in a separate schema of the same
PostgreSQL database.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint, OptionHint, format_install_command
from askrows.pipeline.core.errors import (
    AccountError,
    AskrowsError,
    ConfigurationError,
    InputError,
    UnavailableError,
)
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.ops import health
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.ops.status import read_status_document
from askrows.pipeline.run import work
from askrows.pipeline.run.units import Unit, list_units
from askrows.pipeline.store import schema
from askrows.pipeline.store.database import Connection
from askrows.pipeline.workspace.open_workspace import Access

JOB_SCHEMA = schema.WORKER_SCHEMA
# Pause between two surveys of due units; a worker that runs once waits for the end of its jobs.
SURVEY_PAUSE_S = 5.0
ONCE_SURVEY_PAUSE_S = 0.5
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
# The status of a worker that runs once, if a signal ends it and its jobs do not end.
INTERRUPTED_CODE = 130
# The number of jobs that run, or that could run now.
_COUNT_OPEN_JOBS = (
    "SELECT count(*) AS open_jobs FROM procrastinate_jobs WHERE queue_name = ANY(%(queues)s) AND "
    "(status = 'doing' OR status = 'todo' AND coalesce(scheduled_at, now()) <= now())"
)
# Whether the schema exists, whether this user may create it, and the user's name in SQL.
_READ_RIGHTS = f"""
SELECT to_regnamespace('{JOB_SCHEMA}') IS NOT NULL AS has_schema,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schema,
       quote_ident(current_user) AS user_name
"""


class Worker:
    """Creates jobs for due units, and runs jobs in threads."""

    def __init__(
        self,
        settings: Settings,
        units: Collection[str],
        concurrency: int,
        *,
        agreed_usd: float | None,
        display: Progress,
    ) -> None:
        """Prepare the connection to the database; nothing is opened or started.

        Args:
            settings: The settings.
            units: Run only these units.
            concurrency: How many jobs run at the same time.
            agreed_usd: The cost that is agreed to. If it is None, a unit whose cost needs a
                confirmation fails.
            display: Shows messages of units, also from threads.

        Raises:
            InputError: The workspace is an SQLite file.
            ConfigurationError: Procrastinate is not installed.
        """
        self._app = _create_app(settings, concurrency)
        self._app.task(self._run_job, name="unit")
        self._settings = settings
        self._queues = list(units)
        self._concurrency = concurrency
        self._agreed_usd = agreed_usd
        self._display = display
        self._pool = ThreadPoolExecutor(concurrency + EXTRA_THREADS)
        self._stopping = threading.Event()
        self._running_worker: asyncio.Task[None] | None = None
        # Called with the report of each unit; None for a worker that runs once.
        self._on_report: Callable[[Report], object] | None = None
        # What a worker that runs once did.
        self._result = work.start_report()
        self._is_drained = False
        # What a worker that runs once does not repeat: tasks that it could not open, and locks of
        # units that got a job, until it runs that unit with an effect.
        self._ended_names = set[str]()
        # Errors since the start, by unit.
        self._error_counts = Counter[str]()
        # The error of the account that ends the worker.
        self._account_error: AccountError | None = None

    def ensure_job_tables(self, run: Run) -> None:
        """Create the tables of jobs in a schema of their own, unless they exist.

        A person is asked first if the database also has tables of another program. Of several
        processes that start at once, one creates them.

        Raises:
            InputError: The person did not confirm.
            ConfigurationError: The user of the database may not create the schema.
        """
        store = run.workspace.store
        with store.read() as tx:
            if _has_job_tables(tx):
                return
            foreign_tables = set(schema.list_tables_of_others(tx))
            for task in run.tasks:
                foreign_tables -= {table.name for table in task.list_tables(tx)}
            rights = tx.exec_driver_sql(_READ_RIGHTS).mappings().one()

        create_schema = f"CREATE SCHEMA {JOB_SCHEMA} AUTHORIZATION {rights['user_name']}"
        database = store.display_name
        if not rights["has_schema"] and not rights["may_create_schema"]:
            raise ConfigurationError(
                f"the user {rights['user_name']} may not create the tables of jobs in "
                f"{database}; nothing was done",
                hint=f"an administrator of the database runs: {create_schema};",
            )
        if foreign_tables:
            run.workspace.confirm(
                f"Create the schema {JOB_SCHEMA} in {database}, which has tables of "
                "another program?",
                unchanged_text="nothing was done",
            )

        # The lock of writers keeps out other processes that start.
        with store.write() as tx:
            if not _has_job_tables(tx):
                if not rights["has_schema"]:
                    tx.exec_driver_sql(create_schema)
                tx.exec_driver_sql(f"SET LOCAL search_path TO {JOB_SCHEMA}")
                job_tables_sql = self._app.schema_manager.get_schema()
                tx.exec_driver_sql(job_tables_sql, execution_options={"no_parameters": True})

    def _serve_health(self, health_socket: socket.socket) -> None:
        """Serve health checks and metrics at a listening socket until the process ends."""
        health.start_health_server(
            health_socket, is_ready=self.can_accept_jobs, get_metrics=self.metrics
        )
        port = health_socket.getsockname()[1]
        self._display.say(f"serving /healthz, /readyz and /metrics at port {port}")

    def run(
        self, on_report: Callable[[Report], object] | None, health_socket: socket.socket | None
    ) -> Report:
        """Run jobs until SIGTERM, SIGINT or an error of the account; return what was done.

        Ends when no job runs any more. If jobs still run GRACE_S + HEARTBEAT_S seconds after a
        signal, the process ends.

        Args:
            on_report: Called with the report of each unit. If it is None, the worker runs once: it
                ends when no unit is due now and no job is left, and returns the report of all
                units. Batches are polled once then, and a unit that failed or had no effect is not
                repeated.
            health_socket: A listening socket at which health checks and metrics are served; None
                serves none.

        Raises:
            AccountError: Requests of a worker with `on_report` failed because of the account, so
                that others would fail, too.
            KeyboardInterrupt: A signal ended a worker that runs once.
            UnavailableError: A worker that runs once cannot read the workspace.
        """
        self._on_report = on_report
        asyncio.run(self._run_jobs(health_socket))

        if self._account_error is not None and on_report is not None:
            raise self._account_error
        # Only a signal ends it without an error before all work is done.
        if on_report is None and not self._is_drained and not self._result.errors:
            raise KeyboardInterrupt
        return self._result

    async def _run_jobs(self, health_socket: socket.socket | None) -> None:
        """Run the survey of due units and the worker of Procrastinate until this worker stops.

        If Procrastinate's worker ends otherwise, for example after a lost connection, this is
        reported, and it is started again after SURVEY_PAUSE_S seconds. A job that does not end in
        time after a signal is abandoned. Its unit is found due again, as after a kill.
        """
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal_number, self._stop)
        # Whoever reads these lines may send a signal.
        if health_socket is not None:
            self._serve_health(health_socket)
        if self._on_report is not None:
            self._display.say(f"doing due work, at most {self._concurrency} units at once")
        # Without a handler, Python prints the traces of these libraries on standard error.
        for library in ("procrastinate", "asyncio"):
            logging.getLogger(library).addHandler(_LogHandler(self._display))

        async with self._app.open_async():
            survey = asyncio.create_task(self._create_due_jobs_until_end())
            while not self._stopping.is_set():
                running_worker = asyncio.create_task(
                    self._app.run_worker_async(
                        queues=self._queues,
                        concurrency=self._concurrency,
                        install_signal_handlers=False,
                        delete_jobs="always",
                        fetch_job_polling_interval=JOB_POLL_PAUSE_S,
                        update_heartbeat_interval=HEARTBEAT_S,
                        stalled_worker_timeout=STALLED_S,
                        shutdown_graceful_timeout=GRACE_S,
                    )
                )
                self._running_worker = running_worker
                await asyncio.wait([running_worker, survey], return_when=asyncio.FIRST_COMPLETED)
                if survey.done():
                    self._stop()
                if self._stopping.is_set():
                    await asyncio.wait([running_worker])
                    break

                # The database went away, and may come back.
                error = None if running_worker.cancelled() else running_worker.exception()
                reason = _explain_error(error) if error else "the worker ended"
                self._display.warn(f"lost the connection to the database: {reason}")
                await asyncio.sleep(SURVEY_PAUSE_S)

            survey.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await survey

    def _stop(self) -> None:
        """Stop taking jobs, and cancel the worker, which then waits up to GRACE_S for its jobs.

        If the process still runs after GRACE_S + HEARTBEAT_S seconds, it is ended, unless the
        worker has no job left.
        """
        self._stopping.set()
        # A thread cannot be ended; the locks of its job end with the process.
        if not self._is_drained:
            exit_code = 0 if self._on_report is not None else INTERRUPTED_CODE
            exit_timer = threading.Timer(GRACE_S + HEARTBEAT_S, os._exit, (exit_code,))
            exit_timer.daemon = True
            exit_timer.start()
        if self._running_worker is not None:
            self._running_worker.cancel()

    async def _create_due_jobs_until_end(self) -> None:
        """Create jobs for all due units, and retry jobs of dead workers, until the worker ends.

        This is repeated after a pause. Errors of askrows and Procrastinate are printed and do not
        end it. A worker that runs once ends after such an error, or when nothing is left to do.

        Raises:
            UnavailableError: The worker runs once, and the workspace cannot be read.
        """
        from procrastinate.exceptions import ProcrastinateException

        runs_once = self._on_report is None
        is_first = True
        while not self._is_drained:
            try:
                open_job_count = await self._create_jobs_of_due_units(is_first=is_first)
                await self._retry_stalled_jobs()
                is_first = False
                self._is_drained = runs_once and not open_job_count
            except (AskrowsError, ProcrastinateException) as error:
                if runs_once:
                    raise UnavailableError(_explain_error(error)) from error
                self._display.warn(_explain_error(error))
            await asyncio.sleep(ONCE_SURVEY_PAUSE_S if runs_once else SURVEY_PAUSE_S)

    async def _create_jobs_of_due_units(self, *, is_first: bool) -> int:
        """Create a job for each unit of this worker, of all tasks, that has none yet.

        Units of kinds that this worker does not run get no job. A unit that is due later gets a job
        for that time. A worker that runs once begins with all of its units, and then leaves out
        those that are due later or ended. A task that cannot be opened is reported and skipped.
        The index of a task that has a job for it is not read. The workspace is read in threads.

        Args:
            is_first: It is the first call.

        Returns:
            The number of jobs of this worker's units, also of other processes, that ran or could
            run at the beginning, and of those that were created.
        """
        loop = asyncio.get_running_loop()
        jobs = list(await self._app.job_manager.list_jobs_async())
        existing_locks = {job.lock for job in jobs}
        tasks_being_indexed = {job.task_kwargs["task"] for job in jobs if job.queue == INDEX_UNIT}

        connector = self._app.connector
        count_row = await connector.execute_query_one_async(_COUNT_OPEN_JOBS, queues=self._queues)
        open_job_count = int(count_row["open_jobs"])
        self._result.figures["next"] = []
        for task_name in await loop.run_in_executor(self._pool, self._task_names):
            if task_name in self._ended_names:
                continue
            should_index = task_name not in tasks_being_indexed
            try:
                task_units, now = await loop.run_in_executor(
                    self._pool, self._list_due_units, task_name, should_index
                )
            except AskrowsError as error:
                self._pass_on_or_add_report(task_name, Report({"did": []}, errors=[error]))
                continue

            for unit in task_units:
                delay_s = self._choose_delay_s(unit, is_first=is_first)
                lock = _make_lock(unit)
                if delay_s is not None and lock not in existing_locks:
                    await self._create_job_unless_waiting(unit, now + timedelta(seconds=delay_s))
                    open_job_count += 1
                    self._ended_names.add(lock)
            self._result.figures["next"] += [unit.json_members for unit in task_units]
        return open_job_count

    def _choose_delay_s(self, unit: Unit, *, is_first: bool) -> float | None:
        """Return in how many seconds a unit gets a job; None for no job."""
        if unit.name not in self._queues:
            return None
        if self._on_report is not None:
            return unit.in_s
        if _make_lock(unit) in self._ended_names:
            return None
        return 0.0 if is_first or not unit.in_s else None

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

    async def _create_job_unless_waiting(self, unit: Unit, run_at: datetime) -> None:
        """Create a job that runs a unit at `run_at`; do nothing if a job of the unit waits already.

        Jobs of index units have a lower priority than jobs about rows.

        Args:
            unit: The unit.
            run_at: Time by the clock of the database server.
        """
        from procrastinate.exceptions import AlreadyEnqueued

        lock = _make_lock(unit)
        # Units about rows run before units about the index.
        priority = -1 if unit.name == INDEX_UNIT else 0
        with contextlib.suppress(AlreadyEnqueued):
            job = self._app.configure_task(
                "unit",
                queue=unit.name,
                lock=lock,
                queueing_lock=lock,
                schedule_at=run_at,
                priority=priority,
            )
            await job.defer_async(unit=unit.name, task=unit.task, number=unit.number)

    async def _run_job(self, unit: str, task: str, number: int | None) -> None:
        """Run a unit in a thread, and report it; create a job that retries it if it failed.

        The retry is at the time that `_run_unit` returned; without such a time there is no retry. A
        worker that runs once has no `_on_report`, and retries nothing. Procrastinate calls this
        with the parameters that the job stores. The worker stops if requests failed because of the
        account.
        """
        due_unit = Unit(unit, task, number=number)
        loop = asyncio.get_running_loop()
        report, retry_at = await loop.run_in_executor(self._pool, self._run_unit, due_unit)
        self._error_counts[unit] += len(report.errors)
        self._pass_on_or_add_report(_make_lock(due_unit), report, task=task)
        if report.errors and retry_at is not None and self._on_report is not None:
            await self._create_job_unless_waiting(due_unit, retry_at)

        for error in report.errors:
            if isinstance(error, AccountError):
                self._account_error = error
                self._stop()

    def _run_unit(self, unit: Unit) -> tuple[Report, datetime | None]:
        """Open the workspace for writing, run one unit, and return its report.

        Failures are in the report. A stop of the worker is no failure.

        Returns:
            The report, and the time of a retry, which matters only if the report has failures. It
            is None if the workspace could not be opened or the work ended by an error: the next
            survey creates a job for the unit if it is still due.
        """
        report = Report({"did": []})
        retry_at: datetime | None = None
        try:
            with (
                contextlib.suppress(KeyboardInterrupt),
                self._open_run(unit.task, Access.WRITE) as run,
            ):
                state = work.do_due_units(run, [unit.name], number=unit.number)
                report = work.make_report(state)
                retry_at = run.workspace.now() + timedelta(seconds=run.workspace.settings.poll_most)
        except AskrowsError as error:
            report.errors = [error]
        return report, retry_at

    def _pass_on_or_add_report(self, name: str, report: Report, *, task: str = "") -> None:
        """Pass on a report, or add it to the result of a worker that runs once.

        A worker that runs once also marks the name as ended if the unit failed or did nothing, so
        that the unit is not run again.

        Args:
            name: What is marked: a task, or the lock of a unit.
            report: The report of a unit, or of an error.
            task: The task of the unit.
        """
        if self._on_report is not None:
            self._on_report(report)
            return

        self._ended_names.add(name)
        if report.figures["did"] and not report.errors:
            self._ended_names.remove(name)
        work.add_report(self._result, report, task=task)

    @contextlib.contextmanager
    def _open_run(
        self, task: str, access: Access, *, is_whole_workspace: bool = False
    ) -> Iterator[Run]:
        """Open the workspace for a task.

        Work in it ends when the worker stops.

        Args:
            task: The name of the task.
            access: How the workspace is opened.
            is_whole_workspace: The work is about the whole workspace. A task that was never used
                here is replaced by people.
        """
        with open_workspace(
            replace(self._settings, task=task),
            self._display,
            access=access,
            is_whole_workspace=is_whole_workspace,
        ) as run:
            yield replace(run, stop_event=self._stopping, agreed_usd=self._agreed_usd)

    def _task_names(self) -> list[str]:
        """Return the names of all tasks of the workspace."""
        with self._open_run(self._settings.task, Access.READ, is_whole_workspace=True) as run:
            return [task.subject for task in run.tasks]

    def _list_due_units(
        self,
        task: str,
        should_index: bool,  # noqa: FBT001 - for an executor
    ) -> tuple[list[Unit], datetime]:
        """Return the due units of a task, and the time by the clock of the database server."""
        with self._open_run(task, Access.WRITE) as run:
            return list(list_units(run, should_index=should_index)), run.workspace.now()

    def can_accept_jobs(self) -> bool:
        """Return whether the tables of jobs exist and the worker is not stopping.

        Raises:
            AskrowsError: The database does not answer.
        """
        with self._open_run(self._settings.task, Access.READ, is_whole_workspace=True) as run:
            return run.workspace.store.query(_has_job_tables) and not self._stopping.is_set()

    def metrics(self) -> bytes:
        """Return the figures of all tasks and the errors by unit, in the format of Prometheus.

        Opens the workspace for reading once for each task.
        """
        status_documents = {}
        for name in self._task_names():
            with self._open_run(name, Access.READ) as run:
                document = read_status_document(run.workspace, run.task, run.tasks)
                status_documents[run.workspace.settings.task] = document
        return health.render_metrics(status_documents, self._error_counts)


def _create_app(settings: Settings, concurrency: int) -> Any:
    """Return a Procrastinate app for the workspace's database, which is not opened yet.

    Args:
        concurrency: Jobs at the same time; the app may have EXTRA_CONNECTIONS connections more.

    Raises:
        InputError: The workspace is an SQLite file.
        ConfigurationError: Procrastinate is not installed.
    """
    url = settings.confirm_and_get_database_url().reveal()
    _, _, address = url.partition("://")
    if url.startswith("sqlite"):
        raise InputError(
            f"{OptionHint(concurrency=concurrency)} needs PostgreSQL, but this workspace is an "
            "SQLite file; nothing was done",
            hint=f"`{CommandHint('work')}` runs the same units one after the other",
        )
    try:
        from procrastinate import App, PsycopgConnector
    except ImportError as error:
        raise ConfigurationError(
            f"{OptionHint(concurrency=concurrency)} needs a library that is not installed: {error}",
            hint=format_install_command("workers"),
        ) from error

    connection_options = {
        "options": f"-c search_path={JOB_SCHEMA}",
        "application_name": "askrows work",
    }
    connector = PsycopgConnector(
        conninfo=f"postgresql://{address}",
        kwargs=connection_options,
        min_size=1,
        max_size=concurrency + EXTRA_CONNECTIONS,
    )
    return App(connector=connector)


def _has_job_tables(tx: Connection) -> bool:
    """Return whether the tables of jobs exist."""
    # After a wait for the lock of writers, to_regclass may answer from before the wait.
    statement = (
        "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = 'procrastinate_jobs'"
    )
    return bool(tx.exec_driver_sql(statement, (JOB_SCHEMA,)).scalar())


def _make_lock(unit: Unit) -> str:
    """Return the name of the lock with which one process at a time runs a unit."""
    return f"{unit.task}/{unit.name}/{unit.number}"


class _LogHandler(logging.Handler):
    """Shows warnings of libraries in one line, with the error instead of a trace."""

    def __init__(self, display: Progress) -> None:
        super().__init__(logging.WARNING)
        self._display = display

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.getMessage()
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            reason = f"{reason}: {_explain_error(error)}"
        self._display.warn(reason)


def _explain_error(error: BaseException) -> str:
    """Return the message of an error in one line.

    Errors of Procrastinate about the database name the reason only as their cause.
    """
    reason = error.__cause__ or error
    return " ".join((str(reason) or repr(reason)).split())
