"""Commands that maintain a workspace.

- Run due units of work: `work`.
- Copy the workspace, check it, and clean it up: `backup`, `restore`, `doctor`, `clean`.
- Delete people, versions and tables: `forget`, `rollback`, `remove-tables`.
- Judge answers, and list versions and parked rows: `qc`, `versions`, `parked`, `unpark`.

A unit of work is a step of a task, such as ingesting downloaded results; it is due if there is
something to do. A gate is a bound on a quality figure. A parked row is not asked again until a user
unparks it.
"""

import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from askrows.jobs.command import (
    has_yes_option,
    open_configured_run,
    set_next_step_if_missing,
    should_print_json,
)
from askrows.jobs.exit_codes import listen_on_port
from askrows.jobs.options import (
    PATH,
    VERSION,
    AcceptChanged,
    Dry,
    Experts,
    Full,
    NumberParam,
    Parameter,
    Refresh,
    RowKey,
    Version,
)
from askrows.jobs.output import Terminal, begin_lines_with_times, print_line
from askrows.jobs.variables import is_option_typed, read_settings, read_typed_settings
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import (
    Report,
    warn_of_errors,
)
from askrows.pipeline.core.text import split_names
from askrows.pipeline.ops import backup as workspace_backup
from askrows.pipeline.ops import clean as file_cleanup
from askrows.pipeline.ops import doctor as workspace_check
from askrows.pipeline.ops import forget as row_erasure
from askrows.pipeline.ops import listed_rows
from askrows.pipeline.ops import remove_tables as table_removal
from askrows.pipeline.ops import versions as answer_versions
from askrows.pipeline.ops.restore import restore_workspace
from askrows.pipeline.quality import evaluate
from askrows.pipeline.run import work as due_work
from askrows.pipeline.run.work import WorkspaceOpener
from askrows.pipeline.tasks.task_values import AskedRows
from askrows.pipeline.workflows import verify
from askrows.pipeline.workflows.worker import Worker

# The address of --port without --host.
LOOPBACK = "127.0.0.1"


def _parse_unit_names(text: str) -> list[str]:
    """Split a text at its commas into names of units of work; a blank text gives all units.

    Raises:
        InputError: A name is not a unit.
    """
    unit_names = split_names(text)
    unknown_names = [name for name in unit_names if name not in due_work.UNIT_NAMES]
    if unknown_names:
        raise InputError(
            f"{unknown_names[0]!r} is not a unit of work; nothing was done",
            hint=f"valid units for {OptionHint('only')}: {', '.join(due_work.UNIT_NAMES)}",
        )
    return unit_names or list(due_work.UNIT_NAMES)


UnitNames = Annotated[
    Any,
    Parameter(
        f"Only these units: {', '.join(due_work.UNIT_NAMES)}. Default: all.",
        _parse_unit_names,
        metavar="UNIT,…",
    ),
]


