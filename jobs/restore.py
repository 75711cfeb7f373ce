"""`make restore`: put a backup into a folder that holds no workspace."""

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

    What else lies in DATA stays as it is; killed, the same command ends it. Batches that were prepared when the
    backup was made are looked for at the API before anything is sent again.
    """
    report = restore.run(read_settings(), folder)
    line = f"{plural(report.files, 'file')} of {report.made_at} are in {report.path}. Next: make doctor"
    print_json(asdict(report)) if as_json else print_line(line)
