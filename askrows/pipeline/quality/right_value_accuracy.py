"""Compare the answers of versions with right values: corrected and reviewed values.

- A value equals the right value also if a list of plain values has another order.
- A right value is the value of a field that a person corrected or confirmed it.
- A side is the answers of a version; the first version is A, the second is B.
- Both versions are measured on the same rows.
- Intervals are Wilson's, at 95 %. Those for all rows use only the first rows of a random order, up
  to the first that nobody checked: rows that people pick say nothing about the others.
- The paired comparison is the exact sign test (McNemar).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.quality.drawn_rows import (
    MIN_CHECKED_ROWS,
    RowDraw,
    draw_rows_answered_by_all_versions,
)
from askrows.pipeline.store import answers, edits
from askrows.pipeline.store.confidences import has_rows_asked_by_decisions
from askrows.pipeline.store.database import Connection
from askrows.pipeline.store.edits import RightValues, is_right_value
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks.task import Task

MIN_LABELLED_ROWS = MIN_CHECKED_ROWS
# A difference with a greater probability under equal versions is not shown.
MAX_CHANCE = 0.05
# Why a labelled row is left out.
HAS_NO_ANSWER = "no answer"
HAS_OTHER_INPUT = "other input than the label"
NO_DIFFERENCE = "no difference shown"
BETTER_A = "A is better"
BETTER_B = "B is better"
# The quantile of the normal distribution for an interval of 95 %.
NORMAL_QUANTILE = 1.96


def compute_wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share; (0, 1) without trials.

    Args:
        successes: From 0 to `trials`.
        trials: The size of the sample.
    """
    if not trials:
        return 0.0, 1.0

    share = successes / trials
    squared_quantile = NORMAL_QUANTILE**2
    center = share + squared_quantile / (2 * trials)
    variance = share * (1 - share) / trials + squared_quantile / (4 * trials**2)
    half_width = NORMAL_QUANTILE * math.sqrt(variance)
    divisor = 1 + squared_quantile / trials

    # Rounding errors must not put an end on the wrong side of the share.
    low = min(share, max(0.0, (center - half_width) / divisor))
    high = max(share, min(1.0, (center + half_width) / divisor))
    return low, high


@dataclass(frozen=True)
class Share:
    """A share of right values, with its interval."""

    right: int
    of: int

    @property
    def accuracy(self) -> float | None:
        """Return the share of right values; None without values."""
        return self.right / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the lower and upper bound of Wilson's interval at 95 %."""
        return compute_wilson_interval(self.right, self.of)

    def to_document(self) -> dict[str, Any]:
        """Return the share as JSON members."""
        low, high = self.interval
        return {
            "right": self.right,
            "of": self.of,
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }


@dataclass(frozen=True)
class FieldComparison:
    """How often the values of a field are right, by version or side."""

    name: str
    # One share for each version, and that of the leading drawn rows; empty if none is drawn.
    shares: Sequence[Share]
    drawn_shares: Sequence[Share] = ()
    # Ids of rows on which only the first, or only the second version is right.
    only_a_ids: Sequence[str] = ()
    only_b_ids: Sequence[str] = ()

    def make_share_document(self, index: int) -> dict[str, Any]:
        """Return the share of a version as JSON members; see `make_comparison_documents`.

        If rows were drawn, the interval is that of the drawn rows, or None without values.
        """
        document = self.shares[index].to_document()
        if not self.drawn_shares:
            return document
        drawn_share = self.drawn_shares[index]
        low, high = drawn_share.interval if drawn_share.of else (None, None)
        return {
            **document,
            "low": low,
            "high": high,
            "drawn": drawn_share.of,
            "drawn_right": drawn_share.right,
        }

    @property
    def only_a_right(self) -> int:
        """Return on how many rows only the first version is right."""
        return len(self.only_a_ids)

    @property
    def only_b_right(self) -> int:
        """Return on how many rows only the second version is right."""
        return len(self.only_b_ids)

    @property
    def p_value(self) -> float:
        """Return the probability of such a difference if both versions are equally good."""
        return compute_sign_test_p_value(self.only_a_right, self.only_b_right)

    @property
    def verdict(self) -> str:
        """Return which version is better, or that no difference is shown."""
        if self.p_value >= MAX_CHANCE:
            return NO_DIFFERENCE
        return BETTER_A if self.only_a_right > self.only_b_right else BETTER_B


def compute_sign_test_p_value(first_count: int, second_count: int) -> float:
    """Return the two-sided probability of a split at least as uneven, if both sides are equal."""
    total = first_count + second_count
    extreme_count = min(first_count, second_count)
    tail = sum(math.comb(total, count) for count in range(extreme_count + 1))
    return min(1.0, 2 * tail / float(2**total))


