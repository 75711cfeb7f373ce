"""Measure the answers of a task that has no figures of its own, in constant memory.

- A list counts by its length, as `path-count`. Its members count under the path of the list.
- A quotation counts as a single value.
- The path of a field is its name; the member of an object has the path `field.member`.
- A field with few distinct values gets a bar for each value. A bar is the number of answers with a
  value.
- A number gets a mean.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from askrows.pipeline.core.quotes import is_stored_quotation
from askrows.pipeline.core.text import plural
from askrows.pipeline.quality.figures import (
    Figure,
    FigureValue,
    QualityFigures,
    ReportTable,
    ReservoirSample,
    Sample,
    compute_reply_values,
    divide,
    read_figures_with_usage,
)
from askrows.pipeline.quality.tag_figures import make_tag_figures, measure_tag_list
from askrows.pipeline.store import answer_counts, answers, claims
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.tag_lists import list_tag_lists
from askrows.pipeline.tasks.task import Task

# Models write this text if a field has no value.
NULL_WORD = "null"
SEED = 7
# Samples in a report.
MAX_SAMPLES = 20
# Characters of a text or an answer in a sample.
MAX_SAMPLE_CHARS = 300
# A field with more distinct values has no bars.
MAX_BARS = 24
FIGURES = read_figures_with_usage(Path(__file__).with_name("figures.tsv"))


def list_figures_without_means(task: Task) -> list[Figure]:
    """Return the figures of a task without the means of its fields.

    These are FIGURES and those of its lists of texts whose names are not the names of others.
    """
    names = {figure.name for figure in FIGURES}
    return [*FIGURES, *(figure for figure in make_tag_figures(task) if figure.name not in names)]


def measure_answers(tx: Connection, task: Task, version: str | None) -> QualityFigures:
    """Return the figures, value counts and sample answers of a version, for its quality report.

    Rows that are parked under the task's present prompt version count as asked but not answered,
    also if another version is measured. Notes name the fields with texts "null". Reads only.

    Args:
        tx: A transaction, only read.
        task: The task.
        version: The version: `task@n/model`, `task@n` for all models, or None for all versions.
    """
    tally = _FieldTally()
    for row_id, answer in answers.iterate_newest_answers(tx, task.name, version):
        tally.add_answer(row_id, answer)

    replies = answer_counts.count_replies_and_sum_costs(tx, task.name, version)
    cut_count = answer_counts.count_cut_short_replies(tx, task.name, version)
    parked_count = len(
        claims.list_parked_rows(tx, task.name, prompt_version=task.parked_version),
    )
    answer_count = tally.answer_count
    asked_count = answer_count + parked_count
    quote_count = tally.quotes.total()
    # Fields that have a quotation in some answers, and no value in others.
    quotable_count = quote_count + sum(tally.missing[path] for path in tally.quotes)
    max_equal_count = max(tally.answer_hashes.values(), default=0)
    mean_values: dict[str, FigureValue] = {
        f"mean-{path}": (total / number_count, number_count)
        for path, (number_count, total) in tally.numbers.items()
    }
    tag_values = dict[str, FigureValue]()
    tables = list[ReportTable]()
    tag_lists = list_tag_lists(task)
    for tag_list in tag_lists:
        list_values, list_tables = measure_tag_list(tx, tag_list, version)
        tag_values |= list_values
        tables += list_tables
    # These tables have the values of the lists, and their lengths.
    tag_fields = {tag_list.field.name for tag_list in tag_lists}
    counted_paths = tag_fields | {f"{name}-count" for name in tag_fields}
    tables += [table for table in tally.iterate_value_tables() if table.title not in counted_paths]
    values: dict[str, FigureValue] = {
        **tag_values,
        "answered": (divide(answer_count, asked_count), asked_count),
        "parked": (divide(parked_count, asked_count), asked_count),
        "cut": (divide(cut_count, replies.total), replies.total),
        "same": (divide(max_equal_count, answer_count), answer_count),
        "evidence": (divide(quote_count, quotable_count), quotable_count),
        "null-texts": (divide(tally.null_answer_count, answer_count), answer_count),
        "answers": (answer_count, answer_count),
        **mean_values,
        **compute_reply_values(replies),
    }
    mean_figures = [
        Figure(
            f"mean-{path}",
            "mean",
            f"mean of {path}",
        )
        for path in tally.numbers
    ]
    return QualityFigures(
        title=f"Quality of the answers of {task.name}",
        version=version or "all",
        rows=answer_count,
        figures=(*list_figures_without_means(task), *mean_figures),
        values=values,
        tables=tables,
        samples=list(_read_samples(tx, task, list(tally.sample))),
        notes=[
            f'{path}: the text "null" in {plural(null_count, "answer")}'
            for path, null_count in tally.null_texts.items()
        ],
    )


class _FieldTally:
    """Counts over the answers of a version. Fields are named by their paths."""

    def __init__(self) -> None:
        """Create counts of no answer."""
        self.answer_count = 0
        # Number of answers by the hash of the answer.
        self.answer_hashes = Counter[int]()
        self.sample = ReservoirSample[tuple[str, str]](MAX_SAMPLES, seed=SEED)
        # Number of answers by field and value, for the first MAX_BARS + 1 values.
        self.values = dict[str, Counter[str]]()
        # Count and sum of the numbers in a field.
        self.numbers = dict[str, tuple[int, float]]()
        # Answers with a text that is the word "null", and their number by field.
        self.null_answer_count = 0
        self.null_texts = Counter[str]()
        # Number of quotations and of null values in a field.
        self.quotes = Counter[str]()
        self.missing = Counter[str]()

    def add_answer(self, row_id: str, answer_json: str) -> None:
        """Count an answer and the values of its fields, and offer it to the random sample.

        The answer is also counted in these:

        - `answer_hashes`: how often each whole answer occurs.
        - `null_texts`: by path of a field, how many answers have the text "null" there, in any
          case. An answer counts once for each path.
        - `null_answer_count`: how many answers have at least one such field.
        """
        answer = json.loads(answer_json)
        self.answer_count += 1
        self.answer_hashes[hash(json.dumps(answer, sort_keys=True))] += 1
        self.sample.offer(row_id, (row_id, answer_json))
        null_paths = set[str]()
        for path, value in _iterate_values_and_lengths(answer):
            self._count_value(path, value)
            if isinstance(value, str) and value.strip().lower() == NULL_WORD:
                null_paths.add(path)
        self.null_texts.update(null_paths)
        self.null_answer_count += bool(null_paths)

    def _count_value(self, path: str, value: Any) -> None:
        """Count a value of a field; of a quotation, which is a dict, only the number by field.

        A None also counts as missing. A number, but not true or false, is added to the field's sum.
        When a field has more than MAX_BARS distinct values, new distinct values are no longer
        counted; the known values still are.
        """
        if isinstance(value, dict):
            self.quotes[path] += 1
            return

        self.missing[path] += value is None
        if isinstance(value, int | float) and not isinstance(value, bool):
            number_count, total = self.numbers.get(path, (0, 0.0))
            self.numbers[path] = number_count + 1, total + value

        value_counts = self.values.setdefault(path, Counter())
        text = value if isinstance(value, str) else json.dumps(value)
        if len(value_counts) <= MAX_BARS or text in value_counts:
            value_counts[text] += 1

    def iterate_value_tables(self) -> Iterator[ReportTable]:
        """Yield a table of the number of answers by value for each field with 2 to MAX_BARS values.

        Fields with quotations are left out.
        """
        for path, value_counts in self.values.items():
            if 1 < len(value_counts) <= MAX_BARS and path not in self.quotes:
                yield ReportTable(path, ("", "rows"), value_counts.most_common())


def _iterate_values_and_lengths(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of each field in an answer.

    The path of a member of an object is `path.name`; at the top level it is `name`. A list yields
    its length as `path-count`, and then its members under the path of the list. A quotation is
    yielded whole, as a dict.
    """
    if isinstance(value, list):
        yield f"{path}-count", len(value)
        for member in value:
            yield from _iterate_values_and_lengths(member, path)
    elif isinstance(value, dict) and not is_stored_quotation(value):
        for name, member in value.items():
            yield from _iterate_values_and_lengths(member, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _read_samples(
    tx: Connection,
    task: Task,
    chosen_answers: Sequence[tuple[str, str]],
) -> Iterator[Sample]:
    """Yield a sample for each (row id, answer in JSON), in their order.

    It has the row's id and name, the row's text and the answer, both shortened. Rows that no longer
    exist are left out.
    """
    ids = [row_id for row_id, _ in chosen_answers]
    names = task.rows.read_names(tx, ids)
    texts = task.read_input_texts(tx, ids)
    for row_id, answer in chosen_answers:
        if row_id in names:
            text = shorten_sample_text(texts.get(row_id, ""))
            yield Sample(row_id, names[row_id], text, (), shorten_sample_text(answer))


def shorten_sample_text(text: str) -> str:
    """Return a text, or its first MAX_SAMPLE_CHARS characters with an ellipsis."""
    if len(text) <= MAX_SAMPLE_CHARS:
        return text
    return f"{text[:MAX_SAMPLE_CHARS]} …"
