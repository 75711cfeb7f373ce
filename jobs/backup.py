"""`make backup`: a copy of the whole workspace in one folder."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import plural, print_json, print_line
from pipeline.ops import backup


@click.command(name="backup", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_TO")
@json_option
def main(folder: Path, *, as_json: bool) -> None:
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
