"""Commands that maintain a workspace.

- Run due units of work: `work` and `worker`.
- Copy the workspace, check it, and clean it up: `backup`, `restore`, `doctor`, `clean`.
- Delete people, versions and tables: `forget`, `rollback`, `remove-tables`.
- Judge answers, and list versions and parked rows: `qc`, `versions`, `parked`, `unpark`.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from jobs.command import has_yes_option, open_configured_workspace, should_print_json
from jobs.exit_codes import listen_on_port
from jobs.options import (
    PATH,
    VERSION,
    CommandReport,
    CountParam,
    Dry,
    Expert,
    Experts,
    Item,
    Parameter,
    Passage,
    Version,
)
from jobs.output import (
    Output,
    Terminal,
    TextTable,
    log_times,
    print_fields,
    print_line,
    raise_all,
)
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.ops import backup as workspace_backup
from pipeline.ops import clean as file_cleanup
from pipeline.ops import doctor as workspace_check
from pipeline.ops import forget as row_erasure
from pipeline.ops import items as row_items
from pipeline.ops import remove_tables as table_removal
from pipeline.ops import versions as answer_versions
from pipeline.ops.restore import restore_workspace
from pipeline.quality import evaluate
from pipeline.quality.report import QualityReport
from pipeline.workflows import verify
from pipeline.workflows import work as work_units

UnitNames = Annotated[
    str,
    Parameter(f"Only these units: {', '.join(work_units.UNIT_NAMES)}.", metavar="UNIT,…"),
]
VERSION_HEADERS = ("task", "version", "model", "rows", "items", "first", "last", "cost")
# Displayed verdicts of a gate: passed, failed, or not judged.
VERDICTS = {True: "pass", False: "FAIL", None: ""}


def work(
    *,
    once: Annotated[bool, Parameter("Go through it once, then end.")] = False,
    only: UnitNames = "",
) -> CommandReport:
    """Do whatever is due: look, download, ingest, embed, read rows, ask again, prepare, send, build the index.

    For every task of the workspace, or TASK=. With --once it goes through it once, for cron and other schedulers: it
    prints one line with its time, or none where nothing was due, and exits 0 where something is left for later, of
    which the document says what and in how many seconds. Any number may run at once, on PostgreSQL on several machines.
    Nothing is spent beyond budgets, and above FINDABLE_CONFIRM_ABOVE nothing is sent without --yes. Without --once it
    goes on until it is stopped.
    """
    unit_names = _parse_unit_names(only)
    settings = read_settings()
    # Passes are repeated for ever, so that there is no end at which to print a document.
    if not once and should_print_json():
        raise InputError(
            "a document is printed at the end, and this has none",
            hint=f"add {OptionHint(once=True)}",
        )
    if not should_print_json():
        log_times()

    with open_configured_workspace("write", is_whole_workspace=True) as ws:
        task_names = [task.subject for task in ws.tasks]
        location = {"workspace": str(ws.data.absolute()), "database": ws.store.display_name}
    # Without TASK= the setting has a default, which selects no task here.
    if "task" in settings.sources:
        task_names = [settings.task]

    if not once:
        work_units.run_passes_forever(_open_task, task_names, unit_names, _print_pass)
    report = work_units.run_pass(_open_task, task_names, unit_names)

    output: Output = "; ".join(report.lines)
    if not output:
        # Without a terminal nothing is printed, because cron mails every output.
        output = "nothing was due" if sys.stdout.isatty() else []
    return CommandReport(location | report.document, output, partial(raise_all, report.failures))


@contextmanager
def _open_task(task_name: str) -> Iterator[WorkspaceSession]:
    """Open the workspace for writing with a task in use; `--yes` agrees to any cost.

    Without `--yes` no cost is agreed to in advance.
    """
    with open_configured_workspace("write", task_name=task_name) as ws:
        ws.agreed_usd = math.inf if has_yes_option() else None
        yield ws


def _print_pass(report: work_units.WorkReport) -> None:
    """Print the errors of a pass as warnings, and its results as one line if there are any."""
    for error in report.failures:
        Terminal().warn(f"{error.message}; {error.hint}")
    if report.lines:
        print_line("; ".join(report.lines))


def worker(
    *,
    concurrency: Annotated[int, Parameter("Jobs at once.", CountParam(1, 64))] = 4,
    only: UnitNames = "",
    port: Annotated[
        int | None,
        Parameter("Serve /healthz, /readyz, /metrics here.", CountParam(0, 65535)),
    ] = None,
    host: Annotated[str, Parameter("Address for --port.")] = "127.0.0.1",
    setup: Annotated[bool, Parameter("Make the tables of jobs, then end.")] = False,
) -> CommandReport | None:
    """Do what is due of all tasks until it is stopped, beside other workers; on PostgreSQL.

    --setup makes the tables of jobs, in a schema of their own in the workspace's database. Jobs are told in JSON lines.
    Within 30 s of SIGTERM it ends, and others go on with what it had. Above CONFIRM_ABOVE it sends only with --yes.
    """
    from pipeline.workflows import worker as job_worker

    if setup:
        with open_configured_workspace("write", is_whole_workspace=True) as ws:
            document = {"made": job_worker.create_job_tables(ws)}
        message = f"the schema {job_worker.JOB_SCHEMA} is there"
        return CommandReport(document, message, hint=CommandHint("worker"))

    settings = read_settings()
    unit_names = _parse_unit_names(only)
    listening_socket = None if port is None else listen_on_port("worker", host, port)
    job_worker.run_worker(
        settings,
        unit_names,
        concurrency=concurrency,
        agrees=has_yes_option(),
        listening=listening_socket,
    )
    return None


def _parse_unit_names(text: str) -> list[str]:
    """Split a text at its commas into names of units; a blank text gives all units.

    Raises:
        InputError: A name is not a unit.
    """
    unit_names = [name.strip() for name in text.split(",") if name.strip()]
    unknown_names = [name for name in unit_names if name not in work_units.UNIT_NAMES]
    if unknown_names:
        raise InputError(
            f"{unknown_names[0]!r} is no unit; nothing was done",
            hint=f"{OptionHint('only')} takes some of {', '.join(work_units.UNIT_NAMES)}",
        )
    return unit_names or list(work_units.UNIT_NAMES)


def verify_gemini(ws: WorkspaceSession) -> CommandReport:
    """Meet the API with five invented rows, by batch and live, and a vector of each, for about a cent.

    Asks first. It says how late a new batch is listed, for which commands wait from then on, and leaves nothing behind;
    where it was killed, the next run goes on.
    """
    document = verify.run(ws)
    print_facts = partial(print_fields, list(document["facts"].items()))
    if document["backend"] == "local":
        outcome = "Gemini was not checked: the local engine answered all rows"
        next_step = f"set GEMINI_API_KEY, then {CommandHint('verify-gemini')}"
    else:
        outcome = f"{format_usd(document['cost'])} spent; all rows were answered"
        next_step = str(CommandHint("status"))
    return CommandReport(document, [print_facts, f"{outcome}. Next: {next_step}"])


def backup(ws: WorkspaceSession, *, to: Annotated[Path, Parameter("", PATH)]) -> CommandReport:
    """Copy the whole workspace into the folder TO, which must not exist yet, while others read and write it.

    Copies the database, sealed files, reports and embedded vectors, each with its hash, and no other files.
    TO is complete or does not exist. Of a database on PostgreSQL it prints what to type instead.
    """
    report = workspace_backup.back_up_workspace(ws, to)
    if report.typed:
        introduction = (
            "The database is on a server, whose own programs copy it. Type, in this order:"
        )
        return CommandReport(asdict(report), [introduction, *report.typed])

    files = f"{plural(report.files, 'file')}, {report.size:,} bytes in {report.path}"
    return CommandReport(asdict(report), f"{files}. Each hash was checked")


def restore(*, from_: Annotated[Path, Parameter("", PATH)]) -> CommandReport:
    """Put the backup in the folder FROM into DATA, a new folder, after checking every hash; `index` then costs nothing.

    With DATABASE_URL=, an empty PostgreSQL database, every table is copied there and counted: the way out of SQLite.
    Batches that were prepared when the backup was made are looked for at the API before anything is sent again.
    """
    report = restore_workspace(read_settings(), from_)
    output: list[Any] = []
    if report.rows:
        row_count = plural(sum(report.rows.values()), "row")
        output.append(
            f"{row_count} of {len(report.rows)} tables are in {report.database}; "
            "tables of other programs, and columns that they added, are in the backup alone",
        )
    elif report.database:
        output.append(f"an earlier run copied all tables to {report.database}")

    files = f"{plural(report.files, 'file')} of {report.made_at} are in {report.path}"
    output.append(f"{files}. Next: {CommandHint('doctor')}")
    return CommandReport(asdict(report), output)


def forget(
    ws: WorkspaceSession,
    *,
    expert: Experts = (),
    item: Item = None,
    file: Annotated[
        Path | None,
        Parameter("A file of names, a line each, or a CSV file with a column of them.", PATH),
    ] = None,
) -> CommandReport:
    """Remove people everywhere: row, answers, lines in sealed files, vectors, older builds.

    Takes several usernames, or a FILE of them: a name a line, a CSV file with a Username column, or what REPORT= of an
    import says is missing. With --item one item of a task of your own, or with TASK= and FILE= several, which their
    source does not bring back: a digest of each key is kept. An id does where another program deleted the row.

    Asks first, and begins with none if one is unknown or in an open batch. The index is built once, at the end. The
    account of each batch stays, without anything of the people. If it was killed, the same command resumes. It says
    what is out of its reach.
    """
    if [bool(expert), item is not None, file is not None].count(True) != 1:
        people_options = f"{OptionHint(expert='…')}, {OptionHint(file='…')}"
        row_options = f"{OptionHint(task='…')} {OptionHint(item='…')}"
        raise InputError(f"name some: {people_options}, or {row_options}; nothing was changed")

    # A name may contain a comma: only the task knows the names in a text.
    if file is not None:
        names = row_erasure.read_names(ws, file)
    elif item is not None:
        names = [item]
    else:
        names = row_erasure.split_names(ws, expert)
    report = row_erasure.run(ws, names)
    return CommandReport(asdict(report), _forget_lines(report, names, ws.task.labels))


def _forget_lines(
    report: row_erasure.ForgetReport,
    names: Sequence[str],
    labels: TaskLabels,
) -> list[str]:
    """Return the lines of `forget`: counts of the removed data, and copies out of reach.

    Lines about rows that were already deleted, and about quality reports, are left out if there are
    no such rows or reports.

    Args:
        names: The names of the forgotten people or rows; at least one.
    """
    subject = f"{names[0]} is" if len(names) == 1 else f"{len(names):,} {labels.plural} are"
    files = f"{plural(report.lines, 'line')} of {plural(len(report.files), 'sealed file')}"
    lines = [f"{subject} forgotten: {files}, {plural(report.vectors, 'vector')}, and every row"]

    if report.went_on:
        lines.append("A row was gone before; what was left of it went now")
    if report.reports:
        removal = f"{plural(report.reports, 'file')} of reports that named them went too"
        lines.append(f"{removal}. Next: {labels.command('qc')}")
    lines.append(f"Out of reach: {report.out_of_reach}")
    return lines


def doctor(ws: WorkspaceSession) -> CommandReport:
    """Check the workspace against itself and the backend; say of what is wrong why it matters, and what to type.

    Nothing is changed. Exit code 0 if all is well or needs only a notice; 3 or 4 if the key is refused or the backend
    cannot be reached; 5 if the stored data is inconsistent.
    """
    report = workspace_check.check_workspace(ws)
    output: list[Any] = [f"{subject}: {summary}" for subject, summary, _ in report.row_summaries]

    # A notice is no warning, because it does not change the exit code.
    for check_name, finding in report.findings:
        line = f"{check_name}: {finding.said}: {finding.why}"
        if finding.next:
            line += f". To repair it: {finding.next}"
        output.append(partial(Terminal().warn, line) if finding.contradiction else line)

    if not report.contradictions:
        checks = plural(report.check_count, "check")
        output.append(f"{checks} passed: nothing contradicts what is stored")
    return CommandReport(report.document, output, report.raise_errors)


def clean(ws: WorkspaceSession, *, dry: Dry = False) -> CommandReport:
    """Remove sealed files, builds and reports older than KEEP_DAYS, unneeded vectors and lock files, and leftovers.

    People, answers, the accounts of all batches, hashes of the lines of their files, and the index in service stay.
    """
    report = file_cleanup.run(ws, dry=dry)
    if report.is_empty:
        message = f"nothing to clean: everything unneeded is younger than {report.keep_days:g} days"
        return CommandReport(asdict(report), message)

    counts = (
        f"{plural(report.files, 'file')} of {plural(len(report.batches), 'batch', 'batches')}",
        f"{report.size:,} bytes",
        plural(len(report.builds), "build"),
        f"{plural(len(report.reports), 'file')} of reports",
        plural(len(report.litter), "left-over"),
        plural(report.locks, "lock file"),
        f"{plural(report.vectors, 'vector')} of texts that no row has",
    )
    action = "would remove" if dry else "removed"
    return CommandReport(asdict(report), f"{action} {', '.join(counts)}")


def remove_tables(
    ws: WorkspaceSession,
    *,
    give_up: Annotated[
        bool,
        Parameter("Also while batches are under way; what they bring is lost."),
    ] = False,
) -> CommandReport:
    """Remove findable's own tables, views and indexes from the database, after a question.

    All of it goes, or nothing. Tables of another program stay, with every column and value in them, also those that
    answers were written to. People, passages and images go if findable made their table. The workspace's folder stays.
    """
    report = table_removal.remove_findable_tables(ws, should_abandon_batches=give_up)
    table_counts = f"{len(report.tables)} tables, {len(report.views)} views"
    message = (
        f"{table_counts} and {len(report.indexes)} indexes were removed from "
        f"{ws.store.display_name}"
    )
    if report.left:
        message += f"; {', '.join(report.left)} stay as they are"
    return CommandReport(asdict(report), message)


def versions(ws: WorkspaceSession) -> CommandReport:
    """List every version of answers, of other programs too: rows, items, dates, cost.

    Lists experts and passages; with TASK=passages, or your own task, those alone.
    """
    summaries = answer_versions.read_all_versions(ws)
    if not summaries:
        return CommandReport([], "no versions yet")

    rows = []
    for summary in summaries:
        counts = summary.counts._replace(model=summary.counts.model or "-")
        rows.append((summary.subject, *counts, format_usd(summary.cost)))
    document = [summary.document for summary in summaries]
    return CommandReport(document, TextTable(VERSION_HEADERS, rows))


def rollback(*, extractor: Annotated[str, Parameter("", VERSION)]) -> CommandReport:
    """Take back the answers of EXTRACTOR: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. All of it goes, or nothing; other versions and imported answers stay. When nothing is left of what
    the local engine answered, the workspace can use Gemini.
    """
    # BACKEND=gemini may be set already, although the workspace still uses the local engine.
    settings = replace(read_settings(), backend=None)
    with open_configured_workspace("write", settings=settings) as ws:
        report = answer_versions.roll_back(ws, extractor)

    if report.versions:
        counts = f"{plural(report.rows, 'row')} and {plural(report.answers, 'answer')}"
        message = f"{counts} of {extractor} taken back"
        if report.let_go:
            message += f", {plural(report.let_go, 'item')} parked no more"
        output = [f"{message}. Next: {report.next_command}"]
    else:
        message = f"there are no answers of {extractor}"
        output = [f"{message}. Next: {CommandHint('versions')}, which lists all"]
    if report.unbound:
        output.append(
            "nothing of the local engine is left: "
            "with GEMINI_API_KEY set, this workspace uses Gemini",
        )

    document = {
        "task": report.subject,
        "extractor": extractor,
        "found": [summary.document for summary in report.versions],
        "rows": report.rows,
        "answers": report.answers,
        "attempts": report.attempts,
        "let_go": report.let_go,
        "unbound": report.unbound,
    }
    return CommandReport(document, output)


def qc(ws: WorkspaceSession, *, extractor: Version = None) -> CommandReport:
    """Measure the answers of a task, judge them by its gates, and write a report into the workspace's reports/.

    Exit code 6 if a gate fails. GATES="evidence=0.95,concepts=3..16" sets other bounds. A report holds samples of the
    database: treat it as you treat that.
    """
    report = evaluate.write_report(ws, extractor=extractor)
    if report is not None:
        ws.announce_placeholders()
        document = {**report.document, "placeholder": ws.has_placeholder_answers}
        message = f"{report.line}; the report is {report.path}"
        return CommandReport(document, [_gate_table(report), message], report.check)

    # A task without answers is an error only if the user named a version.
    if extractor is not None:
        raise InputError(
            f"there is no answer of {extractor!r}; no report was written",
            hint=f"`{CommandHint('versions')}` lists whose answers there are",
        )
    labels = ws.task.labels
    message = (
        f"no answers about {labels.plural} under {ws.task.version_label} yet: nothing to measure"
    )
    return CommandReport(None, f"{message}. Next: {labels.command('tag')}")


def _gate_table(report: QualityReport) -> TextTable:
    """Return a table of the gates: figure and value, verdict, bound, number of items.

    The verdict of a gate that was not judged is the reason.
    """
    rows = []
    for gate in report.gates:
        figure = f"{gate.figure.name} {gate.value_text}"
        verdict = gate.unjudged_reason or VERDICTS[gate.passed]
        rows.append((figure, verdict, gate.figure.bounds_text, gate.items))
    return TextTable(("gate", "verdict", "wanted", "items"), rows)


def parked(ws: WorkspaceSession) -> CommandReport:
    """List all people who failed for good and are not asked again, with the reason."""
    parked_rows = row_items.list_parked(ws.store, ws.task)
    row_noun = ws.task.labels.singular
    if not parked_rows:
        return CommandReport([], f"no {row_noun} is parked")

    document = [row.__dict__ for row in parked_rows]
    cells = [(row.name, row.reason, row.since) for row in parked_rows]
    return CommandReport(document, TextTable((row_noun, "reason", "since"), cells))


def unpark(
    ws: WorkspaceSession,
    *,
    expert: Expert = None,
    passage: Passage = None,
    all_: Annotated[bool, Parameter("All that are parked.")] = False,
) -> CommandReport:
    """Let one, or with --all all parked people, be asked again; earlier attempts do not count any more.

    One is named by a username, with TASK=passages by the id of a passage, with your own task by a key. Rows whose tags
    another program wrote as text stay as they are.
    """
    labels = ws.task.labels
    names = row_items.unpark_rows(ws, name=expert or passage, all_rows=all_)
    document = {"unparked": names}
    if not names:
        return CommandReport(document, f"no {labels.singular} to unpark")

    # A task with a pilot gate is asked about by commands of its own.
    tag_command = labels.command("tag")
    if ws.task.needs_pilot:
        tag_command = CommandHint(f"{labels.plural}-backfill")
    row_count = plural(len(names), labels.singular, labels.plural)
    return CommandReport(document, f"{row_count} can be asked again. Next: {tag_command}")
