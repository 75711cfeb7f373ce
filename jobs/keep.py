"""Keep a workspace: copy it, check it, and take out of it what nothing needs, or one item."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs import values
from jobs.command import Command, WritingCommand, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.output import Terminal, plural, print_json, print_line
from jobs.typed import as_typed
from jobs.variables import read_settings
from pipeline.ops import backup, clean, doctor, forget, restore


@click.command(name="backup", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_TO")
@json_option
def make_backup(folder: Path, *, as_json: bool) -> None:
    """Copy the whole workspace into FOLDER, which must not exist yet, while other commands read and write it.

    Copies the database, sealed files, the index in service and the vectors, each with its hash, and no other files.
    FOLDER is complete or does not exist. Of a database on PostgreSQL it prints what to type instead.
    """
    with read_workspace(whole=True) as ws:
        report = backup.run(ws, folder)
    if as_json:
        print_json(asdict(report))
    elif report.typed:
        print_line("The database is on a server, whose own programs copy it. Type, in this order:")
        for line in report.typed:
            print_line(line)
    else:
        print_line(f"{plural(report.files, 'file')}, {report.size:,} bytes in {report.path}. Each hash was checked")


@click.command(name="restore", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_FROM")
@json_option
def restore_backup(folder: Path, *, as_json: bool) -> None:
    """Put the backup in FOLDER into DATA, a folder without a workspace, after checking every hash.

    With DATABASE_URL=, an empty PostgreSQL database, every table is copied there and counted: the way out of SQLite.
    What else lies in DATA stays as it is; killed, the same command ends it. Batches that were prepared when the
    backup was made are looked for at the API before anything is sent again.
    """
    report = restore.run(read_settings(), folder)
    if as_json:
        print_json(asdict(report))
        return
    if report.rows:
        print_line(f"{plural(sum(report.rows.values()), 'row')} of {len(report.rows)} tables are in {report.database}")
    if report.left_behind:
        print_line(f"not ours, and left in the backup alone: {', '.join(report.left_behind)}")
    print_line(f"{plural(report.files, 'file')} of {report.made_at} are in {report.path}. Next: make doctor")


@click.command(name="forget", cls=WritingCommand)
@click.argument("username", type=values.username, required=False, envvar="FINDABLE_EXPERT")
@click.option("--item", type=values.username, envvar="FINDABLE_ITEM", help="An item of the task TASK=, by its key.")
@yes_option
@json_option
def forget_one(username: str | None, *, item: str | None, yes: bool, as_json: bool) -> None:
    """Remove one person everywhere: row, answers, lines in sealed files, vectors, uploads, older builds.

    With --item one item of a task of your own, which its source does not bring back: a digest of its key is kept. An id
    does where another program deleted the row.

    Asks first. The account of each batch stays, without anything of the person. If it was killed, the same command
    resumes. It says what is out of its reach.
    """
    if (item is None) == (username is None):
        raise click.UsageError("name one: USERNAME or --item. With make: EXPERT=…, or TASK=… ITEM=…")
    name = item or username or ""
    with open_workspace(task="experts" if item is None else None) as ws:
        words = ws.task.words
        report = forget.run(ws, name, confirm=lambda question: confirmed(question, yes=yes))
    if as_json:
        print_json(asdict(report))
        return
    lines = f"{plural(report.lines, 'line')} of {plural(len(report.files), 'sealed file')}"
    uploads = plural(report.uploads, "upload")
    print_line(f"{name} is forgotten: {lines}, {plural(report.vectors, 'vector')}, {uploads}, and every row")
    if report.went_on:
        print_line("Its row was gone before; what was left of it went now")
    if report.reports:
        print_line(f"{plural(report.reports, 'file')} of reports that named them went too. Next: {words.make('qc')}")
    print_line(f"Out of reach: {report.out_of_reach}")


@click.command(name="doctor", cls=Command)
@json_option
def check(*, as_json: bool) -> None:
    """Check the workspace against itself and the backend; say of what is wrong why it matters, and what to type.

    Nothing is changed. Exit code 0 if all is well or needs only a notice; 3 or 4 if the key is refused or the backend
    cannot be reached; 5 if the stored data is inconsistent.
    """
    with read_workspace(whole=True) as ws:
        report = doctor.run(ws)
    print_json(doctor.document(report)) if as_json else _show_checked(report)
    report.check()


def _show_checked(report: doctor.DoctorReport) -> None:
    terminal = Terminal()
    for one in report.seen:
        print_line(f"{one.subject}: {one.said}")
    for finding in report.findings:
        line = f"{finding.check}: {finding.said}: {as_typed(finding.why)}"
        line += f". To repair it: {as_typed(finding.next)}" if finding.next else ""
        terminal.warn(line) if finding.contradiction else print_line(line)
    if report.healthy:
        print_line(f"{plural(report.looked, 'check')} done, nothing contradicts what is stored")


@click.command(name="clean", cls=WritingCommand)
@click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only show what would be removed.")
@json_option
def clean_up(*, dry: bool, as_json: bool) -> None:
    """Remove sealed files, builds and reports older than KEEP_DAYS, and leftovers.

    People, answers, the accounts of all batches and the index in service stay.
    """
    with (read_workspace if dry else open_workspace)(whole=True) as ws:
        report = clean.run(ws, dry=dry)
    if as_json:
        print_json(asdict(report))
    elif report.nothing:
        print_line(f"nothing to clean: everything unneeded is younger than {report.keep_days:g} days")
    else:
        took = (
            f"{plural(report.files, 'file')} of {plural(len(report.batches), 'batch', 'batches')}",
            f"{report.size:,} bytes",
            plural(report.uploads, "upload"),
            plural(len(report.builds), "build"),
            f"{plural(len(report.reports), 'file')} of reports",
            f"{plural(len(report.litter), 'left-over')}",
        )
        print_line(f"{'would remove' if dry else 'removed'} {', '.join(took)}")
