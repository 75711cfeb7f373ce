"""Measure the tags of people: figures, their gates, and samples for a person to read.

`askrows.pipeline.quality.tag_figures` says when a tag is unlike its text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from askrows.pipeline.experts import table
from askrows.pipeline.quality.figures import (
    FigureValue,
    QualityFigures,
    Sample,
    divide,
    read_figures,
    reply_values,
)
from askrows.pipeline.quality.measure import shorten_text
from askrows.pipeline.quality.tag_figures import MIN_ROWS_TO_COMPARE, TagTally, is_english
from askrows.pipeline.rows.cells import parse_text_list, stripped_text
from askrows.pipeline.store import answer_counts, answers, claims
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.task import Task

# People that the report quotes for a person to read.
MAX_SAMPLES = 30
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
    with English texts, and only from MIN_ROWS_TO_COMPARE people on. This may load the local
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
    people = table.people_table(tx)
    tally = TagTally()
    for person_id, cell in people.read_cells(tx, ("id", "tags"), condition):
        tally.add(str(person_id), parse_text_list(cell) or [])
    sample_ids = [person_id for person_id, _ in tally.sample]
    people_count = tally.row_count

    texts: list[tuple[str, Sequence[str]]] = []
    if people_count >= MIN_ROWS_TO_COMPARE:
        texts = _read_english_texts(tx, sample_ids)
    tag_lists = (
        parse_text_list(cell) or () for (cell,) in people.read_cells(tx, ("tags",), condition)
    )
    tag_values, unlike_tags = tally.measure(tag_lists, texts)
    parked_count = len(claims.parked_rows(tx, table.TASK))
    values: dict[str, FigureValue] = {
        **{
            name.format(field="tags", rows_member="people"): value
            for name, value in tag_values.items()
        },
        "parked": (
            divide(parked_count, people_count + parked_count),
            people_count + parked_count,
        ),
        **reply_values(answer_counts.count_replies(tx, table.TASK, version)),
    }
    return QualityFigures(
        title="Quality of the tags of people",
        version=version or "all",
        rows=people_count,
        figures=FIGURES,
        values=values,
        tables=tally.make_tables(unlike_tags, title="tags", noun="person", plural_noun="people"),
        samples=list(_read_tag_samples(tx, sample_ids[:MAX_SAMPLES])),
    )


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

    The order is that of the database.
    """
    rows = table.people_table(tx).read_rows(tx, ids, ("job_title", "bio", "tags"))
    texts: list[tuple[str, Sequence[str]]] = []
    for row in rows.values():
        text = f"{stripped_text(row['job_title'])} {stripped_text(row['bio'])}"
        if is_english(text):
            texts.append((text, parse_text_list(row["tags"]) or ()))
    return texts
