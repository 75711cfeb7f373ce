"""Measure the tags of people: figures, their gates, and samples for a person to read.

A tag is unlike its text in two steps. A tag that shares a word with the text, or a root, is like
it. The vectors of all other tags are compared with the vectors of all texts of the sample, because
words alone reject synonyms and vectors alone reject nothing. The local engine's encoder is used: it
runs here, is free, and sends nothing.

Tags are in English, so only English texts are compared.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from askrows.pipeline.core.tokenizer import extract_terms
from askrows.pipeline.experts import table
from askrows.pipeline.provider import models
from askrows.pipeline.provider.embed import embed_locally
from askrows.pipeline.quality.figures import (
    FigureValue,
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    divide,
    histogram_bars,
    list_values,
    read_figures,
    reply_values,
)
from askrows.pipeline.quality.measure import shorten_text
from askrows.pipeline.rows.cells import parse_text_list, stripped_text
from askrows.pipeline.store import answer_counts, answers, claims
from askrows.pipeline.store.database import Connection
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
# People that the report quotes for a person to read.
MAX_SAMPLES = 30
# Rows of a table of the report.
MAX_EXAMPLES = 20
# The last bar of the histogram includes all longer lists.
MAX_TAGS_OF_BAR = 12
# Most used tags whose share of people is a figure.
COMMONEST_TAGS = 10
# People whose tags are compared with their texts, chosen by a hash of their ids.
TEXT_SAMPLE_SIZE = 500
# With fewer people, no text is compared.
MIN_PEOPLE_TO_COMPARE = 50

FIGURES = read_figures(Path(__file__).with_name("figures.tsv"))


def measure(
    tx: Connection,
    task: Task,  # noqa: ARG001 - one task
    version: str | None,
) -> QualityFigures:
    """Return the quality figures, tables and samples of the tags of a version.

    Reads all people that the version tagged. The figures, by name, are numbers and shares such as
    tags per person, tags used once, parked people, and unsupported tags. A tag is unsupported if it
    does not fit the text of its person. Their share is measured on a seeded random sample of people
    with English texts, and only from MIN_PEOPLE_TO_COMPARE people on. This may load the local
    embedding model. Parked people of all versions count. The tables have the most used, the longest
    and the unsupported tags.

    Args:
        tx: Transaction; it only reads.
        task: Ignored: there is one task for people.
        version: A version (`task@n/model`), a prompt version for all its models, or None for all
            tags.
    """
    condition = table.tagged
    if version is not None:
        condition = condition & table.row_id.in_(answers.answered_ids(table.TASK, version))
    # The number of people by length of their list of tags, and by tag.
    lengths = Counter[int]()
    people_by_tag = Counter[str]()
    # Ids of the people whose texts are read.
    sample = ReservoirSample[str](TEXT_SAMPLE_SIZE, seed=SEED)
    for person_id, cell in table.people_table(tx).read_cells(tx, ("id", "tags"), condition):
        person_tags = parse_text_list(cell) or []
        lengths[len(person_tags)] += 1
        people_by_tag.update(person_tags)
        sample.offer(str(person_id), str(person_id))
    tags_by_use = _sort_by_count(people_by_tag)
    sample_ids = list(sample)
    people_count = lengths.total()

    texts: list[tuple[str, Sequence[str]]] = []
    if people_count >= MIN_PEOPLE_TO_COMPARE:
        texts = _read_english_texts(tx, sample_ids)
    unlike_tags = Counter(_find_tags_unlike_text(texts))

    common_tags = {tag for tag, _ in tags_by_use[:COMMONEST_TAGS]}
    people_with_common_tag = 0
    for (cell,) in table.people_table(tx).read_cells(tx, ("tags",), condition):
        if not common_tags.isdisjoint(parse_text_list(cell) or ()):
            people_with_common_tag += 1

    parked_count = len(claims.parked_rows(tx, table.TASK))
    compared_tags = sum(len(tags) for _, tags in texts)
    single_use_tags = sum(use_count == 1 for use_count in people_by_tag.values())
    values: dict[str, FigureValue] = {
        **list_values("tags", lengths),
        "used-once": (divide(single_use_tags, len(people_by_tag)), people_count),
        "commonest": (divide(people_with_common_tag, people_count), people_count),
        "at-minimum": (divide(lengths[1], people_count), people_count),
        "unlike-text": (divide(unlike_tags.total(), compared_tags), len(texts)),
        "longest-tag": (max(map(len, people_by_tag), default=None), people_count),
        "parked": (
            divide(parked_count, people_count + parked_count),
            people_count + parked_count,
        ),
        "people": (people_count, people_count),
        "different-tags": (len(people_by_tag), people_count),
        **reply_values(answer_counts.count_replies(tx, table.TASK, version)),
    }

    unlike_examples = _sort_by_count(unlike_tags)[:MAX_EXAMPLES]
    histogram = histogram_bars(
        "Tags per person",
        "people",
        lengths,
        max_bar=MAX_TAGS_OF_BAR,
    )
    return QualityFigures(
        title="Quality of the tags of people",
        version=version or "all",
        rows=people_count,
        figures=FIGURES,
        values=values,
        tables=[
            *histogram,
            ReportTable("Most used tags", ("tag", "people"), tags_by_use[:MAX_EXAMPLES]),
            ReportTable("Unsupported tags", ("tag", "people in the sample"), unlike_examples),
        ],
        samples=list(_read_tag_samples(tx, sample_ids[:MAX_SAMPLES])),
    )


def _sort_by_count(tag_counts: Counter[str]) -> list[tuple[str, int]]:
    """Return tags with their counts, highest count first, equal counts by tag."""
    return sorted(tag_counts.items(), key=lambda tag_count: (-tag_count[1], tag_count[0]))


def _read_tag_samples(tx: Connection, ids: list[str]) -> Iterator[Sample]:
    """Yield the name, the cut biography and the tags of people, in the order of `ids`.

    Ids without a row are skipped.
    """
    rows = table.people_table(tx).read_rows(tx, ids, (table.USERNAME, "bio", "tags"))
    for person_id in ids:
        row = rows.get(person_id)
        if row is None:
            continue
        username = stripped_text(row[table.USERNAME])
        tags = ", ".join(parse_text_list(row["tags"]) or [])
        yield Sample(person_id, username, shorten_text(stripped_text(row["bio"])), (), tags)


def _read_english_texts(tx: Connection, ids: list[str]) -> list[tuple[str, Sequence[str]]]:
    """Return job title and biography as one text, and the tags, of people with an English text.

    A text is English if it has at least MIN_ENGLISH_WORDS different words of ENGLISH_WORDS. The
    order is that of the database.
    """
    rows = table.people_table(tx).read_rows(tx, ids, ("job_title", "bio", "tags"))
    texts: list[tuple[str, Sequence[str]]] = []
    for row in rows.values():
        text = f"{stripped_text(row['job_title'])} {stripped_text(row['bio'])}"
        english_words = ENGLISH_WORDS.intersection(text.lower().split())
        if len(english_words) >= MIN_ENGLISH_WORDS:
            texts.append((text, parse_text_list(row["tags"]) or ()))
    return texts


def _find_tags_unlike_text(texts: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Return the tags that do not fit the text of their person.

    Such a tag shares no term or root with its person's text. Also, too many of the other texts are
    more similar to the tag than its person's text: more than the share MAX_NEARER_TEXTS_SHARE.
    Similarity is that of vectors of the local embedding model, which is loaded only if some tag
    shares no term. A tag of several people can be in the list several times.

    Args:
        texts: Text and tags of each person.
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
    texts: Sequence[tuple[str, Sequence[str]]],
) -> Iterator[tuple[int, str]]:
    """Yield the index of the text and the tag, for each tag that shares no term or root with it."""
    for text_index, (text, tags) in enumerate(texts):
        text_terms = set(extract_terms(text))
        for tag in tags:
            if not any(_is_in_text(term, text_terms) for term in extract_terms(tag)):
                yield text_index, tag


def _is_in_text(term: str, text_terms: set[str]) -> bool:
    """Return whether a term, or another term of its root, is among the terms of a text."""
    return term in text_terms or any(_are_alike(term, text_term) for text_term in text_terms)


def _are_alike(tag_term: str, text_term: str) -> bool:
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