def compare_with_right_values(
    right_values_by_id: Mapping[str, RightValues],
    sides: Sequence[Mapping[str, Mapping[str, Any]]],
) -> list[FieldComparison]:
    """Return by field the number of compared values, and how many each side has right.

    Only rows that all sides answered count; a field without a right value in these rows is left
    out. If an answer lacks a labelled field, its value counts as null. Fields are in the order in
    which the right values first name them. For two sides the result also has the ids of the rows on
    which only A, and only B, is right; for a single side there are none.

    Args:
        right_values_by_id: Right values by row id.
        sides: A, or A and B; each has the answers of a version by row id.
    """
    outcomes: dict[str, dict[tuple[bool, ...], list[str]]] = {}
    for row_id, right_values in right_values_by_id.items():
        if not all(row_id in side for side in sides):
            continue
        for name, value in right_values.values.items():
            is_right = tuple(is_right_value(side[row_id].get(name), value) for side in sides)
            outcomes.setdefault(name, {}).setdefault(is_right, []).append(row_id)

    comparisons = []
    for name, ids_by_outcome in outcomes.items():
        counts = {is_right: len(row_ids) for is_right, row_ids in ids_by_outcome.items()}
        shares = [
            Share(
                sum(count for is_right, count in counts.items() if is_right[side]),
                sum(counts.values()),
            )
            for side in range(len(sides))
        ]
        comparisons.append(
            FieldComparison(
                name,
                shares,
                only_a_ids=ids_by_outcome.get((True, False), []),
                only_b_ids=ids_by_outcome.get((False, True), []),
            )
        )
    return comparisons


def _compare_all_and_drawn_rows(
    right_values_by_id: Mapping[str, RightValues],
    sides: Sequence[Mapping[str, Mapping[str, Any]]],
    leading_ids: Sequence[str],
) -> list[FieldComparison]:
    """Compare sides on all measured rows, and add the shares of the leading drawn rows."""
    drawn_values = {row_id: right_values_by_id[row_id] for row_id in leading_ids}
    drawn_shares = {
        comparison.name: comparison.shares
        for comparison in compare_with_right_values(drawn_values, sides)
    }
    no_shares = [Share(0, 0)] * len(sides)
    return [
        replace(comparison, drawn_shares=drawn_shares.get(comparison.name, no_shares))
        for comparison in compare_with_right_values(right_values_by_id, sides)
    ]


def make_comparison_documents(comparisons: Sequence[FieldComparison]) -> list[dict[str, Any]]:
    """Return comparisons as JSON: a document for each field, in the same order.

    For one version, a document has these members:

    - `field`: Name of the field.
    - `a`: The share of values of version A that are right, as an object (`Share.to_document`). If
      rows were drawn, `low` and `high` are those of the drawn rows, of which `drawn_right` values
      of `drawn` are right; they are null without such values.

    For two versions it also has:

    - `b`: The share of version B.
    - `only_a_right`, `only_b_right`: On how many rows only one version is right.
    - `p`: The p-value of the sign test, from 0 to 1.
    - `verdict`: A phrase that says which version is better, or that no difference is shown.
    """
    documents = []
    for comparison in comparisons:
        document: dict[str, Any] = {
            "field": comparison.name,
            **{
                side: comparison.make_share_document(index)
                for index, side in enumerate("ab"[: len(comparison.shares)])
            },
        }
        if len(comparison.shares) > 1:
            document["only_a_right"] = comparison.only_a_right
            document["only_b_right"] = comparison.only_b_right
            document["p"] = comparison.p_value
            document["verdict"] = comparison.verdict
        documents.append(document)
    return documents


def read_valid_right_values(tx: Connection, task: Task) -> dict[str, RightValues]:
    """Return the right values of rows with the same input as when they were set, by row id.

    If the input of every labelled row differs, the prompt must have other columns now, so all
    right values are returned.
    """
    return _keep_right_values_of_unchanged_rows(tx, task, edits.read_right_values(tx, task.name))


def _keep_right_values_of_unchanged_rows(
    tx: Connection, task: Task, right_values_by_id: Mapping[str, RightValues]
) -> dict[str, RightValues]:
    """Return those of the right values of all rows that `read_valid_right_values` returns."""
    rows = task.read_rows(tx, list(right_values_by_id))
    unchanged_ids = {
        row_id
        for row_id, row in rows.items()
        if task.hash_input(row) == right_values_by_id[row_id].input_hash
    }
    return {row_id: right_values_by_id[row_id] for row_id in unchanged_ids or rows}


