"""Measure the concepts of a version, and check all concepts against passages and answers.

- `measure_concept_quality` returns the figures of a quality report, and samples to read.
- `compare_concepts_with_passages_and_answers` compares every concept with its passage and with the
  answers.

Both use constant memory: concepts are read page by page.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, Text, cast, func, select

from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.locate import cut_with_ellipses
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
    compute_histogram_mean,
    compute_jensen_shannon_divergence,
    compute_reply_values,
    divide,
    make_histogram_tables,
    read_figures_with_usage,
)
from askrows.pipeline.rows.cells import cell_to_text
from askrows.pipeline.store import answer_counts, answers
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks.task_values import MAX_NAMED_ROWS, RowFault, RowFaults

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
FIGURES = read_figures_with_usage(Path(__file__).with_name("figures.tsv"))


class _Answer(NamedTuple):
    """All concepts of a passage by a version."""

    passage_id: str
    # Never empty.
    concepts: Sequence[ConceptRow]


class _ConceptTally:
    """Sums over the concepts of the measured versions."""

    def __init__(self) -> None:
        # The measured versions.
        self.versions = set[str]()
        # Number of answers by number of concepts.
        self.lengths = Counter[int]()
        # Number of concepts by type in lower case, of the measured versions and of all others.
        self.types = Counter[str]()
        self.other_types = Counter[str]()
        # Concepts with evidence.
        self.proven_count = 0
        # Concepts whose name repeats another name of the same answer, in any case.
        self.repeated_count = 0
        # Concepts whose name has more than MAX_NAME_CHARS.
        self.long_name_count = 0
        # A random sample of the answers.
        self.sample = ReservoirSample[_Answer](MAX_CHECKED_ANSWERS, seed=SEED + 1)

    def count_and_sample_answer(self, answer: _Answer) -> None:
        """Count the concepts of a measured answer, and offer the answer to the sample."""
        version_key = answer.concepts[0].version_key
        self.versions.add(VersionCounts(*version_key).version)
        names = [concept.concept_name for concept in answer.concepts]
        self.lengths[len(names)] += 1
        self.types.update(_list_types(answer))
        self.proven_count += sum(concept.evidence is not None for concept in answer.concepts)
        self.repeated_count += len(names) - len(set(map(_fold, names)))
        self.long_name_count += sum(len(name) > MAX_NAME_CHARS for name in names)
        self.sample.offer(json.dumps((answer.passage_id, version_key)), answer)


def _fold(text: str) -> str:
    """Return a text in lower case with single blanks."""
    return " ".join(text.casefold().split())


def _list_types(answer: _Answer) -> list[str]:
    return [_fold(concept.concept_type) for concept in answer.concepts]


def _tally_concepts_and_other_types(
    tx: Connection, shape: PassagesShape, version: str | None
) -> _ConceptTally:
    """Count the concepts of a version, and the types of the concepts of all other versions.

    Reads all concepts of the table in constant memory. If `version` is None, all are measured.
    """
    tally = _ConceptTally()
    all_concepts = table.iterate_concepts(tx, shape)
    for passage_id, concepts in groupby(all_concepts, key=attrgetter("passage_id")):
        concepts_by_version: dict[tuple[str, str], list[ConceptRow]] = {}
        for concept in concepts:
            concepts_by_version.setdefault(concept.version_key, []).append(concept)
        for version_key, version_concepts in concepts_by_version.items():
            answer = _Answer(passage_id, version_concepts)
            name = VersionCounts(*version_key).version
            if version is None or belongs_to_version(name, version):
                tally.count_and_sample_answer(answer)
            else:
                tally.other_types.update(_list_types(answer))
    return tally


def measure_concept_quality(
    tx: Connection, shape: PassagesShape, version: str | None
) -> QualityFigures:
    """Return the quality figures, tables and samples on the concepts of a version.

    Only reads. Quotations are compared with their passages for a seeded sample of
    MAX_CHECKED_ANSWERS answers. The types of concepts are compared with those of all other
    versions, of which there are none if `version` is None.

    Args:
        tx: A transaction, only read.
        shape: The tables of the workspace.
        version: `task@n/model`, `task@n` for all models, or None for all versions.
    """
    tally = _tally_concepts_and_other_types(tx, shape, version)
    sampled_answers = list(tally.sample)
    sampled_ids = [answer.passage_id for answer in sampled_answers]
    texts = table.read_passage_texts(tx, shape, sampled_ids)
    quotation_count = 0
    misquotation_count = 0
    for passage_id, concepts in sampled_answers:
        if passage_id not in texts:
            continue
        for concept in concepts:
            quotation_count += len(concept.quotations)
            misquotation_count += concept.count_misquotations(texts[passage_id])

    lengths = tally.lengths
    answer_count = lengths.total()
    concept_count = tally.types.total()
    full_count = sum(times for length, times in lengths.items() if length >= MAX_CONCEPTS)
    replies = answer_counts.count_replies_and_sum_costs(tx, table.TASK, version)
    # Passages that failed, or with an answer, but without concepts.
    empty_count = len(answer_counts.read_newest_failure_reasons(tx, table.TASK, version))
    stored_count = answer_counts.count_answered_rows(tx, table.TASK, version)
    empty_count += max(0, stored_count - answer_count)
    asked_count = answer_count + empty_count
    values: dict[str, FigureValue] = {
        "coverage": (divide(answer_count, asked_count), asked_count),
        "evidence": (divide(tally.proven_count, concept_count), answer_count),
        "concepts": (compute_histogram_mean(lengths), answer_count),
        "full": (divide(full_count, answer_count), answer_count),
        "other": (divide(tally.types["other"], concept_count), concept_count),
        "parse-failure": (divide(replies.invalid, replies.total), replies.total),
        "divergence": _type_divergence(tally.types, tally.other_types),
        "garbage": (divide(tally.long_name_count, concept_count), answer_count),
        "duplicates": (divide(tally.repeated_count, concept_count), answer_count),
        "unlike-text": (divide(misquotation_count, quotation_count), quotation_count),
        **compute_reply_values(replies),
        "passages": (answer_count, answer_count),
    }
    notes = []
    if len(tally.versions) > 1:
        notes = [
            f"the figures include {len(tally.versions)} versions; a passage counts once per version"
        ]
    types = tally.types.most_common(MAX_TABLE_ROWS)
    return QualityFigures(
        title="Quality of the concepts of passages",
        version=version or "all",
        rows=answer_count,
        figures=FIGURES,
        values=values,
        tables=[
            *make_histogram_tables(
                "Concepts per passage", "passages", lengths, max_bar=MAX_BAR_LENGTH
            ),
            ReportTable("Types of concepts", ("", "concepts"), types),
        ],
        samples=[
            _make_sample_of_random_concept(answer, texts.get(answer.passage_id))
            for answer in sampled_answers[:MAX_SAMPLES]
        ],
        notes=notes,
    )


def _type_divergence(types: Counter[str], other_types: Counter[str]) -> FigureValue:
    """Return the divergence of two distributions of types, with the smaller concept count.

    Types of another vocabulary cannot be compared, so they do not count.
    """
    known_types = {name: types[name] for name in CONCEPT_TYPES if types[name]}
    known_other_types = {name: other_types[name] for name in CONCEPT_TYPES if other_types[name]}
    compared_count = min(sum(known_types.values()), sum(known_other_types.values()))
    return compute_jensen_shannon_divergence(known_types, known_other_types), compared_count


def _make_sample_of_random_concept(answer: _Answer, text: str | None) -> Sample:
    """Return a concept of an answer with the part of the passage around its first quotation.

    The concept is drawn at random, but a repeated call draws the same. The answer text is its type
    and confidence, with the likeness of its quotations. If the concept has no quotation, or a wrong
    quotation, the sample has the beginning of the passage and a note. It has no text if the passage
    is gone.
    """
    concept = random.Random(answer.passage_id).choice(answer.concepts)  # noqa: S311 - a sample
    facts = f"{concept.concept_type or 'no type'}, {concept.confidence}"
    sample = Sample(answer.passage_id, concept.concept_name, "", (), facts)
    if text is None:
        return sample._replace(answer_text=f"{facts}; the passage was deleted")

    quotations = concept.quotations
    is_misquoted = concept.count_misquotations(text) > 0
    if not quotations or is_misquoted:
        fault = "WRONG OFFSETS" if is_misquoted else "without a quotation"
        beginning, _ = cut_with_ellipses(text, 0, 2 * SAMPLE_CONTEXT_CHARS)
        return sample._replace(text=beginning, answer_text=f"{facts}; {fault}")

    start, end = min((quotation["start"], quotation["end"]) for quotation in quotations)
    part, shift = cut_with_ellipses(text, start - SAMPLE_CONTEXT_CHARS, end + SAMPLE_CONTEXT_CHARS)
    likeness_notes = dict.fromkeys(map(format_likeness, quotations))
    span = (start + shift, end + shift)
    return sample._replace(text=part, spans=[span], answer_text=facts + "".join(likeness_notes))


# ---- check every row

# Concepts that are in memory together with the texts of their passages.
CHECKED_TOGETHER = 2000
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


def compare_concepts_with_passages_and_answers(
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
    versions = answers.list_begun_versions(tx, table.TASK)
    versions.append(VersionCounts(answers.PERSON))
    faults = RowFaults(FAULTS)
    concept_count, quotation_count = _count_and_compare_quotations(tx, shape, versions, faults)

    for counts in versions:
        _compare_concepts_with_applied_answers(tx, shape, counts, faults)

    figures = {
        "quotations": quotation_count,
        "concepts": concept_count,
        "faults": faults.total() - faults[ORPHANED_CONCEPT],
    }
    return figures, faults.summarize_faults()


def _count_and_compare_quotations(
    tx: Connection,
    shape: PassagesShape,
    versions: Sequence[VersionCounts],
    faults: RowFaults,
) -> tuple[int, int]:
    """Compare all quotations of versions with their passages, and add differences to `faults`.

    A difference is a quotation that is not at its offsets, evidence (the stored quotations of a
    concept) without a valid quotation, or a concept without a passage.

    Returns:
        The numbers of concepts and of quotations that were checked.
    """
    concept_count = 0
    quotation_count = 0
    version_keys = [(version.prompt_version, version.model) for version in versions]
    concepts = table.iterate_concepts(tx, shape, versions=version_keys)
    for page in split_into_pages(concepts, CHECKED_TOGETHER):
        passage_ids = {concept.passage_id for concept in page}
        texts = table.read_passage_texts(tx, shape, sorted(passage_ids))
        for concept in page:
            key = concept.passage_id
            text = texts.get(key)
            concept_count += 1
            quotation_count += len(concept.quotations)
            if text is None:
                faults.add(ORPHANED_CONCEPT, [key])
                continue

            wrong_count = concept.count_misquotations(text)
            # Evidence without a valid quotation is a fault, too.
            wrong_count += concept.evidence is not None and not concept.quotations
            faults.add(MISQUOTATION, [key], wrong_count)
    return concept_count, quotation_count


def _compare_concepts_with_applied_answers(
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
    version_key = (version_counts.prompt_version, version_counts.model)
    with_concepts = select(cast(shape.concepts.c.passage_id, Text).label("row_id")).where(
        table.is_of_version(shape, [version_key]),
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
