"""Measure the concepts of a version, and check all concepts against passages and answers.

- `measure` returns the figures of a quality report, and samples to read.
- `verify_concepts` compares every concept with its passage and with the answers.

Both use constant memory: the database adds up, and rows are read page by page.
"""

import json
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, cast, false, func, select

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.locate import cut_to_whole_words
from askrows.pipeline.core.quotes import format_likeness
from askrows.pipeline.passages import table
from askrows.pipeline.passages.declaration import CONCEPT_TYPES
from askrows.pipeline.passages.table import ConceptRow, PassagesShape
from askrows.pipeline.quality.figures import (
    FigureValue,
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    compute_divergence,
    divide,
    histogram_bars,
    list_values,
    read_figures,
    reply_values,
)
from askrows.pipeline.rows.cells import cell_to_text, parse_json_cell
from askrows.pipeline.rows.grid import distinct_value_pages
from askrows.pipeline.store import answer_counts, answers
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.database import stream_rows
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.tasks.task_values import MAX_NAMED_ROWS, RowFault, RowFaults

# Rows per fetch.
FETCHED_ROWS = 2000
# Separates concept names in a joined text. It is Unicode's unit separator, which no name contains.
NAME_SEPARATOR = "\x1f"
SEED = 7
# Samples in a report.
MAX_SAMPLES = 30
# Answers whose quotations are compared with their passages.
MAX_CHECKED_ANSWERS = 500
# Rows of a table in a report.
MAX_TABLE_ROWS = 20
# A longer name counts as garbage.
MAX_NAME_CHARS = 60
# Longer lists of concepts share a bar.
MAX_BAR_LENGTH = 20
# Characters of the passage before and after the quotation of a sample.
SAMPLE_CONTEXT_CHARS = 140
# The prompt asks for at most 14 concepts.
MAX_CONCEPTS = 14
FIGURES = read_figures(Path(__file__).with_name("figures.tsv"))

# Prompt version and model.
_VersionKey = tuple[str, str]
# The id of a passage, and the version of its concepts.
_AnswerKey = tuple[str, _VersionKey]
# Number of concepts by version, and by type in lower case.
_TypeCounts = dict[_VersionKey, Counter[str]]


def _count_types(tx: Connection, shape: PassagesShape) -> tuple[_TypeCounts, Counter[_VersionKey]]:
    """Count all concepts in the table by version and type, with a single query.

    Returns:
        The counts by version and by type in lower case, and the numbers of concepts with evidence
        by version.
    """
    concepts = shape.concepts.c
    group = (concepts.extractor_version, concepts.extractor_model, concepts.concept_type)
    query = select(*group, func.count(), func.count(concepts.evidence)).group_by(*group)
    type_counts = _TypeCounts()
    proven_counts = Counter[_VersionKey]()
    for prompt_version, model, type_cell, concept_count, proven_count in tx.execute(query):
        version = cell_to_text(prompt_version), cell_to_text(model)
        type_name = " ".join(cell_to_text(type_cell).casefold().split())
        type_counts.setdefault(version, Counter())[type_name] += concept_count
        proven_counts[version] += proven_count
    return type_counts, proven_counts


