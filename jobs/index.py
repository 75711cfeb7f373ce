"""Build the index, and measure its search."""

from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import Command, WritingCommand, json_option, open_workspace, read_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table
from pipeline.index import build, evaluate
from pipeline.index.judged import MEASURES


@click.command(name="index", cls=WritingCommand)
@click.option("--rollback", is_flag=True, envvar="FINDABLE_ROLLBACK", help="Put the previous build back in service.")
@click.option(
    "--worse-ok",
    is_flag=True,
    envvar="FINDABLE_WORSE_OK",
    help="Promote it also where judged questions do worse, or over a build of a newer database than this copy.",
)
@json_option
def build_index(*, rollback: bool, worse_ok: bool, as_json: bool) -> None:
    """Rebuild the search index from all tagged people, or that of TASK from its answered rows.

    Only changed texts are embedded. The new build is verified before it replaces the one in service, in one step;
    searches are not disturbed. With 50 judged questions in DATA/judged, a build that does worse on them than the one
    in service, by more than chance, is not promoted (exit code 6).
    """
    with open_workspace() as ws:
        ws.bring_index()
        report = build.roll_back_index(ws) if rollback else build.run(ws, worse_ok=worse_ok)
        collection, words = ws.collection, ws.task.words
    for name in report.moved_aside:
        Terminal().warn(f"a file stood where the index has its links; it is now {name}")
    if as_json:
        print_json(asdict(report))
        return
    count = plural(report.count, collection.word)
    if report.rolled_back:
        print_line(f"build {report.number} is in service again: {count}")
        return
    print_line(
        f"build {report.number} is in service: {count}, {report.embedded:,} embedded, {report.cached:,} cached. "
        f'Next: {words.make("search")} Q="{collection.question}"'
    )


@click.command(name="eval", cls=Command)
@click.argument("queries", type=click.Path(path_type=Path), envvar="FINDABLE_QUERIES")
@click.argument("qrels", type=click.Path(path_type=Path), envvar="FINDABLE_QRELS")
@json_option
def measure_search(queries: Path, qrels: Path, *, as_json: bool) -> None:
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
