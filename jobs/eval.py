"""`make eval QUERIES=… QRELS=…`: measure the search in service beside BM25 and chance."""

from pathlib import Path

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import print_json, print_table
from pipeline.index import evaluate
from pipeline.index.judged import MEASURES


@click.command(name="eval", cls=Command)
@click.argument("queries", type=click.Path(path_type=Path), envvar="FINDABLE_QUERIES")
@click.argument("qrels", type=click.Path(path_type=Path), envvar="FINDABLE_QRELS")
@json_option
def main(queries: Path, qrels: Path, *, as_json: bool) -> None:
    """Measure the search in service with QUERIES (JSON lines) and QRELS (TREC judgements).

    Prints nDCG@10, MRR, P@5 and R@10 of the search, of a fixed BM25, and of a random order, over the same people, or
    rows of TASK. In the workspace's judged/ the same files, by the names queries.jsonl and qrels.tsv, are what each new
    build is held to before it is promoted.
    """
    with read_workspace() as ws:
        rows = evaluate.run(ws, queries, qrels)
    if as_json:
        print_json(rows)
        return
    cells = [(*list(row.values())[:-1], *(f"{row['figures'][name]:.3f}" for name in MEASURES)) for row in rows]
    print_table(("system", "type", "queries", *MEASURES), cells)
