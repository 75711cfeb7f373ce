"""The command `eval`: measure the search with judged questions, or answers with right values.

A right value is a value of a field of a row that a person set, confirmed or reviewed. A labelled
row has a right value in at least one field.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from jobs.document_output import make_table
from jobs.options import PATH, VERSION, CommandReport, Parameter
from jobs.output import Output
from jobs.search_commands import evaluate_search
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.core.text import plural
from pipeline.engine import task_registry
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_values import TaskNouns
from pipeline.quality import right_value_accuracy
from pipeline.quality.right_value_accuracy import MIN_LABELLED_ROWS, AccuracyReport
from pipeline.workflows import labelled_rows

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


def evaluate(
    ws: WorkspaceSession,
    *,
    queries: Annotated[Path | None, Parameter("", PATH)] = None,
    qrels: Annotated[Path | None, Parameter("", PATH)] = None,
    a: Annotated[
        str | None,
        Parameter("A version with answers; 2 is TASK@2. Default: the newest two.", VERSION),
    ] = None,
    b: Annotated[str | None, Parameter("The version that is compared with --a.", VERSION)] = None,
) -> CommandReport:
    """Measure versions on labelled rows of TASK, or the search with QUERIES and QRELS.

    It measures answers unless files are named. It prints how often a version is right, for each
    field with a 95 % interval. For two versions it prints whether one of them is better, or the
    difference can be chance (exact sign test). A label is a field that `correct` set or confirmed,
    or any field of a reviewed answer. For this only stored answers are read, and nothing is asked.

    Later versions do not ask corrected rows again, so they may lack answers to labelled rows. Then
    the last line has a `try` command, which asks these rows, stores no answer, and prints how often
    the version is right.

    With both QUERIES (JSON lines) and QRELS (TREC judgements) it measures the search; one of them
    alone is an error. It embeds the questions, and prints nDCG@10, MRR, P@5 and R@10 with 95 %
    intervals, for each choice of `search --rank` and for a fixed BM25 over the same rows. It also
    prints the share of questions with only weak hits.
    """
    # With judged questions the command measures the search.
    if queries is not None and qrels is not None and a is None and b is None:
        return evaluate_search(ws, queries, qrels)
    if queries is not None or qrels is not None:
        raise InputError(
            f"a search is measured by {OptionHint('queries')} and {OptionHint('qrels')}, answers "
            f"are measured by {OptionHint('a')} and {OptionHint('b')}; nothing was measured"
        )

    with ws.store.read() as tx:
        report = right_value_accuracy.measure_versions(tx, ws.task, (a, b))
        review_hint = str(labelled_rows.make_review_hint(tx, ws.task))
        # The task's file may declare a version that no command has registered yet.
        present_task = task_registry.with_declared_version(ws.task)
        draft_rows = 0
        if report.versions:
            draft_rows = labelled_rows.count_draft_rows(tx, present_task)
    document = {**report.to_document(), "placeholder": ws.has_placeholder_answers}
    return CommandReport(
        document,
        _format_report(
            report,
            ws.task.nouns,
            present_version=present_task.prompt_version,
            review_hint=review_hint,
            draft_rows=draft_rows,
        ),
        hint=_choose_next_command(report, ws.task.nouns, draft_rows=draft_rows),
    )


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
        return nouns.command("try", labelled=True, mode=mode, n=tried_count)
    if report.missing_labelled_rows:
        return CommandHint("web")
    return None


def _format_report(
    report: AccuracyReport,
    nouns: TaskNouns,
    *,
    present_version: str,
    review_hint: str,
    draft_rows: int,
) -> Output:
    """Return the output of `eval` about right values: tables of the versions and of their fields.

    A line between them names the version that the task asks now, if it is another one. Lines after
    them are about labelled rows without an answer, and about missing rows. If no row is labelled
    or no version has answers, the only output is a sentence that says so.

    Args:
        present_version: Prompt version that the task asks now.
        review_hint: How to review more rows.
        draft_rows: Labelled rows on which a new version without answers can be tried.
    """
    if not report.labelled_rows:
        return (
            f"no {nouns.singular} of {report.task} is labelled: at least {MIN_LABELLED_ROWS} "
            f"are needed; {review_hint}"
        )
    if not report.versions:
        return f"no version of {report.task} has answers; nothing was measured"

    versions = [
        {"side": side, **asdict(version)}
        for side, version in zip("AB", report.versions, strict=False)
    ]
    rows_text = plural(report.labelled_rows, nouns.singular, nouns.plural)
    output: list[Output] = [
        f"{rows_text} labelled, {report.measured_rows:,} measured",
        make_table(versions, VERSION_COLUMNS),
    ]
    if any(version.version.partition("/")[0] != present_version for version in report.versions):
        output.append(f"the version that {report.task} asks now is {present_version}")
    if report.fields:
        columns = FIELD_COLUMNS if len(report.versions) == 1 else COMPARISON_COLUMNS
        output.append(make_table(right_value_accuracy.to_field_documents(report.fields), columns))
    if any(version.own_corrections for version in report.versions):
        output.append(CORRECTION_NOTE)

    unasked_rows = report.unasked_rows or draft_rows
    if unasked_rows:
        rows_text = plural(unasked_rows, f"labelled {nouns.singular}", f"labelled {nouns.plural}")
        output.append(
            f"{present_version}, which {report.task} asks now, has no answer to {rows_text}; the "
            "next command asks about them, stores no answer, and prints how many answers are right"
        )

    if report.missing_labelled_rows:
        measured_count = report.measured_rows + report.unasked_rows
        output.append(
            f"{measured_count:,} labelled {nouns.plural} can be measured, at least "
            f"{MIN_LABELLED_ROWS} are needed: label {report.missing_labelled_rows} more; "
            f"{review_hint}"
        )
    return output
