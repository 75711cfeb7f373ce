"""Build the query of a search: parse its text, embed it, and select the entries that may be hits.

A typed query has words, phrases and exclusions. The filters are WHERE= and TAG=. The syntax of
WHERE= is described in `askrows.pipeline.rows.where_sql`. There are three builders:

- `parse_and_embed_query` for a typed query,
- `parse_and_embed_queries` for many queries whose hits are only measured,
- `make_similar_query` for an entry whose similar entries are wanted.

A term is the stem by which a word is compared. Filler words, such as "who knows", are left out of
the terms. A mask says for each row of the build whether it may be a hit.

Filters are applied to all entries before ranking, so the best hits are the best of all entries that
pass. A phrase is searched in the texts of the entries that contain all its words.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from askrows.pipeline.core import tokenizer
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.core.text import INVALID_TEXT
from askrows.pipeline.core.where_parser import Comparison, Expression, Junction, parse_where
from askrows.pipeline.index.indexed_tasks import require_indexed_task
from askrows.pipeline.index.vector_cache import Vectors
from askrows.pipeline.index.vectors import MAX_QUERIES, check_embedding_model, embed_queries
from askrows.pipeline.provider.service import Service
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

if TYPE_CHECKING:
    from askrows.pipeline.index.build_reader import Index, Mask
    from askrows.pipeline.tasks.task_values import IndexedTask

# The smaller embedding models read about this much.
MAX_QUERY_CHARS = 8_000
# A message quotes this much of a query.
MAX_QUOTED_CHARS = 60
_MINUS_SIGN = "\u2212"


class _Signs(dict[int, str]):
    """Table for str.translate: dashes become "-", and quotation marks " or ', which is single.

    A letter of a script without spaces becomes "。", because no blank is needed beside it. Other
    characters stay, so offsets are those of the text.
    """

    def __missing__(self, code: int) -> str:
        """Return the sign for a character, and remember it; most characters stay as they are.

        The sign is "-" for a dash, " or ' for a quotation mark, and "。" for a letter of a script
        without spaces.
        """
        char = unicodedata.normalize("NFKC", chr(code))[0]
        name = unicodedata.name(char, "")
        sign = chr(code)
        if unicodedata.category(char) == "Pd" or char == _MINUS_SIGN:
            sign = "-"
        elif "QUOTATION MARK" in name or "CORNER BRACKET" in name:
            sign = "'" if "SINGLE" in name else '"'
        elif name == "APOSTROPHE":
            sign = "'"
        elif tokenizer.is_unspaced(char):
            sign = "。"
        self[code] = sign
        return sign


_SIGNS = _Signs()
# A phrase, or an excluded word or phrase. The marks of a phrase are outside of words; a single one
# ends it only at the end of a word.
_OPERATOR = re.compile(
    r"(?P<exclusion>(?<!\S)-)?"
    r"""(?:(?<!\w)"(?P<phrase>[^"]*+)"|(?<![^\s-])'(?P<quoted>(?:[^']|'(?=\w))*+)'(?!\w))"""
    r"|(?<!\S)-(?P<word>[\w。]\S*)"
)

# Columns that TAG= compares, in addition to the fields of an answer.
TAG_COLUMNS = ("tags", "concepts")
ANSWER_PREFIX = "answer."
# The column that contains the columns of the source.
SOURCE_ROW_COLUMN = "row"


@dataclass(frozen=True)
class SearchQuery:
    """A query with all that ranking and describing need; `parse_query` sets the first three."""

    # All words that are not excluded, phrases included, without quotation marks.
    text: str
    # Phrases that an entry must contain.
    phrases: tuple[str, ...] = ()
    # Words and phrases that an entry must not contain.
    exclusions: tuple[str, ...] = ()
    # Phrases that are ignored because no entry that passes the filters contains them.
    missing_phrases: tuple[str, ...] = ()
    rank: RankMode = RankMode.HYBRID
    # Terms of the text without filler words; None without a text.
    terms: Sequence[str] | None = None
    # How the text spells each term; None if hits get no reasons, snippets and tags.
    words_by_term: Mapping[str, str] | None = None
    # Array (dim,), or None to rank by words only.
    vector: Vectors | None = None
    # Which rows may be hits, bool (rows,); None for all rows.
    mask: "Mask | None" = None


