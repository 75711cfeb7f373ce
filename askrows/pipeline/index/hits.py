"""Describe the ranked entries of a search as hits, for programs and for people.

A hit is weak if it is below the floor of the build: the scores that most nonsense queries do not
reach. A term is the stem by which a word is compared.

A hit has the reason why it was found, its best passage and its matching tags, and whether it is
weak. A passage is a sentence, or short sentences in a row. The best passage is that whose distinct
query terms weigh most; the first of equal passages wins. Long passages are cut around their
heaviest word and get an ellipsis. Marks are character offsets in the text that is shown.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, NamedTuple

from askrows.pipeline.core.report import Listing, Paragraph, Part, Table
from askrows.pipeline.core.text import make_short_repr, shorten, to_single_line
from askrows.pipeline.core.tokenizer import extract_terms_cached, find_script, find_term_spans
from askrows.pipeline.index.build_reader import Index
from askrows.pipeline.index.manifest import Floor
from askrows.pipeline.index.query import SearchQuery
from askrows.pipeline.index.scoring import RankedEntries
from askrows.pipeline.tasks.task_values import IndexedTask

# Start and end offset of a word in a text, and its term.
TermSpan = tuple[int, int, str]

MAX_SNIPPET_CHARS = 200
# A shorter sentence does not show what a row is about, so the next sentence is added.
MIN_PASSAGE_CHARS = 60
MAX_CELL_CHARS = 120
# Columns before the lines below the heading of a hit.
HIT_INDENT_WIDTH = 5
# Surrounds matching words if the output has no bold text.
MATCH_MARK = "**"
# Characters that are shown before the first marked word, if the beginning is cut.
_SNIPPET_LEAD_CHARS = 40
ELLIPSIS = "…"

# White space after a sign that ends a sentence, unless a small letter follows.
_SENTENCE_END = re.compile(
    "\\s(?:(?<=[.!?\u2026]\\s)|(?<=[.!?\u2026][\"'\u201d\u2019)\\]]\\s))\\s*+(?![a-z])",
)
# Chinese sentences end without a space.
_CHINESE_SENTENCE_END = re.compile("(?<=[\u3002\uff01\uff1f])")


class Snippet(NamedTuple):
    """A piece of a text on one line, with the places of the query's words in it."""

    text: str
    # (start, end) offsets in `text`, ascending and without overlap.
    marks: tuple[tuple[int, int], ...] = ()

    @property
    def pieces(self) -> list[str]:
        """Return the text in pieces; every second piece, from the second on, is marked."""
        offsets = [0, *chain.from_iterable(self.marks), len(self.text)]
        return [self.text[start:end] for start, end in pairwise(offsets)]


@dataclass(frozen=True)
class Hit:
    """An entry that a search returned."""

    # Place in the list of hits, from 1.
    rank: int
    # Inner product of entry and query, or None if entries are ranked by words only.
    similarity: float | None
    # The entry of `metadata.json`.
    metadata: Mapping[str, Any]
    # The metadata, and what else is stored of the entry.
    content: Mapping[str, Any]
    # The number by which the hits are sorted.
    score: float
    # Why the entry was returned, for people.
    why: str = ""
    # The passage that matches best.
    snippet: Snippet | None = None
    # The tags that match.
    tags: tuple[str, ...] = ()
    # Unknown (None) without a query, or if the build has no floor.
    is_weak: bool | None = None
    # The row has no answer and is found by words only.
    is_untagged: bool = False

    __repr__ = make_short_repr

    @property
    def document(self) -> dict[str, Any]:
        """Return a flat row: rank, score, reason, weakness, all metadata, the snippet's text."""
        ranking = {
            "rank": self.rank,
            "score": self.score,
            "why": self.why,
            "is_weak": self.is_weak,
            "is_untagged": self.is_untagged,
        }
        snippet_text = self.snippet.text if self.snippet else None
        return {**ranking, **self.metadata, "snippet": snippet_text}