def work(
    *,
    once: Annotated[
        bool, Parameter("Do due work once, then exit. Default: repeat forever.")
    ] = False,
    units: UnitNames = "",
    concurrency: Annotated[
        int | None,
        Parameter(
            "On PostgreSQL: run this many units at once. Default: one after the other.",
            NumberParam(1),
            metavar="UNITS",
        ),
    ] = None,
    port: Annotated[
        int | None,
        Parameter(
            "Serve /healthz, /readyz and /metrics on this port; 0 is any free port. Default: none.",
            NumberParam(0, 65535),
            metavar="PORT",
        ),
    ] = None,
    host: Annotated[
        str | None, Parameter("Address for --port. Default: 127.0.0.1.", metavar="ADDRESS")
    ] = None,
    accept_changed: AcceptChanged = False,
    full: Full = False,
    refresh: Refresh = False,
) -> Report | None:
    """Do all due work of all tasks, or of TASK: send, poll, download, ingest, retry, index.

    The work consists of units, the steps that --only lists. A unit is due if it has something to
    do: rows to ask again, results to download, an index to update.

    Runs until it is stopped, and warns of errors. With --once, for cron, it does the due work once.
    It then prints a line with the time, and exits with 0, or with the code of an error. If nothing
    was due, it prints that on a terminal only, so that cron sends no mail. With --json, which needs
    --once, it prints a document that also lists the remaining work, with the seconds until it is
    due.

    Any number of processes may run at once, with PostgreSQL on several machines.

    With --concurrency, units of all tasks run as jobs of Procrastinate. Its tables are created
    first, in a schema of their own. Other machines with --concurrency share the jobs, and continue
    those of a stopped or dead process. SIGTERM ends it within 30 s with exit code 0.

    Budgets limit the cost. A cost above ASKROWS_CONFIRM_ABOVE (USD) needs --yes.
    """
    settings = read_settings()
    # In the environment, ASKROWS_CONCURRENCY is the number of live calls, and ASKROWS_PORT may be
    # that of the page.
    if not is_option_typed("concurrency"):
        concurrency = None
    # Without TASK= the setting has a default, which selects no task here.
    is_task_set = "task" in settings.sources
    _check_concurrency_options(
        concurrency,
        excluded_options={
            # Jobs of all tasks are in the same queues.
            "task": is_task_set,
            "accept_changed": accept_changed,
            "full": full,
            "refresh": refresh,
        },
    )
    # Passes are repeated for ever, so that there is no end at which to print a document.
    if not once and should_print_json():
        raise InputError(
            "work runs forever, so it has no JSON document; nothing was done",
            hint=f"add {OptionHint(once=True)}",
        )
    if not should_print_json():
        begin_lines_with_times()

    agreed_usd = math.inf if has_yes_option() else None
    worker = None
    if concurrency is not None:
        worker = Worker(settings, units, concurrency, agreed_usd=agreed_usd, display=Terminal())
    with open_configured_run("write", is_whole_workspace=True) as run:
        if worker is not None:
            worker.ensure_job_tables(run)
        task_names = [settings.task] if is_task_set else [task.subject for task in run.tasks]
        location = due_work.describe_location(run)
    if worker is not None:
        health_socket = None
        if port is not None:
            health_socket = listen_on_port("work", host or LOOPBACK, port, concurrency=concurrency)
        report = worker.run(None if once else _print_pass, health_socket)
    else:
        open_task = partial(
            _open_run_for_work,
            refresh=refresh,
            accepts_changes=accept_changed,
            reads_all_rows=full,
            agreed_usd=agreed_usd,
        )
        report = _run_one_pass_or_repeat_forever(open_task, task_names, units, once=once)
    if not once:
        return None

    report.figures = location | report.figures
    # Without a terminal nothing is printed, because cron mails every output.
    if not report.title and sys.stdout.isatty():
        report.title = "nothing was due"
    return report


def _run_one_pass_or_repeat_forever(
    open_task: WorkspaceOpener, task_names: Sequence[str], units: Collection[str], *, once: bool
) -> Report:
    """Run one pass over the due units, and return its report; else print passes until Ctrl-C."""
    if not once:
        seconds = f"{due_work.MAX_PASS_PAUSE_S:.0f} s"
        Terminal().say(f"doing due work, and looking for it at least every {seconds}, until Ctrl-C")
        due_work.repeat_passes_until_account_error(open_task, task_names, units, _print_pass)
    report, _ = due_work.do_pass(open_task, task_names, units)
    return report


def _check_concurrency_options(
    concurrency: int | None, *, excluded_options: Mapping[str, bool]
) -> None:
    """Check that no option is set that needs --concurrency, or that it excludes.

    Args:
        concurrency: The value of --concurrency; None if it is not set.
        excluded_options: By option that it excludes, whether that option is set.

    Raises:
        InputError: Such an option is set.
    """
    options = excluded_options
    relation = "cannot be used with"
    if concurrency is None:
        options = {name: is_option_typed(name) for name in ("port", "host")}
        relation = "needs"
    for name, is_set in options.items():
        if is_set:
            raise InputError(
                f"{OptionHint(name)} {relation} {OptionHint('concurrency')}; nothing was done",
                hint=f"leave out {OptionHint(name)}",
            )


