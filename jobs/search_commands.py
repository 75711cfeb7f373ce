"""Build the index, find in it the experts who fit a question, or rows of a task of one's own, and measure that."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from jobs.options import PATH, TEXT, CommandReport, CountParam, MinScore, Parameter, Tag, Where
from jobs.output import TextTable, print_marked, print_text
from jobs.variables import nearest
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.ranking import RankMode
from pipeline.core.text import first_few, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.index import build, evaluate
from pipeline.index.evaluate import MEASURES
from pipeline.index.hits import format_hit_heading, hit_to_document
from pipeline.ops import items

if TYPE_CHECKING:
    from pipeline.engine.task import IndexedTask, TaskLabels
    from pipeline.index.hits import Hit
    from pipeline.index.search import SearchReport

INDENT = " " * 5  # of what stands below the name of a hit
CUT = 120  # characters of a text in a table
MARK = "**"  # before and behind a word of the question, where nothing is bold


def index(
    ws: WorkspaceSession,
    *,
    rollback: Annotated[bool, Parameter("Put the previous build back in service.")] = False,
    worse_ok: Annotated[
        bool,
        Parameter(
            "Promote it also where judged questions do worse, it holds nothing, or this copy of the database is older."
        ),
    ] = False,
) -> CommandReport:
    """Rebuild the search index from all tagged people, or that of TASK from its answered rows.

    Only changed texts are embedded. The new build is verified before it replaces the one in service, in one step;
    searches are not disturbed. With 50 judged questions in DATA/judged, a build that does worse on them than the one
    in service, by more than chance, is not promoted (exit code 6).
    """
    ws.bring_index()
    report = build.roll_back_index(ws) if rollback else build.run(ws, worse_ok=worse_ok)
    collection = ws.collection
    words = ws.task.words
    for name in report.moved_aside:
        ws.display.warn(f"a file stood where the index has its links; it is now {name}")
    count = plural(report.count, collection.word)
    if report.refused:
        with ws.store.read() as tx:
            names = ws.task.table(tx).names(tx, list(report.refused))
        shown_names = first_few([names.get(entry_id, entry_id) for entry_id in report.refused])
        reason = next(iter(report.refused.values()))
        ws.display.warn(
            f"{len(report.refused):,} texts are not in the index: {shown_names} ({reason})"
        )
    said = f"build {report.number} is in service{' again' * report.rolled_back}: {count}"
    if not report.count:
        said = f"nothing is to be found: build {report.number} was taken away"
    elif not report.rolled_back:
        said += f", {report.embedded:,} embedded, {report.cached:,} cached"
        if report.left_out:
            why = ", ".join(
                f"{held:,} {name.replace('_', ' ')}" for name, held in report.left_out.items()
            )
            said += f", of {plural(report.out_of, words.one, words.many)} ({why})"
        said += ". "
        said += f"Next: {words.step('search', q=collection.question)}"
    return CommandReport(asdict(report), said)


def measure(
    ws: WorkspaceSession,
    *,
    queries: Annotated[Path, Parameter("", PATH)],
    qrels: Annotated[Path, Parameter("", PATH)],
) -> CommandReport:
    """Measure the search in service with QUERIES (JSON lines) and QRELS (TREC judgements).

    Prints nDCG@10, MRR, P@5 and R@10, with 95 % intervals, of the search by each rank and of a fixed BM25 over the same
    people, or rows of TASK, and of how many questions all hits are weak. In the workspace's judged/ the same files, by
    the names queries.jsonl and qrels.tsv, are what each new build is held to before it is promoted.
    """
    rows = evaluate.run(ws, queries, qrels)

    told = "{:.3f} [{:.3f}, {:.3f}]".format
    cells = [
        (
            *(
                row["system"],
                row["type"],
                row["queries"],
                *(told(*row["figures"][name]) for name in MEASURES),
            ),
            "" if row["weak"] is None else f"{row['weak']:.1%}",
        )
        for row in rows
    ]
    return CommandReport(rows, TextTable(("system", "type", "queries", *MEASURES, "weak"), cells))


def search(
    ws: WorkspaceSession,
    *,
    q: Annotated[str, Parameter("What is looked for.", metavar="[QUESTION]")] = "",
    k: Annotated[int, Parameter("How many.", CountParam(1, 1000))] = 10,
    rank: Annotated[
        Any,
        Parameter(
            "By what: words (BM25), vectors (meaning), or both.",
            click.Choice([str(one) for one in RankMode]),
        ),
    ] = str(RankMode.HYBRID),
    tag: Tag = "",
    min_score: MinScore = None,
    where: Where = "",
    like: Annotated[str, Parameter("Those most like this one, without it.", TEXT)] = "",
) -> CommandReport:
    """Find the experts who fit a question best in the index in service, or the rows of TASK.

    A phrase between quotation marks must stand in the text; an entry with a word behind a hyphen (-word) is left out.
    """
    from pipeline.index.search import SearchSession, make_search_options

    if q and like:
        raise InputError(
            f"{OptionHint('q')} and {OptionHint('like')} do not go together",
            hint="leave one of them out",
        )
    if not q and not like:
        raise InputError(
            "there is no question",
            hint=f"`{ws.task.words.step('search', q='who knows water law')}`",
        )
    options = make_search_options(k, rank=rank, tag=tag, min_score=min_score, where=where)
    with SearchSession(ws) as opened:
        report = opened.ask_like(like, options) if like else opened.ask(q, options)
        words = opened.words
        hits = report.hits
        collection = opened.collection
        for line in _told(report, words):
            ws.display.warn(line)
        document = [hit_to_document(collection, hit) for hit in hits]
        absent = [] if hits else [one for one in options.tags if not opened.has_tag(one)]
    known = (items.counts(ws).tags or {}) if absent else {}
    for name in absent:
        meant = nearest(name, known)
        ws.display.warn(
            f"nothing in the index has the tag {name!r}"
            + (f"; did you mean {meant}?" if meant else "")
        )
    if not hits:
        return CommandReport(document, f"no {collection.word} was found")
    if sys.stdout.isatty():
        return CommandReport(document, [partial(_show, collection, hit) for hit in hits])
    rows = [
        (
            *(_cell(found[name]) for name in collection.columns.values()),
            *(
                hit.why,
                MARK.join(hit.snippet.pieces) if hit.snippet else "",
            ),  # every second piece is marked
        )
        for hit, found in zip(hits, document, strict=True)
    ]
    return CommandReport(document, TextTable((*collection.columns, "why", "matched"), rows))


def _told(report: "SearchReport", words: "TaskLabels") -> Iterator[str]:
    if report.behind:
        behind = plural(report.behind, words.one, words.many)
        yield f"the index is behind the database by {behind}: `{words.step('index')}`"
    if report.left_out:
        found = plural(report.left_out, words.one, words.many)
        taken = f"`{words.step('index')}` with {OptionHint(index_untagged=1)} takes them in"
        yield f"left out: {found} with words of this question and without a tag; {taken}"
    if report.lacking:
        yield f"no entry that passes has {' and '.join(map(repr, report.lacking))}; closest results without it:"
    elif report.is_weak:
        yield "no good match; closest results:"


def _show(collection: "IndexedTask", hit: "Hit") -> None:
    """Print one hit on a terminal: what it is, the sentence with its words in bold, the tags that match, and why."""
    name, beside = format_hit_heading(collection, hit)
    print_marked(f"{hit.rank:>3}  ", _cell(name), f"  {_cell(', '.join(beside))}" if beside else "")
    if hit.snippet is not None and hit.snippet.text:
        print_marked(*hit.snippet.pieces, indent=len(INDENT))
    for line in (f"tags: {', '.join(hit.tags)}" if hit.tags else "", hit.why):
        if line:
            print_text(line, indent=INDENT)


def _cell(value: Any) -> str:
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"