@dataclass
class MeasuredVersion:
    """A version that was measured on labelled rows."""

    version: str
    # USD for 1,000 rows.
    cost_per_1000: float
    # Labelled rows that are not measured, by reason.
    left_out: dict[str, int] = field(default_factory=dict)
    # Right values that corrected this version's own value, which is therefore wrong.
    own_corrections: int = 0


@dataclass
class AccuracyReport:
    """The accuracy of one or two versions on labelled rows."""

    task: str
    # Rows with a right value.
    labelled_rows: int
    # Labelled rows that all versions answered.
    measured_rows: int
    versions: list[MeasuredVersion]
    fields: list[FieldComparison]
    # The rows to check for the intervals.
    draw: RowDraw
    # The index of the version that the task asks now; None if it is not measured.
    present_index: int | None = None
    # Labelled rows that only this version did not answer. A trial can ask them.
    unasked_rows: int = 0
    # Decisions answered rows under this version.
    present_uses_decisions: bool = False

    @property
    def missing_labelled_rows(self) -> int:
        """Return how many more labelled rows a judgement needs, after a trial of unasked rows."""
        return max(0, MIN_LABELLED_ROWS - self.measured_rows - self.unasked_rows)

    def list_mentioned_row_ids(self) -> list[str]:
        """Return the ids of the rows that the report names: skipped, or right in one version."""
        row_ids = [*self.draw.skipped_ids]
        for comparison in self.fields:
            row_ids += [*comparison.only_a_ids, *comparison.only_b_ids]
        return row_ids

    def to_document(self) -> dict[str, Any]:
        """Return the report as JSON members."""
        return {
            "task": self.task,
            "labelled": self.labelled_rows,
            "measured": self.measured_rows,
            "unasked": self.unasked_rows,
            "labels_needed": self.missing_labelled_rows,
            "drawn": {
                "leading": len(self.draw.leading_checked_ids),
                "checked": self.draw.checked_count,
                "of": len(self.draw.wanted_ids),
                "skipped": self.draw.skipped_ids,
            },
            "versions": [asdict(version) for version in self.versions],
            "fields": make_comparison_documents(self.fields),
        }


class VersionChoices(NamedTuple):
    """The versions of a task that a person can measure, in the order in which they began."""

    # Versions with answers.
    answered: list[str]
    # Versions that answered a labelled row.
    labelled: list[str]


def list_measurable_versions(tx: Connection, task: Task) -> VersionChoices:
    """Return the versions of a task with answers, and those with answers to labelled rows."""
    answered_versions = _list_answered_versions(tx, task)
    row_ids = list(edits.read_right_values(tx, task.name))
    labelled_versions = edits.find_versions_that_answered(tx, task.name, row_ids)
    return VersionChoices(
        answered_versions,
        [version for version in answered_versions if version in labelled_versions],
    )


def measure_accuracy_of_versions(
    tx: Connection, task: Task, version_texts: Sequence[str | None]
) -> AccuracyReport:
    """Compare the stored answers of up to two versions with a task's right values; ask nothing.

    Only labelled rows to which all measured versions have an answer count. If the version in use is
    measured, `unasked_rows` is the number of valid labelled rows that it has not answered, but the
    other measured version has, if there is one. If the task has no answers, the report has no
    versions.

    Args:
        tx: A transaction, only read.
        version_texts: The versions A and B: a number, a prompt version or a version. If A or B is
            None or empty, only the other version is measured. If both are, the two newest versions
            with answers are measured, or the only version.

    Raises:
        InputError: A version has no answers, or A and B are the same version.
    """
    versions = _choose_typed_or_newest_versions(tx, task, version_texts)
    right_values_by_id = edits.read_right_values(tx, task.name)
    measured_versions = []
    sides = []
    for version in versions:
        cost_per_1000 = edits.compute_cost_per_1000_rows(tx, task.name, version)
        measured = MeasuredVersion(version, cost_per_1000)
        sides.append(_read_answers_and_set_left_out(tx, task, right_values_by_id, measured))
        measured_versions.append(measured)

    measured_ids = [
        row_id for row_id in right_values_by_id if all(row_id in side for side in sides)
    ]
    for index, measured in enumerate(measured_versions):
        measured.own_corrections = _count_own_corrections(
            right_values_by_id, sides[index], measured_ids
        )
    draw = RowDraw((), ())
    if sides:
        draw = draw_rows_answered_by_all_versions(
            tx,
            task,
            versions,
            checked_ids=set(measured_ids),
            excluded_ids=right_values_by_id.keys() - measured_ids,
        )
    report = AccuracyReport(
        task.name,
        len(right_values_by_id),
        len(measured_ids) if sides else 0,
        measured_versions,
        _compare_all_and_drawn_rows(right_values_by_id, sides, draw.leading_checked_ids),
        draw,
    )
    for index, version in enumerate(versions):
        if belongs_to_version(version, task.prompt_version):
            report.present_index = index
            other_sides = sides[:index] + sides[index + 1 :]
            report.unasked_rows = sum(
                row_id not in sides[index] and all(row_id in side for side in other_sides)
                for row_id in _keep_right_values_of_unchanged_rows(tx, task, right_values_by_id)
            )
            report.present_uses_decisions = has_rows_asked_by_decisions(tx, task.name, version)
    return report


