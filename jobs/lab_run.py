"""`make lab-run VARIANTS=hybrid,words`: measure variants of the search on judged questions."""

from pathlib import Path

import click

from jobs.command import Command, json_option, read_workspace
from jobs.lab import FILE, print_lab_report, qrels_option, queries_option, seed_option, variant_names, variants_option
from jobs.output import Terminal, print_json
from pipeline.index.lab import report_files
from pipeline.index.lab import run as lab
from pipeline.index.lab.open_lab import LabWanted, OpenLab
from pipeline.index.lab.report import lab_document


@click.command(name="lab-run", cls=Command)
@variants_option
@queries_option
@qrels_option
@click.option("--to", type=FILE, envvar="FINDABLE_TO", help="Write the report with plots and runs to this folder.")
@seed_option
@json_option
def main(*, variants: str, queries: Path | None, qrels: Path | None, to: Path | None, seed: int, as_json: bool) -> None:
    """Measure variants of the search on the lab's judged questions, or on those of QUERIES and QRELS.

    All are measured over one build. Prints nDCG@10, MRR, P@5, R@10, R@100 with 95 % intervals, over all questions and
    by type and language, how much of each top ten is judged, and how each variant compares with the first.
    """
    if (queries is None) != (qrels is None):
        raise click.UsageError("name both files, --queries and --qrels, or none. With make: QUERIES=… QRELS=…")
    with read_workspace() as ws, OpenLab(ws) as opened:
        report = lab.run(opened, LabWanted(variant_names(variants), queries, qrels), seed=seed)
        task = ws.task.name
    if report.judged.gone:
        Terminal().warn(f"left out judgements of {report.judged.gone:,} that are not here any more")
    if to is not None:
        Terminal().say(f"written to {report_files.write_lab_report(to, report, task=task)}")
    if as_json:
        print_json(lab_document(report))
    else:
        print_lab_report(report)