def parse_query(typed_query: str) -> SearchQuery:
    """Split a query into words, quoted phrases and exclusions; white space is collapsed.

    A phrase is in quotation marks of any language. An excluded word or phrase follows a dash that
    begins a word; other dashes are part of the text, and so are quotation marks that are not closed
    or enclose no word. `text` of the result contains the plain words and the words of the phrases,
    but not the exclusions. Repeated phrases and exclusions are returned once. Nothing is embedded,
    and no filter is applied.

    Raises:
        InputError: The query is empty, too long, not valid text or only exclusions.
    """
    text = _check_and_collapse_query(typed_query)
    text_parts = []
    phrases = list[str]()
    exclusions = list[str]()
    offset = 0
    for operator in _OPERATOR.finditer(text.translate(_SIGNS)):
        kind = str(operator.lastgroup)
        operand = text[slice(*operator.span(kind))].strip()
        if not any(map(str.isalnum, operand)):
            continue

        text_parts.append(text[offset : operator.start()])
        offset = operator.end()
        if kind == "word" or operator["exclusion"]:
            exclusions.append(operand)
        else:
            phrases.append(operand)
            text_parts.append(operand)

    text_parts.append(text[offset:])
    plain_text = " ".join(" ".join(text_parts).split())
    if not plain_text:
        raise _make_nothing_to_search_error(": the question has only excluded words")
    return SearchQuery(
        plain_text,
        phrases=tuple(dict.fromkeys(phrases)),
        exclusions=tuple(dict.fromkeys(exclusions)),
    )


def _make_nothing_to_search_error(reason: str = "") -> InputError:
    return InputError(
        f"there is nothing to search for{reason}",
        hint=f"`{CommandHint('search', q='who knows water law')}`",
    )


def _check_and_collapse_query(typed_query: str) -> str:
    """Return a query with its white space collapsed.

    Raises:
        InputError: The query is empty, not valid text or too long.
    """
    text = " ".join(typed_query.split())
    if not text:
        raise _make_nothing_to_search_error()
    if INVALID_TEXT.search(text):
        raise InputError(
            "the question is not valid text: it has a NUL character or invalid UTF-8",
            hint="type it again",
        )
    if len(text) > MAX_QUERY_CHARS:
        raise InputError(
            f"the question has {len(text):,} characters, the limit is {MAX_QUERY_CHARS:,}",
            hint="shorten it",
        )
    return text


@dataclass(frozen=True)
class SearchOptions:
    """Number, ranking and filters of hits, independent of the query."""

    # Maximum number of hits.
    k: int = 10
    rank: RankMode = RankMode.HYBRID
    # Tags that an entry must have.
    tags: tuple[str, ...] = ()
    # Condition as typed for WHERE=; empty for none.
    where: str = ""


def parse_and_embed_query(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    index: "Index",
    typed_query: str,
    *,
    options: SearchOptions,
) -> SearchQuery:
    """Parse a typed query, select the entries that may be hits, and embed the query.

    Embedding may cost money. If entries are ranked by words only, it embeds nothing, and the query
    has no vector. `words_by_term` of the result has the typed spelling of each term, so that hits
    get reasons and snippets.

    Args:
        service: The service that embeds.
        task: The indexed task of the build.
        index: The build to search.
        typed_query: The query as typed.
        options: Ranking and filters.

    Raises:
        InputError: The query or a filter is invalid, or entries are ranked by words only and the
            query has no terms.
        ConfigurationError: The build has vectors of another embedding model.
    """
    (query,) = parse_and_embed_queries(
        workspace,
        service,
        task,
        index,
        [typed_query],
        options=options,
    )
    terms = query.terms or ()
    if options.rank is RankMode.WORDS and not terms:
        raise InputError(
            f"the question {query.text[:MAX_QUOTED_CHARS]!r} has no words except stop words",
            hint=f"leave {OptionHint(rank='words')} out",
        )

    words_by_term: dict[str, str] = {}
    for start, end, term in tokenizer.find_term_spans(query.text, set(terms)):
        words_by_term.setdefault(
            term,
            query.text[start:end],
        )
    return replace(query, words_by_term=words_by_term)


