"""Search the build in service: by a query, or for entries similar to a given entry.

A stale entry differs between the build and the database: it is missing, outdated or deleted.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.ranking import RankMode
from askrows.pipeline.core.report import Part, Report
from askrows.pipeline.core.text import plural
from askrows.pipeline.index.builds import correct_link_and_open_builds, count_stale_entries
from askrows.pipeline.index.hits import Hit, make_hits, make_hits_part, make_scored_hit_document
from askrows.pipeline.index.indexed_tasks import require_indexed_task
from askrows.pipeline.index.query import (
    SearchOptions,
    SearchQuery,
    make_similar_query,
    parse_and_embed_queries,
    parse_and_embed_query,
)
from askrows.pipeline.index.scoring import rank_entries
from askrows.pipeline.provider.service import Service
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workspace.open_workspace import OpenWorkspace


def make_search_options(
    k: int = 10,
    *,
    rank: str = RankMode.HYBRID,
    tag: str | Sequence[str] = (),
    where: str = "",
) -> SearchOptions:
    """Check `k` and `rank`, and return the arguments of a search as options.

    The condition `where` is checked by the search.

    Args:
        k: Maximum number of hits.
        rank: How entries are ranked.
        tag: Tags that an entry must have; a str contains them separated by commas. Blank tags are
            dropped.
        where: Condition as typed for WHERE=.

    Raises:
        InputError: `k` is below 1, or `rank` is unknown.
    """
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1", hint="use k=1 or more")
    if rank not in list(RankMode):
        raise InputError(
            f"rank is {rank!r}, which is unknown",
            hint=f"use {', '.join(RankMode)}",
        )

    tags = tag.split(",") if isinstance(tag, str) else tag
    return SearchOptions(
        k,
        RankMode(rank),
        tags=tuple(filter(None, map(str.strip, tags))),
        where=where,
    )


@dataclass(frozen=True)
class SearchReport:
    """Result of a search."""

    # Best first.
    hits: list[Hit]
    # Entries of the database that the index does not contain as they are now.
    behind: int
    # Phrases of the query that were ignored because no entry that passes contains them.
    missing_phrases: tuple[str, ...] = ()

    @property
    def is_weak(self) -> bool:
        """Whether there are hits and all of them are weak."""
        return bool(self.hits) and all(hit.is_weak for hit in self.hits)


def search_and_report(
    workspace: OpenWorkspace,
    service: Service,
    task: Task,
    question: str,
    options: SearchOptions,
    *,
    similar_name: str = "",
) -> Report:
    """Report the entries that match a question best, or that are most similar to an entry.

    Warnings, which are printed before, are about an index that is behind, missing phrases, and weak
    hits. If no entry contains a phrase of the question, weak hits are not mentioned.

    Args:
        similar_name: Name of an entry; then there is no question.

    Raises:
        InputError: There is no index, the question or a filter is invalid, or the entry is not in
            the index.
    """
    with SearchSession(workspace, service, task) as session:
        if similar_name:
            search_report = session.search_similar(similar_name, options)
        else:
            search_report = session.search(question, options)
        nouns = session.nouns
        if search_report.behind:
            rows = plural(search_report.behind, nouns.singular, nouns.plural)
            workspace.display.warn(
                f"the index is behind the database by {rows}: `{nouns.command('index')}`"
            )
        if search_report.missing_phrases:
            phrases = " and ".join(map(repr, search_report.missing_phrases))
            workspace.display.warn(f"no match contains {phrases}; closest results without it:")
        elif search_report.is_weak:
            workspace.display.warn("no good match; closest results:")

        indexed_task = session.indexed_task
        figures = [make_scored_hit_document(indexed_task, hit) for hit in search_report.hits]
        part: Part = f"no {nouns.singular} found"
        if search_report.hits:
            part = make_hits_part(indexed_task, search_report.hits, figures)
    return Report(figures, parts=[part])


class SearchSession(AbstractContextManager["SearchSession"]):
    """An open build that answers any number of queries."""

    def __init__(self, workspace: OpenWorkspace, service: Service, task: Task) -> None:
        """Open the build in service, after a wrong link to it was corrected.

        Args:
            service: The service that embeds queries.
            task: The indexed task that is searched.

        Raises:
            InputError: The task is not indexed, or no build is in service.
        """
        self._workspace = workspace
        self._service = service
        self._task = task
        self.indexed_task = require_indexed_task(workspace, task)
        self.nouns = task.nouns
        self.index = correct_link_and_open_builds(workspace, task).open_current()

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self.index.__exit__(kind, error, traceback)

    def search(self, typed_query: str, options: SearchOptions) -> SearchReport:
        """Search for a typed query and return the `k` best entries that pass the filters.

        If no entry that passes contains the phrases, the phrases are ignored and reported. The
        query is embedded, which a service may charge, unless entries are ranked by words only.

        Returns:
            The hits, the number of stale entries of the whole index (missing in the build, outdated
            or deleted since), and the ignored phrases.

        Raises:
            InputError: The query or a filter is invalid, or the entries are ranked by words and the
                query has no terms.
            ConfigurationError: The build has vectors of another embedding model.
        """
        query = parse_and_embed_query(
            self._workspace,
            self._service,
            self._task,
            self.index,
            typed_query,
            options=options,
        )
        hits = self._find_hits(query, options.k)
        with self._workspace.store.read() as tx:
            stale_count = count_stale_entries(self.indexed_task, tx, self.index)
        return SearchReport(hits, stale_count, query.missing_phrases)

    def search_similar(self, row_name: str, options: SearchOptions) -> SearchReport:
        """Return the entries most similar to a given entry by their vectors, without that entry.

        It embeds nothing, because the vector of the entry is in the build. The reason of a hit
        names no words, because there is no typed query. The report has the number of stale entries:
        those that are missing in the build, outdated or deleted since.

        Args:
            row_name: Name or id of a row, as typed.
            options: Number of hits and filters; `rank` must not be "words".

        Raises:
            InputError: Entries are to be ranked by words, the row is not in the build, or a filter
                is invalid.
        """
        if options.rank is RankMode.WORDS:
            raise InputError(
                "similar entries are found by vectors only",
                hint=f"leave {OptionHint(rank='words')} out",
            )

        with self._workspace.store.read() as tx:
            entry = self.index.find_row_and_content_hash(self._task.require_row_id(tx, row_name))
            stale_count = count_stale_entries(self.indexed_task, tx, self.index)
        if entry is None or entry[0] >= len(self.index):
            raise InputError(
                f"{row_name!r} is not in the index in service",
                hint=f"`{self.nouns.command('index')}` adds it if it is {self.nouns.answered}",
            )

        entry_index, _ = entry
        query = make_similar_query(
            self.index,
            self.indexed_task,
            entry_index,
            options,
        )
        return SearchReport(
            self._find_hits(query, options.k),
            stale_count,
        )

    def search_many(
        self,
        typed_queries: Sequence[str],
        options: SearchOptions,
    ) -> Iterator[list[Hit]]:
        """Yield the hits of each query in order, without reasons, snippets and matching tags.

        Queries are embedded in pages of MAX_QUERIES.

        Raises:
            InputError: A query or a filter is invalid.
            ConfigurationError: The build has vectors of another embedding model.
        """
        for query in parse_and_embed_queries(
            self._workspace,
            self._service,
            self._task,
            self.index,
            typed_queries,
            options=options,
        ):
            yield self._find_hits(query, options.k)

    def _find_hits(self, query: SearchQuery, k: int) -> list[Hit]:
        """Return the `k` best entries for a query, described as hits."""
        ranked = rank_entries(self.index, query, k)
        return make_hits(
            self.index,
            self.indexed_task,
            ranked,
            query,
        )
