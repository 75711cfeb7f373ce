"""Commands of the search index: build it, search it, and measure its rankings.

The index contains people, or the rows of another task. A build is one complete index on disk; the
build in service is the build that searches use. A judged question is a question with the rows that
answer it.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import click

from jobs.options import TEXT, NumberParam, Parameter, Tag, WhereCondition
from jobs.variables import read_typed_settings
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.ranking import RankMode
from pipeline.core.report import Paragraph, Part, Report, Table, format_counts, make_table
from pipeline.core.text import join_first, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import IndexedTask
from pipeline.engine.task_values import TaskNouns
from pipeline.index import build, evaluate
from pipeline.index.hits import Hit, format_hit_heading, hit_to_document
from pipeline.index.search import SearchReport, SearchSession, make_search_options

# Columns before the lines below the heading of a hit.
HIT_INDENT_WIDTH = 5
MAX_CELL_CHARS = 120
# Surrounds matching words if the output has no bold text.
MATCH_MARK = "**"


def index(
    ws: WorkspaceSession,
    *,
    rollback: Annotated[bool, Parameter("Put the previous build back in service.")] = False,
    worse_ok: Annotated[
        bool,
        Parameter("Use the new build even if it is empty, or the database is an older copy."),
    ] = False,
) -> Report:
    """Build the search index of all tagged people, or of the answered rows of TASK.

    Embeds only changed texts. Verifies the new build, then replaces the old build in one step.
    Searches continue meanwhile. --rollback builds nothing, and puts the previous build back.
    """
    # The first index of a task marks the task as indexed.
    ws.sync_rows_and_enable_index()
    report = build.roll_back_index(ws) if rollback else build.build_index(ws, worse_ok=worse_ok)

    result = Report(asdict(report), _format_index_report(report, ws.indexed_task))
    result.warnings += [
        f"a file had the name of a link of the index; it was moved to {moved_name}"
        for moved_name in report.moved_aside
    ]
    if report.refused:
        with ws.store.read() as tx:
            names_by_id = ws.task.make_row_table(tx).read_names(tx, list(report.refused))
        row_names = join_first([names_by_id.get(row_id, row_id) for row_id in report.refused])
        texts = plural(len(report.refused), "text")
        reason = next(iter(report.refused.values()))
        result.warnings.append(f"the embedding model refused {texts}: {row_names} ({reason})")
    if report.count:
        # A search with another embedding model than the build's is refused.
        typed_settings = read_typed_settings(("embedding_model", "dim"))
        question = ws.indexed_task.example_question
        search_command = ws.task.nouns.command("search", q=question, **typed_settings)
        result.notes.append(f"`{search_command}` searches the index")
    return result


def _format_index_report(report: build.IndexReport, indexed_task: IndexedTask) -> str:
    """Return the message of `index`: the new build, and its counts.

    The counts are entries, texts that were embedded now, texts whose vectors were cached, and rows
    without an entry by state. After a rollback the message has only the earlier build, which is in
    service again, and its number of entries. If no row has an entry, the message only says that the
    build was deleted.
    """
    if not report.count:
        return f"build {report.number} deleted; the search has no index now"

    state = "in service again" if report.rolled_back else "in service"
    message = f"build {report.number} is {state}: {plural(report.count, indexed_task.entry_noun)}"
    if not report.rolled_back:
        message += f", {report.embedded:,} embedded, {report.cached:,} cached"
    if report.left_out:
        message += f"; without an entry: {format_counts(report.left_out)}"
    return message


def evaluate_search(ws: WorkspaceSession, queries: Path, qrels: Path) -> Report:
    """Measure the search with judged questions: a table of each rank.

    Each line has nDCG@10, MRR, P@5 and R@10 with 95 % intervals. Embeds the questions, which a
    service may charge.

    Args:
        queries: A file of questions, as JSON lines.
        qrels: A file of TREC judgements.
    """
    rows = evaluate.measure_search(ws, queries, qrels)
    documents = [
        row
        | {
            name: f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            for name, (mean, low, high) in row["figures"].items()
        }
        for row in rows
    ]
    columns = " ".join(("system queries", *evaluate.MEASURES, "weak"))
    return Report(rows, parts=[make_table(documents, columns)])


def search(
    ws: WorkspaceSession,
    *,
    q: Annotated[str, Parameter("Question in plain words.", metavar="[QUESTION]")] = "",
    k: Annotated[
        int, Parameter("Show this many hits, at most 1,000.", NumberParam(1, 1000), "HITS")
    ] = 10,
    rank: Annotated[
        Any,
        Parameter(
            "Rank by words (BM25), vectors (meaning), or both (hybrid).",
            click.Choice([str(rank_mode) for rank_mode in RankMode]),
        ),
    ] = str(RankMode.HYBRID),
    tag: Tag = "",
    where: WhereCondition = "",
    like: Annotated[
        str,
        Parameter("Find the rows most similar to this row.", TEXT, metavar="NAME"),
    ] = "",
) -> Report:
    """Find the people, or rows of TASK, that match a question best, or that are like a row.

    Needs either a question or --like. Unless words alone rank the rows, the question is embedded,
    for which Gemini may charge.

    All hits contain a phrase in quotation marks. A dash before a word (-word) excludes the rows
    that contain the word.
    """
    if q and like:
        raise InputError(
            f"a search has a question or {OptionHint('like')}, not both; nothing was searched",
            hint="leave out either",
        )
    if not q and not like:
        raise InputError(
            "there is no question",
            hint=f"`{ws.task.nouns.command('search', q='who knows water law')}`",
        )

    options = make_search_options(k, rank=rank, tag=tag, where=where)
    with SearchSession(ws) as session:
        report = session.search_similar(like, options) if like else session.search(q, options)
        for warning in _search_warnings(report, session.nouns):
            ws.display.warn(warning)

        indexed_task = session.indexed_task
        documents = [hit_to_document(indexed_task, hit) for hit in report.hits]
    return Report(documents, parts=_search_parts(indexed_task, report.hits, documents))


def _search_warnings(report: SearchReport, nouns: TaskNouns) -> Iterator[str]:
    """Yield the warnings of a search: an index that is behind, missing phrases, and weak hits.

    If no entry contains a phrase of the question, weak hits are not mentioned.
    """
    if report.behind:
        row_count = plural(report.behind, nouns.singular, nouns.plural)
        yield f"the index is behind the database by {row_count}: `{nouns.command('index')}`"

    if report.missing_phrases:
        phrases = " and ".join(map(repr, report.missing_phrases))
        yield f"no match contains {phrases}; closest results without it:"
    elif report.is_weak:
        yield "no good match; closest results:"


def _search_parts(
    indexed_task: IndexedTask,
    hits: Sequence[Hit],
    documents: Sequence[Mapping[str, Any]],
) -> list[Part]:
    """Return the hits of a search: paragraphs for a terminal, else a table.

    If there are no hits, a line says so.

    Args:
        documents: The JSON documents of the hits, in the same order.
    """
    if not hits:
        return [f"no {indexed_task.entry_noun} found"]
    if sys.stdout.isatty():
        return list(chain.from_iterable(_describe_hit(indexed_task, hit) for hit in hits))

    rows = []
    for hit, document in zip(hits, documents, strict=True):
        cells = [_shorten_cell(document[member]) for member in indexed_task.columns.values()]
        # Every second piece of a snippet matches the question.
        marked_snippet = MATCH_MARK.join(hit.snippet.pieces) if hit.snippet else ""
        rows.append([*cells, hit.why, marked_snippet])
    return [Table((*indexed_task.columns, "why", "matched"), rows)]


def _describe_hit(indexed_task: IndexedTask, hit: Hit) -> Iterator[Paragraph]:
    """Yield the paragraphs of a hit for a terminal.

    The heading has its rank, name and details. Indented paragraphs below it have the best sentence
    with matching words in bold, the matching tags, and why the search returned the entry. A
    paragraph without content is left out.
    """
    name, details = format_hit_heading(indexed_task, hit)
    details_text = f"  {_shorten_cell(', '.join(details))}" if details else ""
    yield Paragraph([f"{hit.rank:>3}  ", _shorten_cell(name), details_text])

    if hit.snippet is not None and hit.snippet.text:
        yield Paragraph(hit.snippet.pieces, HIT_INDENT_WIDTH)
    if hit.tags:
        yield Paragraph([f"tags: {', '.join(hit.tags)}"], HIT_INDENT_WIDTH)
    if hit.why:
        yield Paragraph([hit.why], HIT_INDENT_WIDTH)


def _shorten_cell(value: Any) -> str:
    """Return a value as one line of at most MAX_CELL_CHARS, with single blanks between words."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    line = " ".join(text.split())
    if len(line) <= MAX_CELL_CHARS:
        return line
    return f"{line[:MAX_CELL_CHARS].rstrip()} …"