@contextmanager
def _open_run_for_work(
    task_name: str,
    *,
    accepts_changes: bool,
    reads_all_rows: bool,
    refresh: bool,
    agreed_usd: float | None,
) -> Iterator[Run]:
    """Open the workspace for writing, with a task as the run's task, for a `with` block.

    Args:
        task_name: The run's task.
        accepts_changes: A changed declaration keeps its version.
        reads_all_rows: All rows of a query are read, not only new rows.
        refresh: Also ask answered rows that changed.
        agreed_usd: The cost that is agreed to; None for no cost.
    """
    with open_configured_run("write", task_name=task_name) as run:
        asking_run = replace(
            run,
            accepts_changes=accepts_changes,
            reads_all_rows=reads_all_rows,
            agreed_usd=agreed_usd,
        )
        yield asking_run.copy_with_asked_rows(AskedRows(has_changed=refresh))


def _print_pass(report: Report) -> None:
    """Print the errors of a pass as warnings, and its results as one line if there are any."""
    warn_of_errors(report.errors, Terminal())
    if report.title:
        print_line(report.title)


def verify_provider(run: Run) -> Report:
    """Test the key and the API with 21 invented rows, for about a cent.

    Asks by batch and live, embeds each row, and deletes its data afterwards. Asks for confirmation
    first. After a kill, the next run continues.

    It measures after how many seconds a new batch is in the provider's list of batches. Later
    commands wait that long before they conclude that a batch was not created.
    """
    return verify.verify_provider(run)


def backup(run: Run, *, target: Annotated[Path, Parameter("", PATH)]) -> Report:
    """Copy the workspace into the new folder TO; other commands may run meanwhile.

    Copies the database, the request and result files of batches, reports and vectors, and checks
    their hashes. TO is complete or does not exist.

    For PostgreSQL it prints the commands to type instead.
    """
    return workspace_backup.back_up_workspace(run.workspace, run.service, target)


def restore(*, from_: Annotated[Path, Parameter("", PATH)]) -> Report:
    """Restore the backup in the folder FROM into the new folder DATA.

    Checks every hash first. The backup has the vectors, so the next `index` costs nothing.

    With DATABASE_URL= of an empty PostgreSQL database, all tables are copied there and counted.
    This moves a workspace from SQLite to PostgreSQL.

    A batch that was prepared before the backup may have been sent after it. The next command that
    sends batches looks for it at the provider first.
    """
    return restore_workspace(read_settings(), from_)


def forget(
    run: Run,
    *,
    expert: Experts = (),
    row: RowKey = None,
    file: Annotated[
        Path | None,
        Parameter("File with one name per line, or CSV file with a Username or key column.", PATH),
    ] = None,
) -> Report:
    """Delete people, rows or a task everywhere: rows, answers, requests, replies, vectors, builds.

    Without a name, the task of a typed TASK is deleted, with its rows, answers, corrections and
    files. Its costs stay.

    Name people by usernames or --file, and rows of your task by --row, or by TASK= and --file.
    Names without an option mean rows of TASK. If the file is the REPORT= of an import, only the
    people that the report lists as gone from the imported file are deleted. A row that another
    program has deleted from the table has no name any more; name it by its id.

    The lines about a row are removed from all request and result files. The source of your task
    cannot bring a deleted row back, because a hash of its key is stored. Counts and cost of each
    batch stay, without personal data.

    Asks for confirmation first. Deletes nothing if a name is unknown, or if its row is in an open
    batch. At the end it builds the index again if the index may contain a deleted row, and deletes
    all other builds. After a kill, the same command continues. It prints which copies it cannot
    reach.
    """
    name_count = [bool(expert), row is not None, file is not None].count(True)
    # A task of the environment or of .env is not deleted by a bare `forget`.
    if not name_count and read_typed_settings(["task"]):
        return row_erasure.forget_task(run)
    if name_count != 1:
        raise InputError(
            f"forget needs one of {OptionHint('expert')}, {OptionHint('file')}, "
            f"{OptionHint('row')} and {OptionHint('task')}; nothing was changed",
            hint=f"`{CommandHint('items')}` lists the names",
        )

    names = split_names(",".join(expert))
    if file is not None:
        names = row_erasure.read_row_names_from_file(run.workspace.store, run.task, file)
    elif row is not None:
        names = [row]
    return row_erasure.forget_rows(run, names)


