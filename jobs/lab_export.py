"""`make lab-export QUERIES=queries.jsonl QRELS=qrels.tsv`: questions and judgements out of the test lab."""

from pathlib import Path

import click

from jobs.command import Command, json_option, read_workspace
from jobs.lab import check_given, qrels_option, queries_option
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.index.lab import export


@click.command(name="lab-export", cls=Command)
@queries_option
@qrels_option
@json_option
def main(queries: Path | None, qrels: Path | None, *, as_json: bool) -> None:
    """Write the questions of the test lab to QUERIES (JSON lines), its judgements to QRELS (TREC, or .jsonl).

    JSON lines say too who judged, and when. Both are as `lab-import` takes them.
    """
    check_given(queries, qrels)
    with read_workspace() as ws:
        report = export.run(ws.store, ws.task, queries=queries, qrels=qrels)
    if report.gone:
        Terminal().warn(f"{plural(report.gone, 'judgement')} left out: of what is not here any more")
    if as_json:
        print_json(report._asdict())
    else:
        print_line(f"{plural(report.questions, 'question')} and {plural(report.judgements, 'judgement')} written")
