"""`make export TO=experts.csv`: write the experts with tags and scores, or the concepts, to a file."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs import values
from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, raw_writer
from pipeline.core.errors import InputError
from pipeline.engine.task import ExportWanted
from pipeline.ops import export


@click.command(name="export", cls=Command)
@click.argument("to", type=click.Path(path_type=Path, allow_dash=True), envvar="FINDABLE_TO")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "json", "jsonl", "parquet"]),
    envvar="FINDABLE_FORMAT",
    help="The format, if the ending of TO does not say it.",
)
@click.option("--best", is_flag=True, envvar="FINDABLE_BEST", help="Only the concepts of best-concepts.")
@click.option(
    "--extractor", type=values.extractor, envvar="FINDABLE_EXTRACTOR", help="The version whose answers are written."
)
@click.option("--rows", metavar="FIELD", envvar="FINDABLE_ROWS", help="A row for each member of this list.")
@click.option("--cost", is_flag=True, envvar="FINDABLE_COST", help="What each answer took: tokens and USD.")
@json_option
def main(
    to: Path,
    *,
    format_: str | None,
    best: bool,
    extractor: str | None,
    rows: str | None,
    cost: bool,
    as_json: bool,
) -> None:
    """Write all experts with tags and scores to TO (.csv, .json, .jsonl, .parquet; `-` is standard output).

    With TASK=passages: the concepts with their evidence (.jsonl, .parquet). With a task of your own: each answer beside
    its row, or with --rows a row for each member of a list that the answers hold. They are of one version: the one that
    --extractor or VERSION= names, else the preferred one; how many rows have which is said.

    In CSV, cells that a spreadsheet would run as formulas are written as text. The file is written completely or not at
    all. With --json, standard output gets experts as one JSON list.
    """
    path = None if str(to) == "-" else to
    if path is None and as_json:
        format_ = _as_document(format_)
    wanted = ExportWanted(best, extractor or None, rows or None, cost)
    with read_workspace() as ws:
        done = export.run(ws, path, format_=format_, wanted=wanted, write=raw_writer())
    if path is None:
        Terminal().say(f"{plural(done.count, done.word)} written")
    elif as_json:
        print_json(asdict(done))
    else:
        print_line(f"{plural(done.count, done.word)} written to {done.path}")


def _as_document(format_: str | None) -> str:
    if format_ not in (None, "json"):
        raise InputError(
            f"JSON=1 is for one JSON document, and {format_} is none; nothing was written", hint="leave out either"
        )
    return "json"