def doctor(run: Run) -> Report:
    """Check all stored data and the backend; change nothing.

    For each problem it prints why it matters and which command repairs it.

    Exit code 0: no problem, or only notices. 3: the key is refused. 4: the backend does not answer.
    5: stored data contradict each other.
    """
    return workspace_check.check_and_report_workspace(
        run.workspace, run.service, run.task, run.tasks
    )


def clean(run: Run, *, dry: Dry = False) -> Report:
    """Delete files, builds, reports and vectors that nothing needs.

    If they are older than ASKROWS_KEEP_DAYS, it deletes the request, result and lock files of
    batches that are over, builds, reports, and vectors of texts that no row has. It deletes
    leftovers of killed commands of any age.

    Rows, answers, counts and cost of all batches, hashes of their lines, and the build of the index
    that searches use stay. Prints the numbers of deleted files, or that nothing is old enough.
    """
    return file_cleanup.clean_workspace(run.workspace, run.tasks, dry=dry)


def remove_tables(
    run: Run,
    *,
    give_up: Annotated[
        bool,
        Parameter("Also abandon open batches; their results are lost."),
    ] = False,
) -> Report:
    """Delete askrows' tables, views and indexes from the database.

    Asks for confirmation first. Deletes all of them or none.

    Tables of other programs stay unchanged, with the answers that were written into them. The
    tables of people, passages and images are deleted if askrows created them. The folder of the
    workspace stays.
    """
    return table_removal.remove_askrows_tables(
        run.workspace.store, confirm=run.workspace.confirm, should_abandon_batches=give_up
    )


def versions(run: Run) -> Report:
    """List all versions of answers with their rows, dates and cost (USD).

    Includes versions without answers yet, and versions that other programs wrote into the tables.
    Lists all tasks, or only TASK if it is set.
    """
    return answer_versions.report_versions(run.workspace, run.task, run.tasks)


def rollback(*, answer_version: Annotated[str, Parameter("", VERSION)]) -> Report:
    """Delete the answers of ANSWER_VERSION, such as passage-concepts@2 or passage-concepts@2/MODEL.

    Asks for confirmation first. Deletes all of them or none. Rows of this version can be asked
    again, and rows that it parked are unparked. Other versions, corrections by people and imported
    answers stay. Prints the numbers of deleted answers and unparked rows. A version without answers
    is no error; a line says so. The index still has the answers until the next `index`. (`index
    --rollback` is something else, and deletes no answer.)

    After the last answer of the local engine is deleted, the workspace can use a provider.
    """
    # BACKEND=gemini may be set already, although the workspace still uses the local engine.
    settings = replace(read_settings(), backend=None)
    # The version names its task.
    with open_configured_run("write", settings=settings, may_span_tasks=True) as run:
        report = answer_versions.delete_version_answers(run, answer_version)
        set_next_step_if_missing(report, run)
        return report


def qc(run: Run, *, answer_version: Version = None) -> Report:
    """Measure the answers of a task against its gates, and write a report into DATA/reports.

    A gate is a bound on a quality figure. Exit code 6 if a gate fails.
    GATES="evidence=0.95,concepts=3..16" sets other bounds. If there are no answers, it writes no
    report and says so; for a named version that is an error.

    A report contains samples of the database: protect it like the database.
    """
    return evaluate.measure_and_report_quality(
        run.workspace, run.service, run.task, tasks=run.tasks, version=answer_version
    )


def parked(run: Run) -> Report:
    """List the parked rows of TASK, which are not asked again, with the reason and the time.

    `unpark` releases them.
    """
    return listed_rows.report_parked_rows(run.workspace, run.task)


def unpark(
    run: Run,
    *,
    row: RowKey = None,
    all_: Annotated[bool, Parameter("Release all parked rows.")] = False,
) -> Report:
    """Release a parked row, or with --all all parked rows, so that they are asked again.

    Earlier failed attempts no longer count. Name a row by its key, and a person by username. --all
    asks for confirmation.

    Rows that `forget` is deleting stay parked.
    """
    return listed_rows.unpark_rows(run.workspace, run.task, name=row, all_rows=all_)
