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
    FOLDER is complete or does not exist.
    """
    with read_workspace(whole=True) as ws:
        report = backup.run(ws, folder)
    line = f"{plural(report.files, 'file')}, {report.size:,} bytes in {report.path}. Each hash was checked"
    print_json(asdict(report)) if as_json else print_line(line)
