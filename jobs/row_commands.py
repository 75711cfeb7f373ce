"""Commands about rows: list, count, export and correct them, edit tags, and compute scores.

- A right value (label) is the value of a field that a person set, confirmed or reviewed.
- A merge replaces a tag by another tag in the answers of all people.
"""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import click

from jobs.command import should_print_json
from jobs.options import (
    COUNT,
    FILE,
    PATH,
    STREAM,
    TEXT,
    VERSION,
    Encoding,
    Header,
    Overwrite,
    Parameter,
    Sheet,
    Tag,
    Version,
    WhereCondition,
    check_exclusive,
)
from jobs.output import system_user
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.quotes import to_display_value
from pipeline.core.report import Report, Table, make_table
from pipeline.core.row_listing import RowFilter, RowListOptions
from pipeline.core.text import plural, split_names
from pipeline.engine import corrections
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_values import ExportOptions
from pipeline.experts import EXPERTS
from pipeline.experts import table as people_table
from pipeline.experts import tags as expert_tags
from pipeline.experts.tags import Document
from pipeline.ops import export as row_export
from pipeline.ops import items as row_items
from pipeline.workflows import correct_rows

MAX_CELL_CHARS = 60
# As in the table of a search.
SHORT_COLUMN_NAMES = {"job_title": "title", "findability_score": "score"}
DEFAULT_PAGE_ROWS = 20
# Rows that are read at once for a file.
CSV_PAGE_ROWS = 1_000
MAX_MERGE_ROWS = 10
# Columns of merges; see `make_table`.
MERGE_COLUMNS = "merge=number from=old into=new who when=at undone=undone_at by=undone_by"

Editor = Annotated[
    str | None,
    Parameter("Name of the editor. Default: the user of the system.", TEXT, metavar="NAME"),
]