def parse_and_embed_queries(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    index: "Index",
    typed_queries: Sequence[str],
    *,
    options: SearchOptions,
) -> Iterator[SearchQuery]:
    """Yield a query for each typed query; each page of MAX_QUERIES is embedded together.

    Embedding may cost money. If entries are ranked by words only, nothing is embedded, and the
    queries have no vectors. Hits of these queries get no reasons. Unlike for a single query, a
    query without terms is no error, and has no hits by words.

    Args:
        service: The service that embeds.
        task: The indexed task of the build.
        index: The build to search.
        typed_queries: The queries as typed.
        options: Ranking and filters.

    Raises:
        InputError: A query or a filter is invalid.
        ConfigurationError: The build has vectors of another embedding model.
    """
    indexed_task = require_indexed_task(workspace, task)
    filler_words = indexed_task.ranking.question_words
    for page in split_into_pages(typed_queries, MAX_QUERIES):
        queries = [parse_query(typed_query) for typed_query in page]
        vectors: Vectors | Sequence[None] = [None] * len(queries)
        if options.rank is not RankMode.WORDS:
            check_embedding_model(
                task,
                index.manifest,
                model_name=service.embedding_model.name,
                dim=workspace.settings.dim,
            )
            vectors = embed_queries(workspace, service, task, [query.text for query in queries])
        for query, vector in zip(queries, vectors, strict=True):
            yield replace(
                _add_mask_to_query(index, indexed_task, options, query),
                rank=options.rank,
                terms=tokenizer.extract_query_terms(query.text, filler_words=filler_words),
                vector=vector,
            )


def _add_mask_to_query(
    index: "Index",
    indexed_task: "IndexedTask",
    options: SearchOptions,
    query: SearchQuery,
) -> SearchQuery:
    """Return a copy of a query with a mask of the rows that may be hits.

    A row may be a hit only if it passes the filters and exclusions, and contains all phrases. If no
    passing row contains all phrases, the phrases are ignored and moved to `missing_phrases`. The
    mask is None if all rows may be hits.

    Raises:
        InputError: A filter is invalid.
    """
    phrases = query.phrases
    mask = make_filter_mask(index, indexed_task, options, query)
    if not phrases:
        return replace(query, mask=mask)

    has_phrases = np.logical_and.reduce(
        [_make_phrase_mask(index, indexed_task, phrase) for phrase in phrases],
    )
    if mask is not None:
        has_phrases &= mask
    if not has_phrases.any():
        return replace(query, phrases=(), mask=mask, missing_phrases=phrases)
    return replace(query, mask=has_phrases)


def make_similar_query(
    index: "Index",
    indexed_task: "IndexedTask",
    entry_index: int,
    options: SearchOptions,
) -> SearchQuery:
    """Return a query for the entries most similar to an entry, which is no hit itself.

    Its vector is read from the build, so nothing is embedded.

    Args:
        index: The build to search.
        indexed_task: Its indexed task.
        entry_index: Row number of the entry in the build, from 0.
        options: The filters.

    Raises:
        InputError: A filter is invalid.
    """
    mask = make_filter_mask(index, indexed_task, options)
    if mask is None:
        mask = np.ones(index.row_count, dtype=bool)
    mask[entry_index] = False
    return SearchQuery(
        "",
        rank=RankMode.VECTORS,
        words_by_term={},
        vector=index.faiss.reconstruct(entry_index),
        mask=mask,
    )


def make_filter_mask(
    index: "Index",
    indexed_task: "IndexedTask",
    options: SearchOptions,
    query: SearchQuery | None = None,
) -> "Mask | None":
    """Return which rows pass the filters and the query's exclusions, as bool (rows,).

    The filters are TAG= and WHERE=. Returns None if there are no conditions, so all rows pass.

    Raises:
        InputError: WHERE= is invalid.
    """
    masks = []
    column_paths = find_column_paths(index.read_metadata(0))
    extra_paths = find_column_paths(index.read_extra_cells(0))
    conditions = _parse_filter_conditions(options, extra_paths | column_paths)
    if conditions:
        filter_mask = np.zeros(index.row_count, dtype=bool)
        all_conditions = Junction(requires_all=True, parts=tuple(conditions))
        matching_rows = find_matching_rows(index, all_conditions, column_paths, extra_paths)
        filter_mask[list(matching_rows)] = True
        masks.append(filter_mask)

    if query:
        masks.extend(~_make_phrase_mask(index, indexed_task, phrase) for phrase in query.exclusions)
    return np.logical_and.reduce(masks) if masks else None


def _parse_filter_conditions(
    options: SearchOptions,
    columns: Mapping[str, Sequence[str]],
) -> list[Expression]:
    """Return the conditions of TAG= and WHERE=, parsed; all must be true.

    The condition of a tag is that one of these columns has it: `tags`, `concepts`, or any column
    whose name begins with `answer.`. If no such column is given, the condition names `tags`. The
    list is empty without these options.

    Args:
        columns: The columns of the entries, by name.

    Raises:
        InputError: WHERE= is invalid.
    """
    conditions = list[Expression]()
    tag_columns = [
        name for name in columns if name in TAG_COLUMNS or name.startswith(ANSWER_PREFIX)
    ]
    for tag in options.tags:
        comparisons = (
            Comparison(name, "=", (tag,), "TAG") for name in tag_columns or TAG_COLUMNS[:1]
        )
        conditions.append(
            Junction(
                requires_all=False,
                parts=tuple(comparisons),
            ),
        )

    if options.where.strip():
        conditions.append(parse_where(options.where))
    return conditions


