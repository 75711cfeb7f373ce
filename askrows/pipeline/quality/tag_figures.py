"""Measure the tags in the lists of texts of the answers of a user's task.

A tag is a text in a list. It is unlike the text of its row in two steps. A tag that shares a word
with the text, or a root, is like it. The vectors of all other tags are compared with the vectors of
all texts of the sample, because words alone reject synonyms and vectors alone reject nothing. The
local engine's encoder is used: it runs here, is free, and sends nothing.

Most tags are in English, so only English texts are compared.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from askrows.pipeline.core.tokenizer import extract_terms
from askrows.pipeline.provider import models
from askrows.pipeline.provider.embed import embed_locally
from askrows.pipeline.quality.figures import (
    Figure,
    FigureValue,
    ReportTable,
    ReservoirSample,
    compute_histogram_mean,
    divide,
    make_histogram_tables,
    read_figures_of_file,
)
from askrows.pipeline.rows.cells import to_stripped_text
from askrows.pipeline.store import answers
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.tag_merges import get_tags
from askrows.pipeline.tasks.tag_lists import TagList, list_tag_lists
from askrows.pipeline.tasks.task import Task

ENCODER = "askrows-local-embedding-1"
VECTOR_WIDTH = 768
# Common prefix of two terms of one root, as a share of the longer term.
MIN_COMMON_PREFIX_SHARE = 0.6
# Letters of a term that is part of another term: `keep` in `beekeep`.
MIN_TERM_LETTERS = 4
# If more than this share of the texts is nearer to a tag than its own text, the tag is unlike it.
MAX_NEARER_TEXTS_SHARE = 0.25
ENGLISH_WORDS = frozenset(
    {"the", "and", "of", "with", "for", "my", "is", "from", "by", "our", "at", "has", "who", "as"},
)
# Different words of `ENGLISH_WORDS` in an English text.
MIN_ENGLISH_WORDS = 2
SEED = 7
# Rows of a table of the report.
MAX_EXAMPLES = 20
# The last bar of the histogram includes all longer lists.
MAX_TAGS_OF_BAR = 12
# Most used tags whose share of rows is a figure.
COMMONEST_TAGS = 10
# Rows whose tags are compared with their texts, chosen by a hash of their ids.
TEXT_SAMPLE_SIZE = 500
# With fewer rows, no text is compared.
MIN_ROWS_TO_COMPARE = 50
# Names, descriptions and reasons have placeholders. `gates=` and GATES set the bounds.
_FIGURES = read_figures_of_file(Path(__file__).with_name("tag_figures.tsv"))


def make_tag_figures(task: Task) -> list[Figure]:
    """Return the figures of `tag_figures.tsv` for each list of texts in the answers of a task."""
    figures: list[Figure] = []
    for tag_list in list_tag_lists(task):
        for figure in _FIGURES:
            description = _fill_placeholders(figure.description, tag_list)
            reason = _fill_placeholders(figure.bounds_reason, tag_list)
            name = make_figure_name(figure.name, tag_list)
            figures.append(
                figure._replace(name=name, description=description, bounds_reason=reason)
            )
    return figures


def make_figure_name(template: str, tag_list: TagList) -> str:
    """Return the name of a figure of a list; it has the field's name if there are several lists."""
    name = _fill_placeholders(template, tag_list)
    if name == template and len(list_tag_lists(tag_list.task)) > 1:
        return f"{name}-{tag_list.field.name}"
    return name


def _fill_placeholders(template: str, tag_list: TagList) -> str:
    """Return a text with the words of a list in its placeholders."""
    nouns = tag_list.task.nouns
    return template.format(
        field=tag_list.field.name,
        tags=tag_list.field.label,
        row=nouns.singular,
        rows=nouns.plural,
        rows_member=tag_list.rows_member,
    )


class TaggedText(NamedTuple):
    """The text of a row, and the tags of its answer."""

    text: str
    tags: Sequence[str]