@dataclass(frozen=True)
class _HitDescriber:
    """Describes the ranked entries of one query."""

    index: Index
    indexed_task: IndexedTask
    query: SearchQuery
    # The floor for the script of the query.
    floor: Floor | None
    # Sum of the IDF of the query's terms.
    query_idf: float
    # BM25 score by row; a missing row has 0.
    word_scores: Mapping[int, float]
    # IDF in the build of each term in `words_by_term`.
    idf_by_term: Mapping[str, float]
    # Rows of the ranked entries that contain the term.
    rows_by_term: Mapping[str, set[int]]

    def make_hit(
        self,
        rank: int,
        row: int,
        *,
        score: float,
        similarity: float | None,
        is_next_weak: bool,
    ) -> Hit:
        """Return a row of the build as a hit with its metadata and whether it is weak or untagged.

        A hit is weak only if it is below the floor and `is_next_weak` is set. Reason, snippet and
        matching tags are added only if `query.words_by_term` is set, as for a typed query.

        Args:
            rank: Place in the list of hits, from 1.
            row: Row number in the build.
            score: The number by which the hits are sorted.
            similarity: Cosine of entry and query, or None if entries were ranked by words only.
            is_next_weak: The hit below this one is weak, or there is none.
        """
        metadata = self.index.read_metadata(row)
        content = {**self.index.read_extra_cells(row), **metadata}
        terms_by_tag = {
            tag: set(extract_terms_cached(tag)) for tag in self.indexed_task.tags_of(content)
        }
        is_weak = self._is_weak(row, similarity, terms_by_tag) and is_next_weak
        hit = Hit(
            rank,
            similarity,
            metadata,
            content,
            score,
            is_weak=is_weak,
            is_untagged=row >= len(self.index),
        )
        if self.query.words_by_term is None:
            return hit

        query_terms = self.query.words_by_term.keys()
        matching_tags = [
            tag for tag, tag_terms in terms_by_tag.items() if not query_terms.isdisjoint(tag_terms)
        ]
        # A passage of a column reads better than one of a text that was made of columns.
        texts = self.indexed_task.list_texts(content)
        snippet = find_best_snippet(texts[:-1], self.idf_by_term)
        if not snippet.marks:
            snippet = find_best_snippet(texts, self.idf_by_term)
        return replace(
            hit,
            why=self._explain_hit(hit, row, self.query.words_by_term),
            snippet=snippet,
            tags=tuple(matching_tags),
        )

    def _is_weak(
        self,
        row: int,
        similarity: float | None,
        terms_by_tag: Mapping[str, set[str]],
    ) -> bool | None:
        """Return whether an entry is below the floor; None without a floor or without terms.

        An entry with a tag that has exactly the terms of the query is not weak.
        """
        if self.query.terms is None or self.floor is None:
            return None
        is_below_floor = self.floor.is_weak(
            similarity, self.word_scores.get(row, 0.0), self.query_idf
        )
        return is_below_floor and set(self.query.terms) not in terms_by_tag.values()

    def _explain_hit(self, hit: Hit, row: int, words_by_term: Mapping[str, str]) -> str:
        """Return why an entry was found, for example "words: water, law; close in meaning".

        The reasons are, in this order:

        - untagged
        - weak
        - words: the words of the query whose terms the entry contains
        - close in meaning: the hit has a similarity, is not weak, and its similarity alone reaches
          the floor. Without a floor any similarity is enough. A hit without any other reason gets
          this reason, too. An untagged hit has no similarity.
        """
        matching_words = dict.fromkeys(
            word for term, word in words_by_term.items() if row in self.rows_by_term[term]
        )
        is_close = (
            hit.similarity is not None
            and not hit.is_weak
            and (self.floor is None or hit.similarity >= self.floor.cosine)
        )

        reasons = []
        if hit.is_untagged:
            reasons.append("untagged")
        if hit.is_weak:
            reasons.append("weak")
        if matching_words:
            reasons.append(f"words: {', '.join(matching_words)}")
        if is_close or not reasons:
            reasons.append("close in meaning")
        return "; ".join(reasons)


def make_hits(
    index: Index,
    indexed_task: IndexedTask,
    ranked: RankedEntries,
    query: SearchQuery,
) -> list[Hit]:
    """Return ranked entries as hits with their metadata, weakness, reasons and snippets.

    Whether a hit is weak depends on its similarity and its word score. The word score is computed
    for this even if the entries were ranked by vectors only. In it, a repeated word of the query
    counts once, and a single character does not count, so that neither makes a weak hit strong. A
    hit is not weak if a hit below it is not weak, or if a tag of it has exactly the query's terms.

    Args:
        index: The build in which the entries were ranked.
        indexed_task: Its indexed task, which names texts and tags.
        ranked: The entries, best first.
        query: The query by which they were ranked. If its `terms` are None, or the build has no
            floor, `is_weak` is None, which means unknown. If its `words_by_term` is None, the hits
            get no reasons, snippets and tags.
    """
    rows = ranked.rows.tolist()
    distinct_terms = [term for term in dict.fromkeys(query.terms or ()) if len(term) > 1]
    has_repeated_terms = len(distinct_terms) < len(query.terms or ())
    if ranked.word_scores is None or has_repeated_terms:
        word_scores = index.score_rows_by_words(distinct_terms)
    else:
        word_scores = dict(zip(rows, ranked.word_scores.tolist(), strict=True))
    similarities: list[float | None] = [None] * len(rows)
    if ranked.similarities is not None:
        # An untagged row has no vector.
        similarities = [
            similarity if row < len(index) else None
            for row, similarity in zip(rows, ranked.similarities.tolist(), strict=True)
        ]

    spelled_terms = query.words_by_term or ()
    describer = _HitDescriber(
        index,
        indexed_task,
        query,
        index.manifest.floors.get(find_script(query.text)),
        query_idf=index.sum_idf(distinct_terms),
        word_scores=word_scores,
        idf_by_term={term: index.compute_idf(term) for term in spelled_terms},
        rows_by_term={term: index.find_rows_with_all_terms([term], rows) for term in spelled_terms},
    )
    scored_rows = zip(
        rows,
        ranked.scores.tolist(),
        similarities,
        strict=True,
    )
    hits = list[Hit]()
    for rank, (row, score, similarity) in reversed([*enumerate(scored_rows, start=1)]):
        hit = describer.make_hit(
            rank,
            row,
            score=score,
            similarity=similarity,
            is_next_weak=not hits or bool(hits[-1].is_weak),
        )
        hits.append(hit)
    return hits[::-1]


