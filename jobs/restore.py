"""`make restore`: put a backup into a new folder, or into one with a database on a server."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import Command, json_option
from jobs.dotenv import read_settings
from jobs.output import plural, print_json, print_line
from pipeline.ops import restore


@click.command(name="restore", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_FROM")
@json_option
def main(folder: Path, *, as_json: bool) -> None:
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
