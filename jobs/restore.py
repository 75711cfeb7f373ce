"""`make restore`: replace the workspace by a backup."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import Command, confirmed, json_option, yes_option
from jobs.dotenv import read_settings
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.ops import restore


@click.command(name="restore", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_FROM")
@yes_option
@json_option
def main(folder: Path, *, yes: bool, as_json: bool) -> None:
    """Replace the workspace (DATA) by the backup in FOLDER, after checking every hash.

    An existing workspace is moved aside, after asking, and never overwritten. Batches that were prepared when the
    backup was made are looked for at the API before anything is sent again.
    """
    report = restore.run(read_settings(), folder, confirm=lambda question: confirmed(question, yes=yes))
    if report.moved_aside:
        Terminal().say(f"the earlier workspace is in {report.moved_aside}")
    line = f"{plural(report.files, 'file')} of {report.made_at} are in {report.path}. Next: make doctor"
    print_json(asdict(report)) if as_json else print_line(line)