class TagTally:
    """Counts of the tags in a list of the answers of a version."""

    def __init__(self) -> None:
        """Create counts of no row."""
        # The number of rows by length of their list, and by tag.
        self.lengths = Counter[int]()
        self.rows_by_tag = Counter[str]()
        # Ids and tags of the rows whose texts are read.
        self.sample = ReservoirSample[tuple[str, Sequence[str]]](TEXT_SAMPLE_SIZE, seed=SEED)

    def add_tags(self, row_id: str, tags: Sequence[str]) -> None:
        """Count the tags of a row."""
        self.lengths[len(tags)] += 1
        self.rows_by_tag.update(tags)
        self.sample.offer(row_id, (row_id, tags))

    @property
    def row_count(self) -> int:
        """Return the number of counted rows."""
        return self.lengths.total()

    def compute_values_and_unlike_tags(
        self, tag_lists: Iterable[Sequence[str]], texts: Sequence[TaggedText]
    ) -> tuple[dict[str, FigureValue], Counter[str]]:
        """Return the values by the names in `tag_figures.tsv`, and tags that are unlike their text.

        Args:
            tag_lists: The tags of all rows again.
            texts: Texts and tags of rows with an English text.
        """
        row_count = self.row_count
        common_tags = {tag for tag, _ in sort_by_count(self.rows_by_tag)[:COMMONEST_TAGS]}
        common_rows = sum(not common_tags.isdisjoint(tags) for tags in tag_lists)
        unlike_tags = Counter(find_tags_unlike_text(texts))
        compared_tags = sum(len(tags) for _, tags in texts)
        single_use_tags = sum(use_count == 1 for use_count in self.rows_by_tag.values())
        values: dict[str, FigureValue] = {
            "{field}": (compute_histogram_mean(self.lengths), row_count),
            "used-once": (divide(single_use_tags, len(self.rows_by_tag)), row_count),
            "commonest": (divide(common_rows, row_count), row_count),
            "at-minimum": (divide(self.lengths[1], row_count), row_count),
            "unlike-text": (divide(unlike_tags.total(), compared_tags), len(texts)),
            "longest-tag": (max(map(len, self.rows_by_tag), default=None), row_count),
            "{rows_member}": (row_count, row_count),
            "different-{field}": (len(self.rows_by_tag), row_count),
        }
        return values, unlike_tags

    def make_tables(
        self, unlike_tags: Counter[str], *, title: str, noun: str, plural_noun: str
    ) -> list[ReportTable]:
        """Return the lengths of the lists, the most used tags, and the tags unlike their text.

        Args:
            title: Word for tags.
            noun: Word for a row.
            plural_noun: Word for several rows.
        """
        histogram = make_histogram_tables(
            f"{title.capitalize()} per {noun}",
            plural_noun,
            self.lengths,
            max_bar=MAX_TAGS_OF_BAR,
        )
        used_tags = sort_by_count(self.rows_by_tag)[:MAX_EXAMPLES]
        unlike_examples = sort_by_count(unlike_tags)[:MAX_EXAMPLES]
        sample_header = ("tag", f"{plural_noun} in the sample")
        return [
            *histogram,
            ReportTable(f"Most used {title}", ("tag", plural_noun), used_tags),
            ReportTable(f"Unsupported {title}", sample_header, unlike_examples),
        ]


def measure_tag_list(
    tx: Connection, tag_list: TagList, version: str | None
) -> tuple[dict[str, FigureValue], list[ReportTable]]:
    """Return the values and the tables of a list of texts. Rows with an empty list are left out.

    Tags are compared with texts only if at least MIN_ROWS_TO_COMPARE rows have tags.

    Args:
        tx: A transaction, only read.
        version: As in `measure.measure_answers`.
    """
    tally = TagTally()
    for row_id, tags in _iterate_row_tags(tx, tag_list, version):
        tally.add_tags(row_id, tags)
    texts: list[TaggedText] = []
    if tally.row_count >= MIN_ROWS_TO_COMPARE:
        texts = read_english_texts_with_tags(tx, tag_list, tally.sample)

    tags_again = (tags for _, tags in _iterate_row_tags(tx, tag_list, version))
    values_by_template, unlike_tags = tally.compute_values_and_unlike_tags(tags_again, texts)
    values = {
        make_figure_name(template, tag_list): value
        for template, value in values_by_template.items()
    }
    nouns = tag_list.task.nouns
    tables = tally.make_tables(
        unlike_tags,
        title=tag_list.field.label,
        noun=nouns.singular,
        plural_noun=nouns.plural,
    )
    return values, tables


def _iterate_row_tags(
    tx: Connection, tag_list: TagList, version: str | None
) -> Iterator[tuple[str, list[str]]]:
    """Yield the id and the tags of each row with tags in an answer of a version."""
    for row_id, answer_json in answers.iterate_newest_answers(tx, tag_list.task.name, version):
        tags = get_tags(json.loads(answer_json), tag_list.field.name)
        if tags:
            yield row_id, tags


