"""The command `eval`: measure the search with judged questions, or answers with labels.

A label is the right value of a field of a row: a person set, confirmed or reviewed it. A labelled
row has a label in at least one field.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from jobs.options import PATH, VERSION, CommandReport, Parameter
from jobs.output import Output, TextTable
from jobs.search_commands import evaluate_search
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine import task_registry
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import TaskLabels
from pipeline.quality import label_accuracy
from pipeline.quality.label_accuracy import (
    MIN_DIFFERING_ROWS,
    MIN_LABELLED_ROWS,
    NO_DIFFERENCE,
    AccuracyReport,
    FieldComparison,
    Share,
)
from pipeline.workflows import labelled_rows

# The largest trial that is proposed; its interval is narrow.
MAX_TRIED_ROWS = 200
# A smaller p-value is not printed itself.
MIN_PRINTED_CHANCE = 0.001


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
    if queries is not None and qrels is not None:
        if a or b:
            raise InputError(
                f"{OptionHint('a')} and {OptionHint('b')} measure answers, not a search; "
                "nothing was measured"
            )
        return evaluate_search(ws, queries, qrels)
    # One file of judged questions alone does not mean that labels are to be measured.
    if queries is not None or qrels is not None:
        missing_name = "queries"
        if qrels is None:
            missing_name = "qrels"
        raise InputError(
            f"judged questions need two files, but {missing_name.upper()} is missing; "
            "nothing was measured",
            hint=f"add {OptionHint(missing_name)}",
        )

    with ws.store.read() as tx:
        report = label_accuracy.measure_versions(
            tx, ws.task, (a, b), doubtful_below=ws.settings.doubtful
        )
        label_hint = str(labelled_rows.make_label_hint(tx, ws.task))
        # The task's file may declare a version that no command has registered yet.
        present_task = task_registry.with_present_version(ws.task)
        draft_rows = 0
        if report.versions:
            draft_rows = labelled_rows.count_draft_rows(tx, present_task)
    document = {**report.to_document(), "placeholder": ws.has_placeholder_answers}
    return CommandReport(
        document,
        _format_report(
            report,
            ws.task.labels,
            present_label=present_task.prompt_version,
            label_hint=label_hint,
            draft_rows=draft_rows,
        ),
        hint=_choose_next_command(report, ws.task.labels, draft_rows=draft_rows),
    )


def _choose_next_command(
    report: AccuracyReport, labels: TaskLabels, *, draft_rows: int
) -> CommandHint | None:
    """Return the command after `eval`: `try`, `web`, or None if nothing is missing.

    - `try`, if the version that the task asks now has no answers to some labelled rows, or none at
      all. It asks at most MAX_TRIED_ROWS labelled rows.
    - `web`, if more labels are needed.

    Args:
        draft_rows: Labelled rows on which a new version without answers can be tried.
    """
    mode = Mode.DECIDE.value if report.present_uses_decisions else None
    row_count = draft_rows
    if report.unasked_rows and report.present_index is not None:
        row_count = report.measured_rows + report.unasked_rows
    if row_count:
        tried_count = min(row_count, MAX_TRIED_ROWS)
        return labels.command("try", labelled=True, mode=mode, n=tried_count)
    if report.missing_labels:
        return CommandHint("web")
    return None


def _format_report(
    report: AccuracyReport,
    labels: TaskLabels,
    *,
    present_label: str,
    label_hint: str,
    draft_rows: int,
) -> Output:
    """Return the output of `eval` about labels: a line per version, then a table of fields.

    A line after those of the versions says if A or B is not the version that the task asks now.

    If two versions are compared, a verdict for each field follows the table. Then a line says how
    many labelled rows the present version has no answer to, and another line how many labels are
    missing; each only if there are any. If no row is labelled or no version has answers, the only
    output is a sentence that says so.

    Args:
        present_label: Prompt version that the task asks now.
        label_hint: How to label more rows.
        draft_rows: Labelled rows on which a new version without answers can be tried.
    """
    if not report.labelled_rows:
        return (
            f"no {labels.singular} of {report.task} is labelled: at least {MIN_LABELLED_ROWS} "
            f"are needed; {label_hint}"
        )
    if not report.versions:
        return f"no version of {report.task} has answers; nothing was measured"

    output: list[Output] = [*_iterate_version_lines(report, labels)]
    other_sides = [
        side
        for side, version in zip("AB", report.versions, strict=False)
        if version.version.partition("/")[0] != present_label
    ]
    if len(other_sides) > 1:
        output.append(
            f"neither A nor B is the version that {report.task} asks now, {present_label}"
        )
    elif other_sides:
        output.append(
            f"{other_sides[0]} is not the version that {report.task} asks now, {present_label}"
        )
    if report.fields:
        headers = ["field", "labels", *(f"right {side}" for side in "AB"[: len(report.versions)])]
        rows = [
            [
                comparison.name,
                comparison.shares[0].of,
                *(format_share(share) for share in comparison.shares),
            ]
            for comparison in report.fields
        ]
        output.append(TextTable(headers, rows))
        if len(report.versions) > 1:
            output += map(format_verdict, report.fields)
        output += _iterate_correction_lines(report)

    if report.unasked_rows and report.present_index is not None:
        version_name = report.versions[report.present_index].version
        rows_text = plural(
            report.unasked_rows, f"labelled {labels.singular}", f"labelled {labels.plural}"
        )
        output.append(
            f"{version_name} has no answer to {rows_text}; the next command asks about them, "
            "stores no answer, and prints how many answers are right"
        )
    elif draft_rows:
        output.append(
            f"the version that {report.task} asks now has no answers; the next command asks about "
            f"labelled {labels.plural}, stores no answer, and prints how many answers are right"
        )

    if report.missing_labels:
        rows_text = plural(
            report.measured_rows + report.unasked_rows,
            f"labelled {labels.singular} can be measured",
            f"labelled {labels.plural} can be measured",
        )
        output.append(
            f"{rows_text}, at least {MIN_LABELLED_ROWS} are needed: "
            f"label {report.missing_labels} more; {label_hint}"
        )
    return output


def _iterate_version_lines(report: AccuracyReport, labels: TaskLabels) -> Iterator[str]:
    """Yield a line with the number of labelled and measured rows, then a line for each version.

    A version's line has its side A or B, its name, and its cost for 1,000 rows. Accuracy is not in
    these lines. A version's line ends with these counts, each only if there are such rows:

    - labelled rows that are not measured for this version, by reason
    - rows with a confidence, and how many of them are doubtful
    """
    yield (
        f"{plural(report.labelled_rows, labels.singular, labels.plural)} labelled, "
        f"{report.measured_rows:,} measured"
    )
    for side, version in zip("AB", report.versions, strict=False):
        line = f"{side} is {version.version}: {format_usd(version.cost_per_1000)} for 1,000 rows"
        for reason, count in version.left_out.items():
            line += f"; {count:,} left out ({reason})"
        if version.rows_with_confidence:
            line += f"; {version.doubtful_rows:,} of {version.rows_with_confidence:,} doubtful"
        yield line


def _iterate_correction_lines(report: AccuracyReport) -> Iterator[str]:
    """Yield for each version and field how many labels replaced a wrong value of the version.

    If there are such labels, a last line warns that they make the version look worse than it is on
    random rows. Nothing is yielded if there are none.
    """
    for side, version in zip("AB", report.versions, strict=False):
        for comparison in report.fields:
            count = version.own_corrections_by_field.get(comparison.name)
            if not count:
                continue
            labels = plural(comparison.shares[0].of, "label")
            yield f"{comparison.name}: {count:,} of {labels} replaced a wrong value of {side}"

    if any(version.own_corrections for version in report.versions):
        yield (
            "people correct values that look wrong, so a version is better on random rows "
            "than on rows where its own values were corrected; "
            "review random rows, too"
        )


def format_share(share: Share) -> str:
    """Return a share with its interval, such as `85% [64%, 95%]`."""
    low, high = share.interval
    return f"{share.accuracy or 0:.0%} [{low:.0%}, {high:.0%}]"


def _format_p_value(p_value: float) -> str:
    """Return a p-value, such as `p = 0.021`; below 0.001 it is `p < 0.001`."""
    if p_value < MIN_PRINTED_CHANCE:
        return f"p < {MIN_PRINTED_CHANCE}"
    return f"p = {p_value:.3f}"


def format_verdict(comparison: FieldComparison) -> str:
    """Return in words whether the sign test shows that one version is better in a field.

    Only rows on which exactly one of the two versions is right count. If a difference is shown, the
    text has their number for each version, and the p-value. If not, the text has the p-value, or,
    if there are fewer than MIN_DIFFERING_ROWS such rows, their number.
    """
    if comparison.verdict != NO_DIFFERENCE:
        return (
            f"{comparison.name}: {comparison.verdict} "
            f"(only A right {comparison.only_a_right:,} times, "
            f"only B {comparison.only_b_right:,} times; {_format_p_value(comparison.p_value)})"
        )

    line = f"{comparison.name}: {NO_DIFFERENCE}"
    differing_rows = comparison.only_a_right + comparison.only_b_right
    if differing_rows < MIN_DIFFERING_ROWS:
        rows_text = plural(differing_rows, "labelled row")
        return (
            f"{line} (only one is right on {rows_text}; at least {MIN_DIFFERING_ROWS} are needed)"
        )
    return f"{line} (p = {comparison.p_value:.2f})"