def find_column_paths(metadata: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return {column: JSON path} of an entry's metadata.

    A member that is an object, for example `answer`, is not a column, but its members are columns:
    `answer.name` has the path ("answer", "name"). They come after all other columns.
    """
    paths = {name: (name,) for name, cell in metadata.items() if not isinstance(cell, dict)}
    nested_paths = dict[str, tuple[str, ...]]()
    for name, cell in metadata.items():
        if isinstance(cell, dict):
            nested_paths |= {f"{name}.{key}": (name, key) for key in cell}
    return paths | nested_paths


def find_matching_rows(
    index: "Index",
    condition: Expression,
    column_paths: Mapping[str, tuple[str, ...]],
    extra_paths: Mapping[str, tuple[str, ...]],
) -> Iterator[int]:
    """Yield the numbers of the rows for which a condition is true.

    The condition is evaluated by SQL in the build's own database. It can name three kinds of
    columns:

    - A column of the metadata by its full name, for example `answer.name`.
    - A nested column by the last part of its name, for example `name`. If several columns have the
      same last part, that of the source row (`row.name`) is meant, else the first of them.
    - A column that is not in the metadata, but stored with the build (`extra_cells`).

    Args:
        index: The build. The SQL functions of conditions are registered in its connection.
        condition: The parsed condition.
        column_paths: JSON path of each column of the metadata, see `find_column_paths`.
        extra_paths: JSON path of each column that is stored with the build, but not in metadata.

    Raises:
        InputError: The condition names an unknown column.
    """
    from sqlalchemy import Integer, Text, column, select, table
    from sqlalchemy.dialects import sqlite

    from askrows.pipeline.rows.where_sql import JsonCell, compile_where, register_sql_functions

    entry_table = table(
        "entries",
        column("row", Integer),
        column("metadata", Text),
    )
    extra_table = table(
        "extra_cells",
        column("row", Integer),
        column("cells", Text),
    )
    cells = {name: JsonCell(extra_table.c.cells, path) for name, path in extra_paths.items()}
    cells |= {name: JsonCell(entry_table.c.metadata, path) for name, path in column_paths.items()}
    # A column of the source has its short name, as in a list. Other nested columns have a short
    # name too, if no column of the source has it.
    source_path = (SOURCE_ROW_COLUMN,)
    source_cells = {cell.path[-1]: cell for cell in cells.values() if cell.path[:-1] == source_path}
    other_cells = {name: cell for name, cell in cells.items() if cell.path[:-1] != source_path}
    is_same_row = extra_table.c.row == entry_table.c.row
    searched_table = entry_table.outerjoin(extra_table, is_same_row)
    for name in index.read_extra_column_names():
        other_cells.setdefault(name, JsonCell(extra_table.c.cells, (name,)))
    short_names = {cell.path[-1]: cell for cell in reversed(other_cells.values())}
    scopes = (source_cells, other_cells, cells | short_names)

    is_matching = compile_where(condition, scopes)
    statement = select(entry_table.c.row).select_from(searched_table).where(is_matching)
    compiled = statement.compile(
        dialect=sqlite.dialect(paramstyle="named"),
        compile_kwargs={"render_postcompile": True},
    )

    register_sql_functions(index.entries)
    for (row,) in index.entries.execute(str(compiled), compiled.params):
        yield row


def _make_phrase_mask(index: "Index", indexed_task: "IndexedTask", phrase: str) -> "Mask":
    """Return which rows contain the stems of a phrase in one of their texts, as bool (rows,).

    The stems must follow each other with no word between them, or the phrase is a joined word of
    the text. Only rows with all terms of the phrase are read.
    """
    phrase_stems = f" {' '.join(tokenizer.split_stems(phrase))} "
    mask = np.zeros(index.row_count, dtype=bool)
    for row in index.find_rows_with_all_terms(tokenizer.extract_terms(phrase)):
        content = {**index.read_extra_cells(row), **index.read_metadata(row)}
        for text in indexed_task.list_texts(content):
            joined_terms = [term for _, _, term in tokenizer.find_joined_terms(text)]
            stems = [*tokenizer.split_stems(text), "&", *joined_terms]
            text_stems = " ".join(stems)
            mask[row] |= phrase_stems in f" {text_stems} "
    return mask