def expand_version_number(task: Task, text: str) -> str:
    """Return `task@2` for "2" and `task@2/model` for "2/model"; other texts stay unchanged."""
    if text.partition("/")[0].isdecimal():
        return f"{task.prompt_version.partition('@')[0]}@{text}"
    return text


def _choose_typed_or_newest_versions(
    tx: Connection, task: Task, version_texts: Sequence[str | None]
) -> list[str]:
    """Return the versions to measure, A before B; an empty list if no version has answers.

    If all `version_texts` are None or empty, these are the two newest versions with answers, or the
    only version. Otherwise they are the versions in `version_texts`, without None and empty texts;
    a number becomes the prompt version `task@number`, also before `/model`.

    Raises:
        InputError: A version has no answers, or both are the same version.
    """
    answered_versions = _list_answered_versions(tx, task)
    if not any(version_texts):
        return answered_versions[-2:]

    versions = []
    for text in filter(None, version_texts):
        version = expand_version_number(task, text)
        if not any(belongs_to_version(name, version) for name in answered_versions):
            raise InputError(
                f"version {text!r} has no answers; nothing was measured",
                hint=f"`{task.nouns.command('versions')}` lists the versions with answers",
            )
        versions.append(version)
    if len(set(versions)) < len(versions):
        raise InputError(
            f"{OptionHint('a')} and {OptionHint('b')} need two different versions; "
            "nothing was measured",
            hint=f"leave out {OptionHint('b')} to measure one version",
        )
    return versions


def _list_answered_versions(tx: Connection, task: Task) -> list[str]:
    """Return the versions of a task with answers, in the order in which they began."""
    return [
        counts.version
        for counts in answers.list_begun_versions(tx, task.name)
        if answers.has_answers_of_version(tx, task.name, counts.version)
    ]


def _read_answers_and_set_left_out(
    tx: Connection,
    task: Task,
    right_values_by_id: Mapping[str, RightValues],
    measured: MeasuredVersion,
) -> dict[str, dict[str, Any]]:
    """Return a version's answers to labelled rows by row id, and set `measured.left_out`.

    `left_out` counts the labelled rows that are left out, by reason, without zero counts. A row is
    left out for one of these reasons:

    - The version has no answer to it.
    - The row's input differs between the answer and the right value. If all answers had another
      input, the reason must be a prompt that reads other columns; then no row is left out for this
      reason.
    """
    stored_answers = edits.read_newest_answers_of_version(
        tx, task.name, measured.version, list(right_values_by_id)
    )
    changed_ids: Collection[str] = {
        row_id
        for row_id, (input_hash, _) in stored_answers.items()
        if input_hash != right_values_by_id[row_id].input_hash
    }
    if len(changed_ids) == len(stored_answers):
        changed_ids = ()

    missing_ids = right_values_by_id.keys() - stored_answers.keys()
    reasons = {HAS_NO_ANSWER: len(missing_ids), HAS_OTHER_INPUT: len(changed_ids)}
    measured.left_out = {reason: count for reason, count in reasons.items() if count}
    return {
        row_id: values
        for row_id, (_, values) in stored_answers.items()
        if row_id not in changed_ids
    }


def _count_own_corrections(
    right_values_by_id: Mapping[str, RightValues],
    side: Mapping[str, Mapping[str, Any]],
    row_ids: Sequence[str],
) -> int:
    """Count the right values that corrected a value of this version, which is therefore wrong.

    Args:
        side: The answers of the version by row id.
        row_ids: The rows to count.
    """
    own_corrections = 0
    for row_id in row_ids:
        for name, replaced_value in right_values_by_id[row_id].replaced_values.items():
            own_corrections += is_right_value(side[row_id].get(name), replaced_value)
    return own_corrections
