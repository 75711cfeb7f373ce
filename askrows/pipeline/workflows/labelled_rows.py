"""Measure versions on labelled rows, and draw labelled rows for a trial.

A labelled row has a right value, which a person set or confirmed, in at least one field. A trial
asks about a few rows and stores no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.states import Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.quality import pilot, right_value_accuracy
from askrows.pipeline.quality.drawn_rows import RowDraw
from askrows.pipeline.quality.right_value_accuracy import MIN_LABELLED_ROWS, AccuracyReport
from askrows.pipeline.store import answers
from askrows.pipeline.store.edits import RightValues
from askrows.pipeline.tasks import task_registry
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import TaskNouns

# The largest trial that is proposed; its interval is narrow.
MAX_TRIED_ROWS = 200
# Columns of the versions, and of the fields of one version and of two; see `make_table`.
VERSION_COLUMNS = (
    "side version cost_of_1,000_rows=cost_per_1000 left_out own_values_corrected=own_corrections"
)
FIELD_COLUMNS = "field right_A=a"
COMPARISON_COLUMNS = (
    "field right_A=a right_B=b only_A_right=only_a_right only_B_right=only_b_right p verdict"
)
CORRECTION_NOTE = (
    "people correct values that look wrong, so a version is better on random rows than on rows "
    "where its own values were corrected; review random rows, too"
)
# The file of the hint how to review rows.
REVIEW_FILE = "labels.csv"


def report_accuracy(run: Run, texts: Sequence[str | None]) -> Report:
    """Report how often one or two versions are right on labelled rows; ask nothing.

    If no row is labelled, or no version has answers, the title says so and there is no table.
    Lines after the tables of versions and fields are about rows to be checked, labelled rows
    without an answer, and labelled rows that are still needed. The next step is a `try` of labelled
    rows without an answer, or the page on which rows are labelled.

    Args:
        run: The run.
        texts: The versions A and B, as in `measure_accuracy_of_versions`.

    Raises:
        InputError: A version has no answers, or A and B are the same version.
    """
    nouns = run.task.nouns
    with run.workspace.store.read() as tx:
        accuracy = right_value_accuracy.measure_accuracy_of_versions(tx, run.task, texts)
        review_hint = str(make_review_hint(run.task))
        # The task's file may declare a version that no command has registered yet.
        present_task = task_registry.copy_with_version_in_file(run.task)
        draft_rows = 0
        has_answers = answers.has_answers_of_version(tx, run.task.name, present_task.prompt_version)
        if accuracy.versions and not has_answers:
            draft_rows = len(right_value_accuracy.read_valid_right_values(tx, present_task))

    report = Report(
        {**accuracy.to_document(), "placeholder": run.workspace.has_placeholder_answers}
    )
    report.next_step = _choose_next_command(accuracy, nouns, draft_rows=draft_rows)
    if not accuracy.labelled_rows:
        report.title = (
            f"no {nouns.singular} of {accuracy.task} is labelled: at least {MIN_LABELLED_ROWS} "
            f"are needed; {review_hint}"
        )
        return report
    if not accuracy.versions:
        report.title = f"no version of {accuracy.task} has answers; nothing was measured"
        return report

    labelled_text = plural(accuracy.labelled_rows, nouns.singular, nouns.plural)
    report.title = f"{labelled_text} labelled, {accuracy.measured_rows:,} measured"
    versions = [
        {"side": side, **asdict(version)}
        for side, version in zip("AB", accuracy.versions, strict=False)
    ]
    report.parts.append(make_table(versions, VERSION_COLUMNS))
    if accuracy.fields:
        columns = FIELD_COLUMNS if len(accuracy.versions) == 1 else COMPARISON_COLUMNS
        fields = right_value_accuracy.make_comparison_documents(accuracy.fields)
        report.parts.append(make_table(fields, columns))
    if any(version.own_corrections for version in accuracy.versions):
        report.parts.append(CORRECTION_NOTE)

    if accuracy.draw.unchecked_ids:
        report.parts.append(_describe_draw(accuracy.draw))

    unasked_rows = accuracy.unasked_rows or draft_rows
    if unasked_rows:
        rows = plural(unasked_rows, f"labelled {nouns.singular}", f"labelled {nouns.plural}")
        report.parts.append(
            f"{present_task.prompt_version}, which {accuracy.task} asks now, has no answer to "
            f"{rows}; the next command asks about them, stores no answer, and prints how many "
            "answers are right"
        )
    if accuracy.missing_labelled_rows:
        measured_rows = plural(
            accuracy.measured_rows + accuracy.unasked_rows,
            f"labelled {nouns.singular}",
            f"labelled {nouns.plural}",
        )
        report.parts.append(
            f"{measured_rows} can be measured, at least "
            f"{MIN_LABELLED_ROWS} are needed: label {accuracy.missing_labelled_rows} more; "
            f"{review_hint}"
        )
    return report


def _describe_draw(draw: RowDraw) -> str:
    """Return from which rows the intervals are, and which rows of the draw are to be checked."""
    sentence = (
        f"intervals are of the {len(draw.leading_checked_ids):,} first rows of a random order that "
        f"are all checked; {draw.checked_count} of its first {len(draw.wanted_ids)} are checked"
    )
    if draw.skipped_ids:
        sentence += f", skipped: {', '.join(draw.skipped_ids)}"
    return f"{sentence}; the view Quality of `{CommandHint('web')}` opens the others"


def _choose_next_command(
    report: AccuracyReport, nouns: TaskNouns, *, draft_rows: int
) -> CommandHint | None:
    """Return the command after `eval`: `try`, `web`, or None if nothing is missing.

    - `try`, if the version that the task asks now has no answers to some labelled rows, or none at
      all. It asks at most MAX_TRIED_ROWS labelled rows.
    - `web`, if more right values are needed.

    Args:
        draft_rows: Labelled rows on which a new version without answers can be tried.
    """
    mode = Mode.DECIDE.value if report.present_uses_decisions else None
    row_count = draft_rows
    if report.unasked_rows and report.present_index is not None:
        row_count = report.measured_rows + report.unasked_rows
    if row_count:
        tried_count = min(row_count, MAX_TRIED_ROWS)
        return nouns.command(
            "try",
            labelled=True,
            mode=mode,
            n=tried_count,
        )
    if report.missing_labelled_rows:
        return CommandHint("web")
    return None


def make_review_hint(task: Task) -> HintTemplate:
    """Return how to set right values of a task: by a file, or on the page."""
    return HintTemplate(
        "`{}` stores the labels of a table; `{}` corrects and reviews answers on a page",
        task.nouns.command("correct", file=REVIEW_FILE),
        CommandHint("web"),
    )


def put_labelled_first(
    right_values_by_id: Mapping[str, RightValues],
    other_ids: Sequence[str],
    *,
    size: int,
    seed: int | None,
) -> list[str]:
    """Return up to `size` row ids: a random draw of labelled rows, followed by other rows.

    Args:
        right_values_by_id: The labelled rows, by row id.
        other_ids: The other rows in their order; labelled rows among them are not repeated.
        size: Largest number of ids.
        seed: Seed of the draw; None means DEFAULT_PILOT_SEED.
    """
    draw_seed = pilot.DEFAULT_PILOT_SEED if seed is None else seed
    labelled_ids = pilot.draw_row_ids(right_values_by_id, size=size, seed=draw_seed)
    return list(dict.fromkeys([*labelled_ids, *other_ids]))[:size]
