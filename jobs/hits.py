"""Show what a search found: on a terminal hit by hit, for a pipe as a table, for programs as JSON."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.output import Terminal, plural, print_json, print_line, print_marked, print_table, print_text
from pipeline.index.judged import read_questions
from pipeline.index.reader import hit_document, whole_document

if TYPE_CHECKING:
    from pipeline.core.task import Collection
    from pipeline.index.reader import Hit
    from pipeline.index.search import OpenSearch, SearchOptions, SearchReport
    from pipeline.index.snippet import Snippet

INDENT = " " * 5  # of what stands below the name of a hit
CUT = 120  # characters of a text in a table
MARK = "**"  # before and behind a word of the question, where nothing is bold


def show_report(opened: "OpenSearch", report: "SearchReport", *, as_json: bool) -> None:
    """Print what one question found, after what is to be known of it."""
    words, terminal, hits, collection = opened.words, Terminal(), report.hits, opened.collection
    if report.behind:
        behind = plural(report.behind, words.one, words.many)
        terminal.warn(f"the index is behind the database by {behind}: `{words.make('index')}`")
    if report.is_weak:
        terminal.warn("nothing here matches well; the nearest are")
    if as_json:
        print_json([whole_document(collection, hit) for hit in hits])
    elif not hits:
        print_line(f"no {collection.word} was found")
    elif sys.stdout.isatty():
        for hit in hits:
            _show(collection, hit)
    else:
        _print_rows(collection, hits)


def _print_rows(collection: "Collection", hits: Sequence["Hit"]) -> None:
    """Print a table whose first columns are the subject's own."""
    rows = []
    for hit in hits:
        found = hit_document(collection, hit)
        cells = [_cell(name, found[name]) for name in collection.columns.values()]
        cells += [_number(found["words_score"]), "weak" if hit.is_weak else "", _plainly_marked(hit.snippet)]
        rows.append(cells)
    print_table((*collection.columns, "words", "weak", "matched"), rows)


def _show(collection: "Collection", hit: "Hit") -> None:
    """Print one hit on a terminal: what it is, the sentence with its words in bold, the tags that match, the scores."""
    found = hit_document(collection, hit)
    name, *others = [found[key] for key in collection.columns.values() if key not in {"rank", "similarity", "text"}]
    told = [_cell("", one) for one in others if isinstance(one, str) and one]
    print_marked(f"{hit.rank:>3}  ", str(name), f"  {', '.join(told)}" if told else "")
    if hit.snippet is not None and hit.snippet.text:
        print_marked(*hit.snippet.pieces, indent=len(INDENT))
    if hit.tags:
        print_text(f"tags: {', '.join(hit.tags)}", indent=INDENT)
    scores = [("cosine", _number(found["similarity"])), ("words", _number(found["words_score"]))]
    said = [f"{name} {score}" for name, score in scores if score]
    print_text(" · ".join([*said, *(["weak"] if hit.is_weak else [])]), indent=INDENT)


def _plainly_marked(snippet: "Snippet | None") -> str:
    pieces = snippet.pieces if snippet is not None else []
    return "".join(f"{MARK}{piece}{MARK}" if number % 2 else piece for number, piece in enumerate(pieces))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(name: str, value: Any) -> str:
    """Return one value of a hit as a table shows it."""
    if name == "similarity":
        return _number(value)
    text = " ".join((", ".join(value) if isinstance(value, list) else str(value)).split())
    return text if len(text) <= CUT else f"{text[:CUT].rstrip()} …"


def show_many(opened: "OpenSearch", path: Path, options: "SearchOptions", *, as_json: bool) -> None:
    """Print the hits of every question of a file: as one document, or as one table."""
    asked = read_questions(path)
    documents: list[dict[str, Any]] = []
    with Terminal().bar("asking", len(asked)) as bar:
        found = opened.ask_many([one.text for one in asked], options)
        for one, hits in zip(asked, found, strict=True):
            documents.append({"qid": one.qid, "hits": [hit_document(opened.collection, hit) for hit in hits]})
            bar.show(len(documents))
    if as_json:
        print_json(documents)
        return
    columns = {"qid": "qid", **opened.collection.columns, "words": "words_score"}
    rows = [
        [_cell(name, value) for name, value in _with_qid(one, hit, columns)] for one in documents for hit in one["hits"]
    ]
    print_table(tuple(columns), rows)


def _with_qid(one: Mapping[str, Any], hit: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for name in columns.values():
        value = one["qid"] if name == "qid" else hit[name]
        yield name, "" if value is None else value
