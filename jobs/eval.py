"""`make eval QUERIES=… QRELS=…`: measure the search in service beside BM25 and chance."""

from pathlib import Path
from typing import Any

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import print_json, print_table
from pipeline.index.lab import run as lab
from pipeline.index.lab.open_lab import LabWanted, OpenLab
from pipeline.index.lab.run import LabReport

SYSTEMS = {"served": "search ({model})", "bm25": "bm25", "chance": "random"}  # as the table has always named them
NAMES = ("nDCG@10", "MRR", "P@5", "R@10")


@click.command(name="eval", cls=Command)
@click.argument("queries", type=click.Path(path_type=Path), envvar="FINDABLE_QUERIES")
@click.argument("qrels", type=click.Path(path_type=Path), envvar="FINDABLE_QRELS")
@json_option
def main(queries: Path, qrels: Path, *, as_json: bool) -> None:
    """Measure the search in service with QUERIES (JSON lines) and QRELS (TREC judgements).

    Prints nDCG@10, MRR, P@5 and R@10 of the search, of a fixed BM25, and of a random order, over the same people, or
    rows of TASK. `lab-run` does more.
    """
    with read_workspace() as ws, OpenLab(ws) as opened:
        report = lab.run(opened, LabWanted(tuple(SYSTEMS), queries, qrels))
    rows = _rows(report)
    if as_json:
        print_json(rows)
        return
    cells = [(*list(row.values())[:-1], *(f"{row['figures'][name]:.3f}" for name in NAMES)) for row in rows]
    print_table(("system", "type", "queries", *NAMES), cells)


def _rows(report: LabReport) -> list[dict[str, Any]]:
    """Return the figures of each system over all questions, then by type."""
    return [
        {
            "system": SYSTEMS[variant].format(model=report.build.model),
            "type": group.name,
            "queries": len(group.places),
            "figures": {name: float(values[group.places].mean()) for name, values in report.values[variant].items()},
        }
        for group in report.groups
        if group.kind != "language"
        for variant in report.variants
    ]