def find_best_snippet(
    texts: Iterable[str],
    weights: Mapping[str, float],
) -> Snippet:
    """Return the passage whose distinct terms have the largest sum of weights, cut and marked.

    The first of equally good passages is returned, so the first of all if none contains a term.
    The snippet is empty if there is no passage.

    Args:
        texts: Texts to search.
        weights: Weight of each term of the query.
    """

    def sum_term_weights(passage: str) -> float:
        """Return the sum of the weights of a passage's distinct terms."""
        spans = find_term_spans(passage, weights.keys())
        terms = {term for _, _, term in spans}
        return sum(weights[term] for term in terms)

    passages = chain.from_iterable(map(_join_sentences_into_passages, texts))
    best_passage = max(passages, key=sum_term_weights, default="")
    spans = list(find_term_spans(best_passage, weights.keys()))
    return _make_snippet(best_passage, spans, weights)


def _join_sentences_into_passages(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each joined to the next ones up to MIN_PASSAGE_CHARS.

    An ellipsis ends each passage but the last.
    """
    passage = ""
    for sentence in _split_sentences(text):
        if len(passage) >= MIN_PASSAGE_CHARS:
            yield f"{passage} {ELLIPSIS}"
            passage = ""
        passage = f"{passage} {sentence}".lstrip()

    if passage:
        yield passage


def _split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each on one line with blanks collapsed.

    A line end and the end marks of Chinese also end a sentence. Empty sentences are left out.
    """
    if not text.isascii():
        text = _CHINESE_SENTENCE_END.sub("\n", text)
    for line in text.split("\n"):
        for sentence in _SENTENCE_END.split(line):
            if collapsed_sentence := " ".join(sentence.split()):
                yield collapsed_sentence


def _make_snippet(
    passage: str,
    spans: Sequence[TermSpan],
    weights: Mapping[str, float],
) -> Snippet:
    """Cut a passage to at most MAX_SNIPPET_CHARS plus ellipses, and mark its visible terms.

    The marks are offsets in the returned text, with its ellipses. Overlapping marks are merged. The
    visible part of a term that is cut is marked. A passage without terms is shown from its
    beginning.

    Args:
        spans: Start, end and term of each term in the passage.
        weights: Weight of each term; the heaviest term stays visible.
    """
    cut_start, cut_end = _choose_visible_range(passage, spans, weights)
    prefix = ELLIPSIS if cut_start else ""
    suffix = ELLIPSIS if cut_end < len(passage) else ""

    visible_marks = [
        (max(start, cut_start), min(end, cut_end))
        for start, end, _ in spans
        if cut_start < end and start < cut_end
    ]
    shift = len(prefix) - cut_start
    marks = [(start + shift, end + shift) for start, end in _merge_marks(visible_marks)]
    return Snippet(
        f"{prefix}{passage[cut_start:cut_end]}{suffix}",
        tuple(marks),
    )


def _choose_visible_range(
    passage: str,
    spans: Sequence[TermSpan],
    weights: Mapping[str, float],
) -> tuple[int, int]:
    """Return the start and end offset of the visible part of a passage.

    A passage of at most MAX_SNIPPET_CHARS is visible as a whole. A longer passage is cut to
    MAX_SNIPPET_CHARS. The visible part begins a little before the heaviest term, or with the
    passage if it has no term. Both cuts are moved to a space if a space is near.
    """
    cut_start = 0
    cut_end = len(passage)
    if cut_end <= MAX_SNIPPET_CHARS:
        return cut_start, cut_end

    heaviest_start = 0
    if spans:
        heaviest_start, _, _ = max(spans, key=lambda span: weights[span[2]])
    latest_start = len(passage) - MAX_SNIPPET_CHARS
    desired_start = max(0, min(heaviest_start - _SNIPPET_LEAD_CHARS, latest_start))
    if desired_start:
        after_space = passage.find(" ", desired_start, heaviest_start) + 1
        cut_start = min(after_space or heaviest_start, heaviest_start)

    max_end = cut_start + MAX_SNIPPET_CHARS
    if max_end < cut_end:
        space = passage.rfind(
            " ",
            max_end - _SNIPPET_LEAD_CHARS,
            max_end + 1,
        )
        cut_end = max_end if space < 0 else space
    return cut_start, cut_end


def _merge_marks(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (start, end) of marks in ascending order, overlapping marks merged into one.

    Marks that only touch stay separate. Character pairs of scripts without spaces overlap.
    """
    merged_marks: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if merged_marks and start < merged_marks[-1][1]:
            previous_start, previous_end = merged_marks[-1]
            merged_marks[-1] = (previous_start, max(end, previous_end))
        else:
            merged_marks.append((start, end))
    return merged_marks


def make_scored_hit_document(indexed_task: IndexedTask, hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON for programs: the task's members, score, weakness, reason and snippet.

    The score is rounded to four decimals. A similarity or a snippet that was not computed is null.
    """
    snippet = None
    if hit.snippet is not None:
        marks = [list(mark) for mark in hit.snippet.marks]
        snippet = {"text": hit.snippet.text, "marks": marks}
    return {
        **indexed_task.make_hit_document(hit.rank, hit.similarity, hit.content),
        "score": round(hit.score, 4),
        "weak": hit.is_weak,
        "untagged": hit.is_untagged,
        "why": hit.why,
        "matching_tags": list(hit.tags),
        "snippet": snippet,
    }


def choose_hit_name_and_details(
    indexed_task: IndexedTask,
    hit: Hit,
) -> tuple[str, list[str]]:
    """Return the display name of a hit, and up to four short details to show after it.

    The name is the first of these that is not empty: the task's fields `name` and `label` of the
    hit, and the key. Details are the key, then job title, company and source if they are not empty.
    A detail that equals the name is left out.
    """
    fields = indexed_task.hit_fields(hit.content)
    key = indexed_task.get_entry_name(hit.metadata)
    names = (fields.get("name"), fields.get("label"), key)
    display_name = next(str(name) for name in names if name)

    detail_fields = [fields.get(name) for name in ("job_title", "company", "source")]
    details = [key, *(str(detail) for detail in detail_fields if detail)]
    return display_name, [detail for detail in details if detail != display_name]


def make_hits_part(
    indexed_task: IndexedTask,
    hits: Sequence[Hit],
    documents: Sequence[Mapping[str, Any]],
) -> Part:
    """Return the hits of a search as a part of a report: paragraphs and a table.

    The table has the task's columns, the reason, and the snippet with marked words.

    Args:
        documents: The JSON documents of the hits, in the same order.
    """
    rows = []
    for hit, document in zip(hits, documents, strict=True):
        cells = [_format_cell(document[member]) for member in indexed_task.columns.values()]
        # Every second piece of a snippet matches the question.
        marked_snippet = MATCH_MARK.join(hit.snippet.pieces) if hit.snippet else ""
        rows.append([*cells, hit.why, marked_snippet])
    table = Table((*indexed_task.columns, "why", "matched"), rows)
    paragraphs = chain.from_iterable(_iterate_hit_paragraphs(indexed_task, hit) for hit in hits)
    return Listing(list(paragraphs), table)


def _iterate_hit_paragraphs(indexed_task: IndexedTask, hit: Hit) -> Iterator[Paragraph]:
    """Yield the paragraphs of a hit.

    The heading has its rank, name and details. Indented paragraphs below it have the best passage
    with matching words in bold, the matching tags, and why the search returned the entry. A
    paragraph without content is left out.
    """
    name, details = choose_hit_name_and_details(indexed_task, hit)
    details_text = f"  {_format_cell(details)}" if details else ""
    yield Paragraph([f"{hit.rank:>3}  ", _format_cell(name), details_text])

    if hit.snippet is not None and hit.snippet.text:
        yield Paragraph(hit.snippet.pieces, HIT_INDENT_WIDTH)
    if hit.tags:
        yield Paragraph([f"tags: {', '.join(hit.tags)}"], HIT_INDENT_WIDTH)
    if hit.why:
        yield Paragraph([hit.why], HIT_INDENT_WIDTH)


def _format_cell(value: Any) -> str:
    """Return a value as one line of at most MAX_CELL_CHARS; members of a list have commas."""
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return shorten(to_single_line(text), MAX_CELL_CHARS)