def parse_quotations(evidence: Any) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, quotation) of the valid quotations in an evidence document.

    Another program may have written the document, so parts of another shape are skipped. Quotations
    with negative offsets, or that end before they start, are skipped, too.
    """
    support = evidence.get("support") if isinstance(evidence, dict) else None
    for quotation in support if isinstance(support, list) else ():
        if not isinstance(quotation, dict):
            continue
        start = quotation.get("start")
        end = quotation.get("end")
        quote = quotation.get("quote")
        # A bool is an int, but no offset.
        if type(start) is not int or type(end) is not int or not isinstance(quote, str):
            continue
        if 0 <= start <= end:
            yield start, end, quote


class _ConceptListTally:
    """Sums over the concept lists of all measured answers."""

    def __init__(self) -> None:
        # Number of answers by number of concepts.
        self.lengths = Counter[int]()
        # Concepts whose name repeats another name of the same answer, in any case.
        self.repeated_count = 0
        # Concepts whose name has more than MAX_NAME_CHARS.
        self.long_name_count = 0
        # A random sample of the answers.
        self.sample = ReservoirSample[_AnswerKey](MAX_CHECKED_ANSWERS, seed=SEED + 1)


def _tally_concept_lists(
    tx: Connection,
    shape: PassagesShape,
    versions: Collection[_VersionKey],
) -> _ConceptListTally:
    """Read the concepts of some versions, and count them for the quality figures.

    An answer is all concepts of one passage by one version. Counted are answers by number of
    concepts, concepts whose name repeats another name of their answer, and long names. A random
    sample of the answers is drawn, too. Only reads, page by page.
    """
    concepts = shape.concepts.c
    group = (concepts.passage_id, concepts.extractor_version, concepts.extractor_model)
    query = (
        select(
            *group,
            func.count(),
            func.aggregate_strings(cast(concepts.concept_name, Text), NAME_SEPARATOR),
        )
        .group_by(*group)
        .order_by(*group)
        .where(table.is_of_version(shape, versions))
    )

    tally = _ConceptListTally()
    fetched_pages: Iterator[Any] = stream_rows(tx, query, page=FETCHED_ROWS).partitions()
    for page in fetched_pages:
        for passage_id, prompt_version, model, length, joined_names in page:
            version = cell_to_text(prompt_version), cell_to_text(model)
            answer_key = cell_to_text(passage_id), version
            names = joined_names.split(NAME_SEPARATOR)
            distinct_names = {" ".join(name.casefold().split()) for name in names}
            # The length includes concepts without a name.
            tally.lengths[length] += 1
            tally.repeated_count += length - len(distinct_names)
            tally.long_name_count += sum(len(name) > MAX_NAME_CHARS for name in names)
            tally.sample.offer(json.dumps(answer_key), answer_key)
    return tally


def measure(tx: Connection, shape: PassagesShape, version: str | None) -> QualityFigures:
    """Return the quality figures, tables and samples on the concepts of a version.

    Only reads. Quotations are compared with their passages for a seeded sample of
    MAX_CHECKED_ANSWERS answers. The types of concepts are compared with those of all other
    versions, of which there are none if `version` is None.

    Args:
        tx: A transaction, only read.
        shape: The tables of the workspace.
        version: `task@n/model`, `task@n` for all models, or None for all versions.
    """
    type_counts, proven_counts = _count_types(tx, shape)
    versions = [
        version_key
        for version_key in sorted(type_counts)
        if version in {None, version_key[0], "/".join(version_key)}
    ]
    other_versions = [
        version_key for version_key in sorted(type_counts) if version_key not in versions
    ]
    types = sum((type_counts[version_key] for version_key in versions), Counter[str]())
    other_types = sum((type_counts[version_key] for version_key in other_versions), Counter[str]())
    proven_count = sum(proven_counts[version_key] for version_key in versions)

    tally = _tally_concept_lists(tx, shape, versions)
    sampled_answers = _read_answers(tx, shape, list(tally.sample))
    quotation_checks = list(chain.from_iterable(map(_check_quotations, sampled_answers)))

    lengths = tally.lengths
    answer_count = lengths.total()
    concept_count = sum(length * times for length, times in lengths.items())
    full_count = sum(times for length, times in lengths.items() if length >= MAX_CONCEPTS)
    replies = answer_counts.count_replies(tx, table.TASK, version)
    # Passages with an attempt or an answer, but without concepts.
    empty_count = answer_counts.count_failed_rows(tx, table.TASK, version)
    stored_count = answer_counts.count_answered(tx, table.TASK, version)
    empty_count += max(0, stored_count - answer_count)
    asked_count = answer_count + empty_count
    values: dict[str, FigureValue] = {
        "coverage": (divide(answer_count, asked_count), asked_count),
        "evidence": (divide(proven_count, types.total()), answer_count),
        **list_values("concepts", lengths),
        "full": (divide(full_count, answer_count), answer_count),
        "other": (divide(types["other"], types.total()), types.total()),
        "parse-failure": (divide(replies.invalid, replies.total), replies.total),
        "divergence": _type_divergence(types, other_types),
        "garbage": (divide(tally.long_name_count, concept_count), answer_count),
        "duplicates": (divide(tally.repeated_count, concept_count), answer_count),
        "unlike-text": (
            divide(quotation_checks.count(False), len(quotation_checks)),
            len(quotation_checks),
        ),
        **reply_values(replies),
        "passages": (answer_count, answer_count),
    }
    notes = []
    if len(versions) > 1:
        notes = [f"the figures include {len(versions)} versions; a passage counts once per version"]
    return QualityFigures(
        title="Quality of the concepts of passages",
        version=version or "all",
        rows=answer_count,
        figures=FIGURES,
        values=values,
        tables=[
            *histogram_bars("Concepts per passage", "passages", lengths, max_bar=MAX_BAR_LENGTH),
            ReportTable("Types of concepts", ("", "concepts"), types.most_common(MAX_TABLE_ROWS)),
        ],
        samples=[_make_sample(answer) for answer in sampled_answers[:MAX_SAMPLES]],
        notes=notes,
    )


def _type_divergence(types: Counter[str], other_types: Counter[str]) -> FigureValue:
    """Return the divergence of two distributions of types, with the smaller concept count.

    Types of another vocabulary cannot be compared, so they do not count.
    """
    known_types = {name: types[name] for name in CONCEPT_TYPES if types[name]}
    known_other_types = {name: other_types[name] for name in CONCEPT_TYPES if other_types[name]}
    compared_count = min(sum(known_types.values()), sum(known_other_types.values()))
    return compute_divergence(known_types, known_other_types), compared_count


class _ReadAnswer(NamedTuple):
    """An answer that was read whole."""

    passage_id: str
    # Never empty.
    concepts: Sequence[ConceptRow]
    # The text of the passage, or None if the passage is gone.
    text: str | None


def _check_quotations(answer: _ReadAnswer) -> list[bool]:
    """Return for each quotation whether it equals the text at its offsets.

    The list is empty if the passage is gone.
    """
    text = answer.text
    if text is None:
        return []
    quotations = chain.from_iterable(
        parse_quotations(concept.evidence) for concept in answer.concepts
    )
    return [text[start:end] == quote for start, end, quote in quotations]


def _make_sample(answer: _ReadAnswer) -> Sample:
    """Return a concept of an answer with the part of the passage around its first quotation.

    The concept is drawn at random, but a repeated call draws the same. A concept with a quotation
    that was found by likeness is preferred. If the concept has no quotation, or a wrong quotation,
    the sample has the beginning of the passage and a note. It has no text if the passage is gone.
    """
    concept = random.Random(answer.passage_id).choice(answer.concepts)  # noqa: S311 - a sample
    text = answer.text
    facts = f"{concept.concept_type or 'no type'}, {concept.confidence}"
    sample = Sample(answer.passage_id, concept.concept_name, "", (), facts)
    if text is None:
        return sample._replace(answer_text=f"{facts}; the passage was deleted")

    quotations = sorted(parse_quotations(concept.evidence))
    is_misquoted = any(text[start:end] != quote for start, end, quote in quotations)
    if not quotations or is_misquoted:
        fault = "WRONG OFFSETS" if is_misquoted else "without a quotation"
        beginning, _ = cut_to_whole_words(text, 0, 2 * SAMPLE_CONTEXT_CHARS)
        return sample._replace(text=beginning, answer_text=f"{facts}; {fault}")

    start, end, _ = quotations[0]
    part, shift = cut_to_whole_words(text, start - SAMPLE_CONTEXT_CHARS, end + SAMPLE_CONTEXT_CHARS)
    likeness_notes = dict.fromkeys(map(format_likeness, concept.evidence["support"]))
    span = (start + shift, end + shift)
    return sample._replace(text=part, spans=[span], answer_text=facts + "".join(likeness_notes))


def _read_answers(
    tx: Connection,
    shape: PassagesShape,
    keys: Sequence[_AnswerKey],
) -> list[_ReadAnswer]:
    """Return the concepts and texts of some answers, in the order of the keys."""
    texts = table.read_passage_texts(tx, shape, [passage_id for passage_id, _ in keys])
    concepts_by_key = {
        key: list(table.iterate_concepts(tx, shape, passage_id=key[0], version=key[1]))
        for key in keys
    }
    return [
        _ReadAnswer(key[0], concepts, texts.get(key[0]))
        for key, concepts in concepts_by_key.items()
    ]


# ---- check every row

# Passages whose texts and concepts are in memory together.
CHECK_BLOCK_SIZE = 200
MISQUOTATION = "quotations that differ from the text at their offsets"
UNANSWERED_CONCEPT = "concepts without an applied answer"
UNWRITTEN_ANSWER = "applied answers without concepts"
ORPHANED_CONCEPT = "concepts of missing passages"
ROLLBACK_HINT = HintTemplate(
    "run `{}`, then ask again",
    CommandHint("rollback", answer_version="…"),
)
# By kind: why it matters, a hint, and whether it is a contradiction.
FAULTS: Mapping[str, tuple[str, object, bool]] = {
    MISQUOTATION: ("the evidence of these concepts is wrong", ROLLBACK_HINT, True),
    UNANSWERED_CONCEPT: (
        "their origin and cost are unknown",
        ROLLBACK_HINT,
        True,
    ),
    UNWRITTEN_ANSWER: (
        "their passages count as answered but have no concepts",
        ROLLBACK_HINT,
        True,
    ),
    ORPHANED_CONCEPT: (
        "another program deleted the passages, or changed their ids",
        "restore the passages, or roll back the version",
        False,
    ),
}


def verify_concepts(
    tx: Connection,
    shape: PassagesShape,
) -> tuple[Mapping[str, int], Sequence[RowFault]]:
    """Compare the concepts that askrows wrote with their passages and with the applied answers.

    Concepts of corrections are included. Concepts of other programs, and of versions whose rollback
    began, are not checked. Only reads.

    Returns:
        The numbers by name, and the faults. Concepts of missing passages are in the faults, but the
        numbers do not count them as faults, because another program may delete passages.
    """
    versions = answers.list_versions(tx, table.TASK)
    versions.append(VersionCounts(answers.PERSON))
    faults = RowFaults(FAULTS)
    concept_count, quotation_count = _check_passages(tx, shape, versions, faults)

    for counts in versions:
        _compare_with_answers(tx, shape, counts, faults)

    figures = {
        "quotations": quotation_count,
        "concepts": concept_count,
        "faults": faults.total() - faults[ORPHANED_CONCEPT],
    }
    return figures, faults.summarize_faults()


def _check_passages(
    tx: Connection,
    shape: PassagesShape,
    versions: Sequence[VersionCounts],
    faults: RowFaults,
) -> tuple[int, int]:
    """Compare all quotations of versions with their passages, and add differences to `faults`.

    A difference is a quotation that is empty or not at its offsets, evidence (the stored quotations
    of a concept) without a valid quotation, or a concept without a passage.

    Returns:
        The numbers of concepts and of quotations that were checked.
    """
    concepts = shape.concepts.c
    passage_id = concepts.passage_id
    is_own_version = _version_condition(shape, versions)
    prompt_versions = [version.prompt_version for version in versions]
    is_of_versions = concepts.extractor_version.in_(prompt_versions)
    concept_count = 0
    quotation_count = 0
    for ids in distinct_value_pages(tx, passage_id, is_of_versions, size=CHECK_BLOCK_SIZE):
        texts = table.read_passage_texts(tx, shape, [cell_to_text(cell) for cell in ids])
        query = select(passage_id, concepts.evidence).where(passage_id.in_(ids), is_own_version)
        for id_cell, evidence_cell in tx.execute(query):
            key = cell_to_text(id_cell)
            quotations = list(parse_quotations(parse_json_cell(evidence_cell)))
            concept_count += 1
            quotation_count += len(quotations)
            text = texts.get(key)
            if text is None:
                faults.add(ORPHANED_CONCEPT, [key])
                continue

            wrong_count = sum(
                start >= end or text[start:end] != quote for start, end, quote in quotations
            )
            # Evidence without a valid quotation is a fault, too.
            wrong_count += evidence_cell is not None and not quotations
            faults.add(MISQUOTATION, [key], wrong_count)
    return concept_count, quotation_count


def _compare_with_answers(
    tx: Connection,
    shape: PassagesShape,
    version_counts: VersionCounts,
    faults: RowFaults,
) -> None:
    """Find passages that have only concepts, or only an applied answer, of a version.

    The database compares them by passage id. `faults` gets their numbers and the first ids.

    Args:
        version_counts: Names the version; its counts are not used.
    """
    with_concepts = select(cast(shape.concepts.c.passage_id, Text).label("row_id")).where(
        _version_condition(shape, [version_counts]),
    )
    columns = answers_table.c
    with_answer = select(columns.row_id).where(
        (columns.task == table.TASK)
        & (columns.version == version_counts.version)
        & columns.applied,
    )
    comparisons = (
        (UNANSWERED_CONCEPT, with_concepts, with_answer),
        (UNWRITTEN_ANSWER, with_answer, with_concepts),
    )
    for kind, present, expected in comparisons:
        difference = present.except_(expected).subquery()
        row_id = difference.c.row_id
        examples = tx.execute(select(row_id).order_by(row_id).limit(MAX_NAMED_ROWS + 1)).scalars()
        count = tx.execute(select(func.count()).select_from(difference)).scalar_one()
        faults.add(kind, list(map(cell_to_text, examples)), count)


def _version_condition(
    shape: PassagesShape,
    versions: Sequence[VersionCounts],
) -> ColumnElement[bool]:
    """Return the SQL condition that a concept is of some versions; true or false, never NULL."""
    version_keys = [(version.prompt_version, version.model) for version in versions]
    return func.coalesce(table.is_of_version(shape, version_keys), false())