def items(
    ws: WorkspaceSession,
    *,
    find: Annotated[tuple[str, ...], Parameter("Words that a row must contain.", TEXT)] = (),
    state: Annotated[
        str | None,
        Parameter("Only rows in this state, such as untagged or parked.", metavar="STATE"),
    ] = None,
    tag: Tag = "",
    extractor: Annotated[
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
    to: Annotated[Path | None, Parameter("Write all rows to this CSV file.", PATH)] = None,
    overwrite: Overwrite = False,
) -> Report:
    """List the rows of TASK that contain all words of FIND, or all rows.

    Searches username, name, title, company and tags of people; id, source and text of passages; all
    columns and answers of your task. Upper and lower case are equal. --where compares columns,
    answers and the state, such as `tone.confidence < 0.7`. It also knows `reviewed = true` and
    `doubtful = true`. A row is doubtful if a confidence is below FINDABLE_DOUBTFUL and nobody
    looked at the answer.

    Prints a page of rows, and how to get the next page. The column `reviewed` is shown if a row of
    the page is reviewed. --to writes all rows that match to a CSV file instead.
    --counts prints only counts by state, version and field. Versions and fields are not counted if
    the table has more than 100,000 rows.
    """
    row_filter = RowFilter(find, state, split_names(tag), extractor, where)
    columns = split_names(fields) or None
    options = RowListOptions(
        limit or DEFAULT_PAGE_ROWS, row_filter, after, sort=sort, fields=columns, within_s=None
    )
    if to is not None:
        export_report = row_items.write_csv(
            ws.store,
            ws.task,
            to,
            options._replace(limit=CSV_PAGE_ROWS, after=None),
            overwrite=overwrite,
            max_rows=limit,
        )
        count_text = plural(export_report.count, export_report.word)
        return Report(asdict(export_report), f"{count_text} written to {export_report.path}")
    if counts:
        return _count_rows(ws, row_filter)

    page = row_items.read_page(ws.store, ws.task, options)
    names = list(page.names)
    # The default columns of a page have the review only if a row is reviewed.
    has_review = any(row.values.get(page.review_name) for row in page.items)
    if columns is None and page.review_name in names and not has_review:
        names.remove(page.review_name)
    headers = [SHORT_COLUMN_NAMES.get(name, name) for name in (*names, page.state_name)]
    rows = [
        [*(_format_row_value(row.values.get(name)) for name in names), row.state]
        for row in page.items
    ]
    report = Report(page.document, parts=[Table(headers, rows)])
    if page.after is not None:
        report.notes.append(f"next page: the same command with {OptionHint(after=page.after)}")
    return report


def _format_row_value(value: object) -> str:
    """Return the text of a row's value for `items`: None is empty, list members have commas.

    If standard output is a terminal, the text is cut after MAX_CELL_CHARS characters.
    """
    members = value if isinstance(value, list) else [value]
    text = ", ".join(to_display_value(member) for member in members if member is not None)
    if sys.stdout.isatty() and len(text) > MAX_CELL_CHARS:
        return f"{text[:MAX_CELL_CHARS]}…"
    return text


def _count_rows(ws: WorkspaceSession, row_filter: RowFilter) -> Report:
    """Return the report of `items --counts`: how many rows a filter matches, in all and by kind.

    The kinds are state, version, and each field that can be counted.

    Counting has no time limit. Versions and fields have no lines if they were not counted, because
    the table is too large.
    """
    counts = row_items.count_rows(ws.store, ws.task, row_filter, within_s=None)
    rows = [{"by": "all", "value": "", "rows": counts.total}]
    for kind, counts_by_name in (("state", counts.states), ("version", counts.versions)):
        rows += [
            {"by": kind, "value": name, "rows": count}
            for name, count in (counts_by_name or {}).items()
        ]
    for name, value_counts in counts.fields.items():
        rows += [{"by": name, "value": count.value, "rows": count.items} for count in value_counts]
    return Report(counts.document, parts=[make_table(rows, "by value rows")])


def export(
    ws: WorkspaceSession,
    *,
    to: Annotated[Path, Parameter("", STREAM)],
    format_: Annotated[
        str | None,
        Parameter(
            "Format of the file. Default: by the ending of TO.",
            click.Choice(["csv", "json", "jsonl", "xlsx", "parquet"]),
        ),
    ] = None,
    extractor: Version = None,
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

    Answers are those of --extractor or VERSION=, else those of the preferred version. The command
    prints how many rows have which version.

    CSV cells that a spreadsheet would run as formulas get an apostrophe, unless --raw is given.

    The file is complete or not written. If there are no rows to export, no file is written. `-` is
    standard output; with --json it gets a JSON list.
    """
    path = None if str(to) == "-" else to
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

    options = ExportOptions(extractor or None, cost, gone=gone)
    report = row_export.export_answers(
        ws,
        path,
        format_=format_,
        options=options,
        overwrite=overwrite,
        raw=raw,
        write_chunks=sys.stdout.buffer.writelines if path is None else None,
    )

    if path is None:
        ws.display.say(f"{plural(report.count, report.word)} written")
        return None
    # Without rows, a note says that no file was written.
    title = ""
    if report.path is not None:
        title = f"{plural(report.count, report.word)} written to {path}"
    return Report(asdict(report), title)


def tags(
    ws: WorkspaceSession,
    *,
    k: Annotated[int, Parameter("Show this many tags.", COUNT, metavar="TAGS")] = 20,
    find: Annotated[str, Parameter("Only tags that contain this text.")] = "",
    merge: Annotated[
        str | None, Parameter('Merge tags: "old=new; old=new".', TEXT, metavar="RULES")
    ] = None,
    undo: Annotated[
        int | None,
        Parameter("Undo the merge with this number.", COUNT, metavar="NUMBER"),
    ] = None,
    editor: Editor = None,
) -> Report:
    """List the tags of people, and the merges of tags.

    --merge replaces a tag by another tag, for all people and in later answers. --undo with the
    number of the merge restores the tags.
    """
    check_exclusive("nothing was changed", merge=merge, undo=undo)

    if merge is not None:
        rules = expert_tags.parse_merges(merge)
        report = expert_tags.merge_tags(
            ws.store, rules, editor or system_user(), merged_at=ws.now()
        )
        return _report_merges(report)
    if undo is not None:
        report = expert_tags.undo_merge(ws.store, undo, editor or system_user(), undone_at=ws.now())
        return _report_merges(report)
    return _report_tags(expert_tags.count_tags(ws.store), find, k)


def _report_merges(merges: Document) -> Report:
    """Report merges of tags, or an undone merge, and the number of people whose tags changed.

    If a trigger or rule of the database refused changes, a warning says how many rows kept their
    tags.
    """
    people = plural(merges["people"], "person", "people")
    report = Report(merges, f"tags of {people} changed")
    report.parts.append(make_table(merges["merges"], MERGE_COLUMNS))
    if merges["kept"]:
        row_count = plural(merges["kept"], "row")
        report.warnings.append(
            f"{row_count} not changed, because a trigger or rule of the database refused it"
        )
    return report


def correct(
    ws: WorkspaceSession,
    item: Annotated[str | None, Parameter("Key of the row, or username.", TEXT)] = None,
    *,
    set_: Annotated[
        str | None,
        Parameter('New values of fields: "tone=praise; stars=4".', TEXT, metavar="FIELDS"),
    ] = None,
    reviewed: Annotated[
        bool | None,
        Parameter("Mark the answer as reviewed; 0 removes the mark.", bool),
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
    """Correct the answer about the row ITEM, undo a correction, or list the corrections.

    If only ITEM is given, it prints the answer and lists the edits. --set stores an edit, and
    --undo undoes the edit with a number. A correction outranks the answers of all models, and
    stays.

    Setting a field to its present value confirms it. Confirmed and corrected fields are labels, by
    which `eval` measures versions. --reviewed makes all fields of the present answer labels.

    Write lists with commas. A value in quotation marks or brackets is read as JSON. A quotation
    must be part of the row's text.

    --file corrects many rows by a column with the keys and columns named like fields. An empty cell
    is no label. `yes` in a column `reviewed` marks the row. If a line is wrong, nothing is changed.
    """
    consequence = "nothing was changed"
    check_exclusive(consequence, set=set_, reviewed=reviewed, undo=undo, file=file)
    check_exclusive(consequence, item=item, file=file)
    file_options = {"sheet": sheet, "encoding": encoding, "header": header, "dry": dry}
    for name, value in file_options.items():
        check_exclusive(consequence, item=item, **{name: value or None})
    editor_name = editor or system_user()
    if file is not None:
        read_options = ReadOptions(sheet, encoding, header)
        return correct_rows.correct_by_file(
            ws, file, options=read_options, editor_name=editor_name, is_dry=dry
        )
    if item is None:
        raise InputError(
            f"{OptionHint('item')} or {OptionHint('file')} is missing; nothing was changed"
        )

    # An edit is either a number to undo, or the new values.
    change: Document | int | None = undo
    if set_ is not None:
        change = corrections.parse_typed_fields(ws.task, set_)
    return correct_rows.correct_row(ws, item, change, is_reviewed=reviewed, editor_name=editor_name)


def _report_tags(report: Document, search_text: str, max_tags: int) -> Report:
    """Return the command's report of the tags that contain a text (in any case), and all merges.

    The JSON document has all of these tags and merges. The printed tables have the first `max_tags`
    tags and the newest MAX_MERGE_ROWS merges.

    Args:
        report: The counts of `expert_tags.count_tags`.
        search_text: The text; "" for all tags.
        max_tags: Tags in the table.
    """
    matching_tags = [tag for tag in report["tags"] if search_text.lower() in tag["tag"].lower()]
    people = plural(report["people"], "person", "people")
    different_tags = plural(report["different"], "different tag")
    rare_tags = plural(report["used_once"], "tag")
    title = f"{people} with {different_tags}; {rare_tags} of a single person"
    parts = [make_table(matching_tags[:max_tags], "tag people")]
    if report["merges"]:
        parts.append(make_table(report["merges"][-MAX_MERGE_ROWS:], MERGE_COLUMNS))
    return Report({**report, "tags": matching_tags}, title, [*parts])


def score(ws: WorkspaceSession) -> Report:
    """Compute the scores of people again from their stored data.

    A score, 0 to 100, says how complete a person is: bio, tags, profile address, job title, hourly
    rate. Only scores that differ from the stored scores are written. Another task is refused,
    because its rows have no scores.
    """
    if ws.task.subject != EXPERTS:
        raise InputError(
            f"rows of {ws.task.subject} have no scores; nothing was changed",
            hint=f"`{CommandHint('score', task=EXPERTS)}` is about people",
        )
    with ws.store.write() as tx:
        changed = people_table.refresh_scores(tx)
        total = ws.task.make_row_table(tx).count_rows(tx)
    title = f"{plural(total, 'score')} checked, {changed:,} changed"
    return Report({"total": total, "changed": changed}, title)
