"""Commands about rows: count, list, show, export and correct them, edit tags, and compute scores.

- A right value (label) is the value of a field that a person set, confirmed or reviewed.
- A merge replaces a tag by another tag in the answers of all people.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import click

from askrows.jobs.command import should_print_json
from askrows.jobs.options import (
    COUNT,
    FILE,
    PATH,
    STREAM,
    TEXT,
    VERSION,
    Encoding,
    Expert,
    Header,
    Overwrite,
    Parameter,
    Raw,
    RowKey,
    Sheet,
    Tag,
    Version,
    WhereCondition,
    check_at_most_one_is_typed,
)
from askrows.jobs.output import read_system_user, show_changing_lines
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.row_listing import RowFilter, RowListOptions
from askrows.pipeline.core.text import plural, split_names
from askrows.pipeline.ops import listed_rows
from askrows.pipeline.ops.status import report_status, watch_runs
from askrows.pipeline.tasks import corrections, row_export
from askrows.pipeline.tasks.derived_values import correct_derived_values
from askrows.pipeline.tasks.tag_lists import parse_merges, require_tag_list
from askrows.pipeline.tasks.task_values import ExportOptions
from askrows.pipeline.workflows import correct_rows

DEFAULT_PAGE_ROWS = 20

Editor = Annotated[
    str | None,
    Parameter("Name of the editor. Default: the user of the system.", TEXT, metavar="NAME"),
]


def status(
    run: Run,
    *,
    exact: Annotated[
        bool,
        Parameter("Compare the index with all rows, to find changes by other programs."),
    ] = False,
    watch: Annotated[
        bool, Parameter("Follow the runs under way, of any process, until they end.")
    ] = False,
) -> Report:
    """Show rows by state, open batches, cost (USD), the index, and the next command.

    Changes by other programs to indexed rows are found only by --exact, `index` and `work`.

    Rows of a large table of another program are counted from time to time; the time of the count is
    printed.

    With --watch, a terminal shows the progress of all runs every second, a pipe every five seconds.
    Ctrl-C ends only the watching.
    """
    if watch:
        check_at_most_one_is_typed(
            "nothing was shown", watch=watch, json=should_print_json() or None
        )
        with show_changing_lines() as show_lines:
            watch_runs(run.workspace, run.task, run.tasks, show_lines=show_lines)
    return report_status(run.workspace, run.task, run.tasks, exact=exact)


def items(
    run: Run,
    *,
    find: Annotated[tuple[str, ...], Parameter("Words that a row must contain.", TEXT)] = (),
    state: Annotated[
        str | None,
        Parameter("Only rows in this state, such as untagged or parked.", metavar="STATE"),
    ] = None,
    tag: Tag = "",
    answer_version: Annotated[
        str | None, Parameter("Only rows that this version answered.", VERSION)
    ] = None,
    where: WhereCondition = "",
    sort: Annotated[
        str | None, Parameter("Sort by this column; -COLUMN sorts downwards.", metavar="COLUMN")
    ] = None,
    fields: Annotated[
        str, Parameter("Columns to show. Default: those of the task.", metavar="NAME,…")
    ] = "",
    after: Annotated[
        str | None,
        Parameter("Start after this id, which the previous page prints.", TEXT, metavar="ID"),
    ] = None,
    limit: Annotated[
        int | None,
        Parameter(
            f"List at most this many rows. Default: {DEFAULT_PAGE_ROWS} on a page, all with --to.",
            COUNT,
            metavar="ROWS",
        ),
    ] = None,
    counts: Annotated[bool, Parameter("Print counts by state, version and field instead.")] = False,
    target: Annotated[Path | None, Parameter("Write all rows to this file.", PATH)] = None,
    overwrite: Overwrite = False,
) -> Report:
    """List the rows of TASK that contain all words of FIND, or all rows.

    Searches username, name, title, company and tags of people; id, source and text of passages; all
    columns and answers of your task. Upper and lower case are equal. --where compares columns,
    answers and the state, such as `tone.confidence < 0.7`. It also knows `reviewed = true` and
    `doubtful = true`. A row is doubtful if a confidence is below ASKROWS_DOUBTFUL and nobody
    looked at the answer.

    Prints a page of rows, and how to get the next page. The column `reviewed` is shown if a row of
    the page is reviewed. --to writes all rows that match to a file instead,
    in the format of its ending as in `export`. --counts prints only counts by state, version and
    field.
    """
    row_filter = RowFilter(find, state, split_names(tag), answer_version, where)
    columns = split_names(fields) or None
    options = RowListOptions(
        limit or DEFAULT_PAGE_ROWS, row_filter, after, sort=sort, fields=columns, within_s=None
    )
    if target is not None:
        return listed_rows.write_rows_to_file(
            run.workspace,
            run.task,
            target,
            options._replace(limit=limit, after=None),
            overwrite=overwrite,
        ).to_report()
    if counts:
        return listed_rows.count_rows(
            run.workspace, run.task, row_filter, within_s=None
        ).to_report()
    page = listed_rows.read_rows_page(run.workspace.store, run.task, options)
    return page.to_report(run.task.key_columns, has_chosen_columns=columns is not None)


def show(
    run: Run,
    *,
    expert: Expert = None,
    row: RowKey = None,
    n: Annotated[int, Parameter("List this many requests.", COUNT, metavar="REQUESTS")] = 10,
    all_: Annotated[bool, Parameter("List the requests of all tasks.")] = False,
    raw: Raw = False,
) -> Report:
    """Show all stored data about a row of TASK, or about a person with --expert.

    Prints state, columns, the preferred answer, all answers and their origin, failed attempts,
    requests with their cost (USD), and the index entry. --raw adds each request and its replies,
    exactly as they were sent and received.

    A name without an option, and --row, mean a row of TASK. If no row is named, it lists the
    newest requests: time (UTC), row, batch, model, outcome, tokens and cost.
    """
    if expert is None and row is None:
        return listed_rows.report_newest_requests(
            run.workspace, run.task, run.tasks, limit=n, all_tasks=all_, raw=raw
        )
    return listed_rows.report_row(run.workspace, run.task, row or expert or "", raw=raw)


def export(
    run: Run,
    *,
    target: Annotated[Path, Parameter("", STREAM)],
    format_: Annotated[
        str | None,
        Parameter(
            "Format of the file. Default: by the ending of TO.",
            click.Choice(["csv", "json", "jsonl", "xlsx", "parquet"]),
        ),
    ] = None,
    answer_version: Version = None,
    cost: Annotated[bool, Parameter("Add tokens and cost (USD) of each answer.")] = False,
    gone: Annotated[bool, Parameter("Add rows that are no longer in their source.")] = False,
    raw: Annotated[
        bool,
        Parameter("Write CSV cells unchanged, also formulas."),
    ] = False,
    overwrite: Overwrite = False,
) -> Report | None:
    """Write rows and answers of TASK to TO: .csv, .xlsx, .json, .jsonl, .parquet, or `-`.

    People: tags, scores, and all columns of their files. TASK=passages: concepts with evidence
    (.jsonl, .csv, .xlsx, .parquet). Your task: all rows of the source in its order, with answer,
    state and reason.

    Answers are those of --answer-version or VERSION=, else those of the preferred version. The
    command prints how many rows have which version.

    CSV cells that a spreadsheet would run as formulas get an apostrophe, unless --raw is given.

    The file is complete or not written. `-` is standard output; with --json it gets a JSON list.
    """
    path = None if str(target) == "-" else target
    if path is None and sys.stdout.isatty():
        raise InputError(
            "standard output is a terminal; nothing was written",
            hint=f"name a file, or add `| less` to the command: {OptionHint(to='-')}",
        )
    # With --json standard output must be one JSON document.
    if path is None and should_print_json():
        if format_ not in (None, "json"):
            message = (
                f"{OptionHint(json=True)} prints a JSON document, but the format is {format_}; "
                "nothing was written"
            )
            raise InputError(message, hint=f"leave out {OptionHint(json=True)} or the format")
        format_ = "json"

    options = ExportOptions(answer_version or None, cost, gone=gone, format_=format_, raw=raw)
    report = row_export.export_answers(
        run.workspace,
        run.task,
        path,
        options=options,
        overwrite=overwrite,
        write_chunks=sys.stdout.buffer.writelines if path is None else None,
    )

    # Standard output has the rows.
    return None if path is None else report.to_report()


def tags(
    run: Run,
    *,
    k: Annotated[int, Parameter("Show this many tags.", COUNT, metavar="TAGS")] = 20,
    find: Annotated[str, Parameter("Only tags that contain this text.")] = "",
    field: Annotated[
        str, Parameter("The list of texts, if an answer has several.", metavar="NAME")
    ] = "",
    merge: Annotated[
        str | None, Parameter('Merge tags: "old=new; old=new".', TEXT, metavar="RULES")
    ] = None,
    undo: Annotated[
        int | None,
        Parameter("Undo the merge with this number.", COUNT, metavar="NUMBER"),
    ] = None,
    editor: Editor = None,
) -> Report:
    """List the tags of rows, and the merges of tags. A tag is a text in a list of the answers.

    --merge replaces a tag by another tag, for all rows and in later answers. --undo with the
    number of the merge restores the tags. Values of other programs stay as they are in their
    tables.
    """
    check_at_most_one_is_typed("nothing was changed", merge=merge, undo=undo)

    store = run.workspace.store
    editor_name = editor or read_system_user()
    tag_list = require_tag_list(run.task, field)
    if merge is not None:
        rules = parse_merges(merge)
        return tag_list.merge_tags(store, rules, editor_name, merged_at=run.workspace.now())
    if undo is not None:
        return tag_list.undo(store, undo, editor_name, undone_at=run.workspace.now())
    return tag_list.report_tags_and_merges(store, search_text=find, max_tags=k)


def correct(
    run: Run,
    row: Annotated[str | None, Parameter("Key of the row, or username.", TEXT)] = None,
    *,
    set_: Annotated[
        str | None,
        Parameter('New values of fields: "tone=praise; stars=4".', TEXT, metavar="FIELDS"),
    ] = None,
    reviewed: Annotated[
        bool | None,
        Parameter("The answer is reviewed, and right; 0 removes the review.", bool),
    ] = None,
    file: Annotated[
        Path | None, Parameter("Table with the keys and right values of many rows.", FILE)
    ] = None,
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
    dry: Annotated[bool, Parameter("Only check the file, and count its changes.")] = False,
    undo: Annotated[
        int | None,
        Parameter("Undo the edit with this number.", COUNT, metavar="NUMBER"),
    ] = None,
    editor: Editor = None,
) -> Report:
    """Correct the answer about a row, undo a correction, or list the corrections.

    Without ROW and options, it lists all edits of TASK. If only ROW is given, it prints the
    answer and lists the edits. --set stores an edit, and --undo undoes the edit with a number. A
    correction outranks the answers of all models, and stays.

    Setting a field to its present value confirms it. Confirmed and corrected fields are labels, by
    which `eval` measures versions. --reviewed makes all fields of the present answer labels.

    Write lists with commas. A value in quotation marks or brackets is read as JSON. A quotation
    must be part of the row's text.

    --file corrects many rows by a column with the keys and columns named like fields. An empty cell
    is no label. `yes` in a column `reviewed` makes the row reviewed. If a line is wrong, nothing is
    changed.
    """
    consequence = "nothing was changed"
    check_at_most_one_is_typed(consequence, set=set_, reviewed=reviewed, undo=undo, file=file)
    check_at_most_one_is_typed(consequence, row=row, file=file)
    file_options = {"sheet": sheet, "encoding": encoding, "header": header, "dry": dry}
    for name, value in file_options.items():
        check_at_most_one_is_typed(consequence, row=row, **{name: value or None})
    editor_name = editor or read_system_user()
    if file is not None:
        read_options = ReadOptions(sheet, encoding, header)
        return correct_rows.correct_and_review_by_file(
            run, file, options=read_options, editor_name=editor_name, is_dry=dry
        )
    if row is None and set_ is None and reviewed is None and undo is None:
        return correct_rows.report_corrections(run)
    if row is None:
        raise InputError(
            f"{OptionHint('row')} or {OptionHint('file')} is missing; nothing was changed"
        )

    # An edit is either a number to undo, or the new values.
    change: Mapping[str, Any] | int | None = undo
    if set_ is not None:
        change = corrections.parse_typed_fields(run.task, set_)
    return correct_rows.correct_row(run, row, change, is_reviewed=reviewed, editor_name=editor_name)


def recompute_derived_values(run: Run) -> Report:
    """Compute the derived values of TASK again, such as scores.

    The rows are read again before. Only values that differ from the stored values are written, also
    to the columns of your own tables that `derive=` names. A task without `derive=` is refused.
    """
    current_run = run.sync_task()
    task = current_run.task
    if not task.record.derived:
        raise InputError(
            f"{task.nouns.plural} of {task.subject} have no derived values; nothing was changed",
            hint="set derive= in the task's file",
        )
    with run.workspace.store.write() as tx:
        changed = correct_derived_values(tx, task)
        total = task.rows.count_rows(tx)
    title = f"{plural(total, 'row')} checked, {changed:,} changed"
    return Report({"total": total, "changed": changed}, title)
