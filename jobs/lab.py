"""What the commands of the test lab share: how files and judges are named, and what was left out is told."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from jobs import values
from jobs.output import Terminal, print_line, print_table
from jobs.values import Count
from pipeline.core.text import first_few
from pipeline.index.lab.intervals import SEED
from pipeline.index.lab.report import SHOWN, comparison_line, estimate_cell
from pipeline.index.lab.run import LabReport
from pipeline.index.lab.systems import SYSTEMS, USUAL

FILE = click.Path(path_type=Path)
queries_option = click.option("--queries", type=FILE, envvar="FINDABLE_QUERIES", help="Questions, as JSON lines.")
qrels_option = click.option("--qrels", type=FILE, envvar="FINDABLE_QRELS", help="Judgements, as TREC or JSON lines.")

variants_option = click.option(
    "--variants",
    default=",".join(USUAL),
    show_default=True,
    metavar="NAME,…",
    envvar="FINDABLE_VARIANTS",
    help=f"What to compare, with the first: {', '.join(SYSTEMS)}, or files.",
)
seed_option = click.option(
    "--seed",
    type=Count(0, 2**63 - 1),
    default=SEED,
    show_default=True,
    envvar="FINDABLE_SEED",
    help="The seed of whatever is drawn.",
)

judge_option = click.option(
    "--judge", type=values.username, envvar="FINDABLE_JUDGE", help="Who judges; without it the user of the system."
)


def variant_names(variants: str) -> tuple[str, ...]:
    """Return the names in a list with commas."""
    return tuple(name.strip() for name in variants.split(",") if name.strip())


def next_key() -> str:
    """Return the key that is pressed, without a terminal the next letter of standard input; empty at its end."""
    if sys.stdin.isatty():
        return click.getchar()
    while (letter := sys.stdin.read(1)).isspace():
        pass
    return letter


def check_given(queries: Path | None, qrels: Path | None) -> None:
    """Refuse a command that no file is named to."""
    if queries is None and qrels is None:
        raise click.UsageError("name a file: --queries or --qrels. With make: QUERIES=… or QRELS=…")


def warn_left_out(left_out: Sequence[str], what: str) -> None:
    """Say which judgements were left out."""
    if left_out:
        Terminal().warn(f"left out judgements of {what}: {first_few(left_out)}")


def print_lab_report(report: LabReport) -> None:
    """Print the figures of each group, and how variants compare."""
    print_line(f"build {report.build.number}: {report.build.count:,} entries, {report.build.model}")
    rows = []
    for group in report.groups:
        for name in report.variants:
            found = report.estimates(name, group)
            rows.append((group.name, len(group.places), name, *(estimate_cell(found[one]) for one in SHOWN)))
    print_table(("questions", "n", "variant", *SHOWN), rows)
    for group in report.groups:
        for name, compared in report.comparisons(group):
            print_line(f"{group.name}: {comparison_line(name, report.variants[0], compared)}")
