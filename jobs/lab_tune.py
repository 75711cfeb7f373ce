"""`make lab-tune`: look for better weights of words and fields, and tell what they are worth on unseen questions."""

from pathlib import Path

import click

from jobs.command import Command, json_option, read_workspace
from jobs.lab import FILE, print_lab_report, qrels_option, queries_option, seed_option
from jobs.output import Terminal, print_json, print_line
from pipeline.core import files
from pipeline.index.lab import tune
from pipeline.index.lab.open_lab import LabWanted, OpenLab
from pipeline.index.lab.report import lab_document


@click.command(name="lab-tune", cls=Command)
@click.option("--variant", envvar="FINDABLE_VARIANT", help="A file that says which groups of fields; else as they are.")
@queries_option
@qrels_option
@click.option("--to", type=FILE, envvar="FINDABLE_TO", help="Write the best weights to this file, a variant.")
@seed_option
@json_option
def main(
    *, variant: str | None, queries: Path | None, qrels: Path | None, to: Path | None, seed: int, as_json: bool
) -> None:
    """Choose the share of words beside vectors, and what each group of fields counts, by cross-validation.

    The questions are dealt into five folds; each is ranked by weights that were chosen on the other four, so the
    figures are of questions that had no part in the choice. Nothing is changed: the weights are printed, or written to
    the file TO.
    """
    if (queries is None) != (qrels is None):
        raise click.UsageError("name both files, --queries and --qrels, or none. With make: QUERIES=… QRELS=…")
    with read_workspace() as ws, OpenLab(ws) as opened:
        report = tune.run(opened, LabWanted((variant,) if variant else (), queries, qrels), seed=seed)
    if to is not None:
        files.seal_bytes(files.target_of(to), report.as_toml().encode())
        Terminal().say(f"written to {to}")
    if as_json:
        ends = {"usual": report.usual._asdict(), "best": report.best._asdict()}
        print_json({**lab_document(report.lab), **ends, "folds": [one._asdict() for one in report.folds]})
        return
    print_lab_report(report.lab)
    print_line(f"as it is: {report.usual}")
    for number, weights in enumerate(report.folds, start=1):
        print_line(f"chosen without fold {number}: {weights}")
    print_line(f"best on all: {report.best}")
    print_line(f"on held-out folds: {report.verdict}")
