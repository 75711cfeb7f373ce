"""Keep a workspace: do what is due, copy it, check it, judge its answers, and take out of it what nobody needs."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from jobs.command import opened, says_yes, wants_json
from jobs.exit_codes import bound
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
from jobs.output import Terminal, TextTable, log_times, print_fields, print_line, raise_all
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import backup as copying
from pipeline.ops import clean as cleaning
from pipeline.ops import doctor as checking
from pipeline.ops import forget as forgetting
from pipeline.ops import items
from pipeline.ops import remove_tables as removing
from pipeline.ops import versions as version_list
from pipeline.quality import evaluate
from pipeline.workflows import verify
from pipeline.workflows import work as units

Only = Annotated[
    str, Parameter(f"Only these units: {', '.join(units.UNIT_NAMES)}.", metavar="UNIT,…")
]


def work(
    *, once: Annotated[bool, Parameter("Go through it once, then end.")] = False, only: Only = ""
) -> CommandReport:
    """Do whatever is due: look, download, ingest, embed, read rows, ask again, prepare, send, build the index.

    For every task of the workspace, or TASK=. With --once it goes through it once, for cron and other schedulers: it
    prints one line with its time, or none where nothing was due, and exits 0 where something is left for later, of
    which the document says what and in how many seconds. Any number may run at once, on PostgreSQL on several machines.
    Nothing is spent beyond budgets, and above FINDABLE_CONFIRM_ABOVE nothing is sent without --yes. Without --once it
    goes on until it is stopped.
    """
    wanted = _units(only)
    settings = read_settings()
    if not once and wants_json():
        raise InputError(
            "a document is printed at the end, and this has none",
            hint=f"add {OptionHint(once=True)}",
        )
    if not wants_json():
        log_times()
    with opened("write", whole=True) as ws:
        names = [settings.task] if "task" in settings.sources else [one.subject for one in ws.tasks]
        here = {"workspace": str(ws.data.absolute()), "database": ws.store.shown}
    if not once:
        units.run_passes_forever(_opened, names, wanted, _tell)
    told = units.run_pass(_opened, names, wanted)
    shown = "; ".join(told.lines) or ("nothing was due" if sys.stdout.isatty() else lambda: None)
    return CommandReport(here | told.document, shown, lambda: raise_all(told.failures))


@contextmanager
def _opened(task: str) -> Iterator[WorkspaceSession]:
    with opened("write", task=task) as ws:
        ws.agreed = math.inf if says_yes() else None
        yield ws


def _tell(told: units.WorkReport) -> None:
    for error in told.failures:
        Terminal().warn(f"{error.message}; {error.hint}")
    if told.lines:
        print_line("; ".join(told.lines))


def worker(
    *,
    concurrency: Annotated[int, Parameter("Jobs at once.", CountParam(1, 64))] = 4,
    only: Only = "",
    port: Annotated[
        int | None, Parameter("Serve /healthz, /readyz, /metrics here.", CountParam(0, 65535))
    ] = None,
    host: Annotated[str, Parameter("Address for --port.")] = "127.0.0.1",
    setup: Annotated[bool, Parameter("Make the tables of jobs, then end.")] = False,
) -> CommandReport | None:
    """Do what is due of all tasks until it is stopped, beside other workers; on PostgreSQL.

    --setup makes the tables of jobs, in a schema of their own in the workspace's database. Jobs are told in JSON lines.
    Within 30 s of SIGTERM it ends, and others go on with what it had. Above CONFIRM_ABOVE it sends only with --yes.
    """
    from pipeline.workflows import worker as workers

    if setup:
        with opened("write", whole=True) as ws:
            made = {"made": workers.create_job_tables(ws)}
            return CommandReport(
                made, f"the schema {workers.JOB_SCHEMA} is there", hint=CommandHint("worker")
            )
    workers.run_worker(
        read_settings(),
        _units(only),
        concurrency=concurrency,
        agrees=says_yes(),
        listening=None if port is None else bound("worker", host, port),
    )
    return None


def _units(only: str) -> list[str]:
    wanted = [one.strip() for one in only.split(",") if one.strip()] or list(units.UNIT_NAMES)
    if unknown := [one for one in wanted if one not in units.UNIT_NAMES]:
        hint = f"{OptionHint('only')} takes some of {', '.join(units.UNIT_NAMES)}"
        raise InputError(f"{unknown[0]!r} is no unit; nothing was done", hint=hint)
    return wanted


def verify_gemini(ws: WorkspaceSession) -> CommandReport:
    """Meet the API with five invented rows, by batch and live, and a vector of each, for about a cent.

    Asks first. It says how late a new batch is listed, for which commands wait from then on, and leaves nothing behind;
    where it was killed, the next run goes on.
    """
    found = verify.run(ws)
    said = (
        f"{format_usd(found['cost'])} spent; all rows were answered. Next: {CommandHint('status')}"
    )
    return CommandReport(found, [partial(print_fields, [*found["facts"].items()]), said])


def backup(ws: WorkspaceSession, *, to: Annotated[Path, Parameter("", PATH)]) -> CommandReport:
    """Copy the whole workspace into the folder TO, which must not exist yet, while others read and write it.

    Copies the database, sealed files, reports and embedded vectors, each with its hash, and no other files.
    TO is complete or does not exist. Of a database on PostgreSQL it prints what to type instead.
    """
    report = copying.run(ws, to)
    said = f"{plural(report.files, 'file')}, {report.size:,} bytes in {report.path}. Each hash was checked"
    typed = [
        "The database is on a server, whose own programs copy it. Type, in this order:",
        *report.typed,
    ]
    return CommandReport(asdict(report), typed if report.typed else said)


def restore(*, from_: Annotated[Path, Parameter("", PATH)]) -> CommandReport:
    """Put the backup in the folder FROM into DATA, a new folder, after checking every hash; `index` then costs nothing.

    With DATABASE_URL=, an empty PostgreSQL database, every table is copied there and counted: the way out of SQLite.
    Batches that were prepared when the backup was made are looked for at the API before anything is sent again.
    """
    report = copying.restore(read_settings(), from_)
    shown = [
        f"{plural(report.files, 'file')} of {report.made_at} are in {report.path}. Next: {CommandHint('doctor')}"
    ]
    if report.rows:
        said = f"{plural(sum(report.rows.values()), 'row')} of {len(report.rows)} tables are in {report.database}"
        shown.insert(
            0,
            f"{said}; tables of other programs, and columns that they added, are in the backup alone",
        )
    elif report.database:
        shown.insert(0, f"an earlier run copied all tables to {report.database}")
    return CommandReport(asdict(report), shown)


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
        said = (
            f"name some: {OptionHint(expert='…')}, {OptionHint(file='…')}, "
            f"or {OptionHint(task='…')} {OptionHint(item='…')}"
        )
        raise InputError(f"{said}; nothing was changed")
    words = ws.task.words
    names = [item] if item is not None else forgetting.split_names(ws, expert)
    if file is not None:
        names = forgetting.names_in(ws, file)
    report = forgetting.run(ws, names)
    lines = f"{plural(report.lines, 'line')} of {plural(len(report.files), 'sealed file')}"
    whose = f"{names[0]} is" if len(names) == 1 else f"{len(names):,} {words.many} are"
    shown = [f"{whose} forgotten: {lines}, {plural(report.vectors, 'vector')}, and every row"]
    if report.went_on:
        shown.append("A row was gone before; what was left of it went now")
    if report.reports:
        gone = f"{plural(report.reports, 'file')} of reports that named them went too"
        shown.append(f"{gone}. Next: {words.step('qc')}")
    return CommandReport(asdict(report), [*shown, f"Out of reach: {report.out_of_reach}"])


def doctor(ws: WorkspaceSession) -> CommandReport:
    """Check the workspace against itself and the backend; say of what is wrong why it matters, and what to type.

    Nothing is changed. Exit code 0 if all is well or needs only a notice; 3 or 4 if the key is refused or the backend
    cannot be reached; 5 if the stored data is inconsistent.
    """
    report = checking.run(ws)
    shown: list[Any] = [f"{subject}: {said}" for subject, said, _ in report.seen]
    for name, found in report.findings:
        line = f"{name}: {found.said}: {found.why}" + (
            f". To repair it: {found.next}" if found.next else ""
        )
        shown.append(partial(Terminal().warn, line) if found.contradiction else line)
    if not report.contradictions:
        shown.append(f"{plural(report.looked, 'check')} passed: nothing contradicts what is stored")
    return CommandReport(report.document, shown, report.check)


def clean(ws: WorkspaceSession, *, dry: Dry = False) -> CommandReport:
    """Remove sealed files, builds and reports older than KEEP_DAYS, and leftovers.

    People, answers, the accounts of all batches, hashes of the lines of their files, and the index in service stay.
    """
    report = cleaning.run(ws, dry=dry)
    if report.nothing:
        said = f"nothing to clean: everything unneeded is younger than {report.keep_days:g} days"
        return CommandReport(asdict(report), said)
    took = (
        f"{plural(report.files, 'file')} of {plural(len(report.batches), 'batch', 'batches')}",
        f"{report.size:,} bytes",
        plural(len(report.builds), "build"),
        f"{plural(len(report.reports), 'file')} of reports",
        plural(len(report.litter), "left-over"),
        plural(report.locks, "lock file"),
        f"{plural(report.vectors, 'vector')} of texts that no row has",
    )
    return CommandReport(
        asdict(report), f"{'would remove' if dry else 'removed'} {', '.join(took)}"
    )


def remove_tables(
    ws: WorkspaceSession,
    *,
    give_up: Annotated[
        bool, Parameter("Also while batches are under way; what they bring is lost.")
    ] = False,
) -> CommandReport:
    """Remove findable's own tables, views and indexes from the database, after a question.

    All of it goes, or nothing. Tables of another program stay, with every column and value in them, also those that
    answers were written to. People, passages and images go if findable made their table. The workspace's folder stays.
    """
    removed = removing.run(ws, gives_up_batches=give_up)
    counts = f"{len(removed.tables)} tables, {len(removed.views)} views and {len(removed.indexes)} indexes"
    stay = f"; {', '.join(removed.left)} stay as they are" if removed.left else ""
    return CommandReport(asdict(removed), f"{counts} were removed from {ws.store.shown}{stay}")


def versions(ws: WorkspaceSession) -> CommandReport:
    """List every version of answers, of other programs too: rows, items, dates, cost.

    Lists experts and passages; with TASK=passages, or your own task, those alone.
    """
    found = version_list.every_version(ws)
    headers = ("task", "version", "model", "rows", "items", "first", "last", "cost")
    rows = [
        (one.subject, *one.counts._replace(model=one.counts.model or "-"), format_usd(one.paid))
        for one in found
    ]
    return CommandReport(
        [one.document for one in found], TextTable(headers, rows) if rows else "no versions yet"
    )


def rollback(*, extractor: Annotated[str, Parameter("", VERSION)]) -> CommandReport:
    """Take back the answers of EXTRACTOR: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. All of it goes, or nothing; other versions and imported answers stay. When nothing is left of what
    the local engine answered, the workspace can use Gemini.
    """
    settings = replace(read_settings(), backend=None)  # BACKEND=gemini may be set already
    with opened("write", settings=settings) as ws:
        report = version_list.roll_back(ws, extractor)
    done = f"{plural(report.rows, 'row')} and {plural(report.answers, 'answer')} of {extractor} taken back"
    done += f", {plural(report.let_go, 'item')} parked no more" if report.let_go else ""
    none = f"there are no answers of {extractor}. Next: {CommandHint('versions')}, which lists all"
    shown = [f"{done}. Next: {report.next}" if report.found else none]
    if report.unbound:
        shown.append(
            "nothing of the local engine is left: with GEMINI_API_KEY set, this workspace uses Gemini"
        )
    counts = {
        name: getattr(report, name) for name in ("rows", "answers", "attempts", "let_go", "unbound")
    }
    found = [one.document for one in report.found]
    return CommandReport(
        {"task": report.subject, "extractor": extractor, "found": found, **counts}, shown
    )


def qc(ws: WorkspaceSession, *, extractor: Version = None) -> CommandReport:
    """Measure the answers of a task, judge them by its gates, and write a report into the workspace's reports/.

    Exit code 6 if a gate fails. GATES="evidence=0.95,concepts=3..16" sets other bounds. A report holds samples of the
    database: treat it as you treat that.
    """
    report = evaluate.write_report(ws, extractor=extractor)
    words = ws.task.words
    label = ws.task.label
    if report is None and extractor is not None:
        listed = f"`{CommandHint('versions')}` lists whose answers there are"
        raise InputError(f"there is no answer of {extractor!r}; no report was written", hint=listed)
    if report is None:
        said = f"no answers about {words.many} under {label} yet: nothing to measure. Next: {words.step('tag')}"
        return CommandReport(None, said)

    told = {True: "pass", False: "FAIL", None: ""}
    cells = [
        (
            f"{one.figure.name} {one.shown}",
            one.why_not or told[one.passed],
            one.figure.wanted,
            one.items,
        )
        for one in report.gates
    ]
    gates = TextTable(("gate", "verdict", "wanted", "items"), cells)
    return CommandReport(
        report.document, [gates, f"{report.line}; the report is {report.path}"], report.check
    )


def parked(ws: WorkspaceSession) -> CommandReport:
    """List all people who failed for good and are not asked again, with the reason."""
    rows = items.list_parked(ws.store, ws.task)
    words = ws.task.words
    listed = TextTable(
        (words.one, "reason", "since"), [(row.name, row.reason, row.since) for row in rows]
    )
    return CommandReport(
        [row.__dict__ for row in rows], listed if rows else f"no {words.one} is parked"
    )


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
    words = ws.task.words
    ask = CommandHint(f"{words.many}-backfill") if ws.task.needs_pilot else words.step("tag")
    names = items.unpark_items(ws, name=expert or passage, everyone=all_)
    freed = f"{plural(len(names), words.one, words.many)} can be asked again. Next: {ask}"
    return CommandReport({"unparked": names}, freed if names else f"no {words.one} to unpark")