def read_english_texts_with_tags(
    tx: Connection, tag_list: TagList, sample: Iterable[tuple[str, Sequence[str]]]
) -> list[TaggedText]:
    """Return the sent text, without the key, and the tags of the rows with an English text.

    Args:
        sample: Ids of rows, with their tags.
    """
    record = tag_list.task.record
    keys = {*dict(record.key), record.file_key}
    columns = [name for name in record.asked_columns if name not in keys]
    tags_by_id = dict(sample)
    texts: list[TaggedText] = []
    for row_id, row in tag_list.task.read_rows(tx, list(tags_by_id)).items():
        text = " ".join(to_stripped_text(row[name]) for name in columns)
        if is_english(text):
            texts.append(TaggedText(text, tags_by_id[row_id]))
    return texts


def is_english(text: str) -> bool:
    """Return whether a text has at least MIN_ENGLISH_WORDS different words of ENGLISH_WORDS."""
    return len(ENGLISH_WORDS.intersection(text.lower().split())) >= MIN_ENGLISH_WORDS


def sort_by_count(tag_counts: Counter[str]) -> list[tuple[str, int]]:
    """Return tags with their counts, highest count first, equal counts by tag."""
    return sorted(tag_counts.items(), key=lambda tag_count: (-tag_count[1], tag_count[0]))


def find_tags_unlike_text(texts: Sequence[TaggedText]) -> list[str]:
    """Return the tags that do not fit the text of their row.

    Such a tag shares no term or root with its row's text. Also, too many of the other texts are
    more similar to the tag than its row's text: more than the share MAX_NEARER_TEXTS_SHARE.
    Similarity is that of vectors of the local embedding model, which is loaded only if some tag
    shares no term. A tag of several people can be in the list several times.

    Args:
        texts: Text and tags of each row.
    """
    strange = list(_find_tags_without_common_term(texts))
    if not strange:
        return []

    model = models.load_models(None)[ENCODER]
    text_vectors = embed_locally(
        model, [text for text, _ in texts], dim=VECTOR_WIDTH, is_query=True
    )
    tag_vectors = embed_locally(model, [tag for _, tag in strange], dim=VECTOR_WIDTH, is_query=True)
    # One row per tag, one column per text.
    similarities = tag_vectors @ text_vectors.T
    own_text_indexes = [text_index for text_index, _ in strange]
    own_similarities = similarities[range(len(strange)), own_text_indexes]
    # The share of the texts that are nearer to a tag than its own text.
    nearer = (similarities > own_similarities[:, None]).mean(axis=1)
    return [
        tag
        for (_, tag), nearer_share in zip(strange, nearer, strict=True)
        if nearer_share > MAX_NEARER_TEXTS_SHARE
    ]


def _find_tags_without_common_term(
    texts: Sequence[TaggedText],
) -> Iterator[tuple[int, str]]:
    """Yield the index of the text and the tag, for each tag that shares no term or root with it."""
    for text_index, (text, tags) in enumerate(texts):
        text_terms = set(extract_terms(text))
        for tag in tags:
            if not any(_is_in_text(term, text_terms) for term in extract_terms(tag)):
                yield text_index, tag


def _is_in_text(term: str, text_terms: set[str]) -> bool:
    """Return whether a term, or another term of its root, is among the terms of a text."""
    return term in text_terms or any(
        _contains_or_shares_root(term, text_term) for text_term in text_terms
    )


def _contains_or_shares_root(tag_term: str, text_term: str) -> bool:
    """Return whether the term of a text is part of a tag's term, or both probably share a root.

    `keep` is part of `beekeep`; a part has at least MIN_TERM_LETTERS letters. The reverse, a tag's
    term that is part of the text's term, does not count. Two terms share a root if their common
    prefix has more than MIN_TERM_LETTERS letters and at least the share MIN_COMMON_PREFIX_SHARE of
    the longer term.
    """
    if len(text_term) >= MIN_TERM_LETTERS and text_term in tag_term:
        return True

    prefix_length = 0
    for tag_letter, text_letter in zip(tag_term, text_term, strict=False):
        if tag_letter != text_letter:
            break
        prefix_length += 1
    longer_length = max(len(tag_term), len(text_term))
    if prefix_length <= MIN_TERM_LETTERS:
        return False
    return prefix_length >= MIN_COMMON_PREFIX_SHARE * longer_length
