"""Commands about rows: list, count, export and correct them, edit tags, and print the status."""

import contextlib
import getpass
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click

from jobs.command import should_print_json
from jobs.options import (
    COUNT,
    MAX_NUMBER,
    PATH,
    STREAM,
    TEXT,
    VERSION,
    CommandReport,
    CountParam,
    MaxScore,
    MinScore,
    Overwrite,
    Parameter,
    Tag,
    Version,
    Where,
)
from jobs.output import Terminal, TextTable, print_fields, raw_writer
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import to_display_value
from pipeline.core.row_listing import RowFilter
from pipeline.core.text import plural
from pipeline.engine import corrections
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import ExportOptions
from pipeline.experts import tags as expert_tags
from pipeline.experts.tags import Document
from pipeline.ops import export as row_export
from pipeline.ops import items as row_items

MAX_CELL_CHARS = 60
# As in the table of a search.
SHORT_COLUMN_NAMES = {"job_title": "title", "findability_score": "score"}
DEFAULT_PAGE_ROWS = 20
MAX_MERGE_ROWS = 10


def items(
    ws: WorkspaceSession,
    *,
    find: Annotated[tuple[str, ...], Parameter("Words that it holds.", TEXT)] = (),
    state: Annotated[
        str | None,
        Parameter("Only those in this state, such as untagged or parked."),
    ] = None,
    tag: Tag = "",
    extractor: Annotated[str | None, Parameter("Only what one version answered.", VERSION)] = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    where: Where = "",
    sort: Annotated[str | None, Parameter("By this column; -COLUMN has the largest first.")] = None,
    fields: Annotated[str, Parameter("Show these columns.", metavar="NAME,…")] = "",
    after: Annotated[
        str | None,
        Parameter("Go on behind this id, as the page before says.", TEXT),
    ] = None,
    limit: Annotated[int, Parameter("Show at most this many.", COUNT)] = DEFAULT_PAGE_ROWS,
    counts: Annotated[bool, Parameter("Count them by state, tag and version instead.")] = False,
    to: Annotated[Path | None, Parameter("Write them all to this file, as CSV.", PATH)] = None,
    overwrite: Overwrite = False,
) -> CommandReport:
    """List items that hold all words of FIND, or all items, whatever their state; those of TASK=.

    People are looked for in username, name, title, company and tags, passages in id, source and text, rows of your own
    task in all columns and answers, in any case; --where names these. A page ends by saying how to get the next one.
    With --to all of them are written to a CSV file; with --counts they are counted, by tags and versions up to 100,000
    rows.
    """
    row_filter = RowFilter(find, state, _split_names(tag), extractor, min_score, max_score, where)
    columns = _split_names(fields) or None
    if to is not None:
        export_report = row_items.write_csv(
            ws,
            to,
            row_filter,
            overwrite=overwrite,
            sort=sort,
            fields=columns,
        )
        message = (
            f"{plural(export_report.count, export_report.word)} written to {export_report.path}"
        )
        return CommandReport(asdict(export_report), message)
    if counts:
        return _count_rows(ws, row_filter)

    page = row_items.read_page(
        ws,
        row_filter,
        limit=limit,
        after=after,
        within_s=None,
        sort=sort,
        fields=columns,
    )
    if not page.items:
        return CommandReport(page.document, f"no {ws.task.labels.singular} was found")

    headers = [SHORT_COLUMN_NAMES.get(name, name) for name in (*page.names, "state")]
    rows = [[*map(_format_cell, row.values.values()), row.state] for row in page.items]
    output: list[Any] = [TextTable(headers, rows)]
    if page.after is not None:
        message = f"more: the same with {OptionHint(after=page.after)}"
        output.append(partial(Terminal().say, message))
    return CommandReport(page.document, output)


def _count_rows(ws: WorkspaceSession, row_filter: RowFilter) -> CommandReport:
    """Return a report with the counts of a filter's rows by state, tag and version.

    There is no time limit.
    """
    counts = row_items.count_rows(ws, row_filter, within_s=None)
    rows = [("all", "", counts.total)]
    for kind, counts_by_name in (
        ("state", counts.states),
        ("tag", counts.tags),
        ("version", counts.versions),
    ):
        for name, count in (counts_by_name or {}).items():
            rows.append((kind, name, count))
    return CommandReport(counts.document, TextTable(("by", "what", "items"), rows))


def _format_cell(value: object) -> str:
    """Return a cell's text: None is empty, and list members are joined by commas.

    If standard output is a terminal, the text is cut after MAX_CELL_CHARS characters.
    """
    if value is None:
        text = ""
    elif isinstance(value, list):
        text = ", ".join(map(str, value))
    else:
        text = str(value)

    if sys.stdout.isatty() and len(text) > MAX_CELL_CHARS:
        return f"{text[:MAX_CELL_CHARS]}…"
    return text


def _split_names(text: str) -> list[str]:
    """Split a text at its commas and return the names that are not blank."""
    return [name.strip() for name in text.split(",") if name.strip()]


def export(
    ws: WorkspaceSession,
    *,
    to: Annotated[Path, Parameter("", STREAM)],
    format_: Annotated[
        str | None,
        Parameter(
            "The format, if the ending of TO does not say it.",
            click.Choice(["csv", "json", "jsonl", "xlsx", "parquet"]),
        ),
    ] = None,
    best: Annotated[bool, Parameter("Only the preferred concepts.")] = False,
    extractor: Version = None,
    rows: Annotated[
        str | None,
        Parameter("A row for each member of this list; LIST.INNER is one within.", metavar="FIELD"),
    ] = None,
    cost: Annotated[bool, Parameter("What each answer took: tokens and USD.")] = False,
    full: Annotated[
        bool,
        Parameter("The text of its passage and the context with each concept."),
    ] = False,
    gone: Annotated[bool, Parameter("Rows that left their source, too.")] = False,
    raw: Annotated[
        bool,
        Parameter("Leave cells of CSV that begin like a formula unchanged."),
    ] = False,
    overwrite: Overwrite = False,
) -> CommandReport | None:
    """Write all experts with tags and scores to TO (.csv, .xlsx, .json, .jsonl, .parquet; `-` is standard output).

    What their files said beside comes back behind that. With TASK=passages: the concepts with their evidence (.jsonl,
    .csv, .xlsx, .parquet). With a task of your own: every row of its source, in its order, with its answer, its state
    and the reason of that, or with --rows a row for each member of a list that the answers hold. They are of one
    version: the one that --extractor or VERSION= names, else the preferred one; how many rows have which is said. Rows
    that left the source are written with --gone alone.

    Cells of CSV that a spreadsheet would run as formulas get an apostrophe in front, unless there is --raw. The file is
    written completely or not at all; one that is there is replaced with --overwrite alone, and without a row no file is
    written. With --json, standard output gets experts as one JSON list.
    """
    path = None if str(to) == "-" else to
    # With --json standard output must be one JSON document.
    if path is None and should_print_json():
        if format_ not in (None, "json"):
            message = (
                f"{OptionHint(json=True)} is for one JSON document, and {format_} is none; "
                "nothing was written"
            )
            raise InputError(message, hint="leave out either")
        format_ = "json"

    options = ExportOptions(best, extractor or None, rows or None, cost, full, gone=gone)
    report = row_export.run(
        ws,
        path,
        format_=format_,
        options=options,
        overwrite=overwrite,
        raw=raw,
        write_chunk=raw_writer(),
    )

    if path is None:
        ws.display.say(f"{plural(report.count, report.word)} written")
        return None
    if report.path is None:
        message = f"no {report.word} to export: no file was written"
    else:
        message = f"{plural(report.count, report.word)} written to {report.path}"
    return CommandReport(asdict(report), message)


def tags(
    ws: WorkspaceSession,
    *,
    k: Annotated[int, Parameter("How many to show.", COUNT)] = 20,
    find: Annotated[str, Parameter("Only tags with this in them.")] = "",
    merge: Annotated[str | None, Parameter('"old=new; old=new".', TEXT)] = None,
    undo: Annotated[
        int | None,
        Parameter("The merge or edit to undo.", CountParam(1, MAX_NUMBER)),
    ] = None,
    who: Annotated[str | None, Parameter("Who says so; else the user of the system.", TEXT)] = None,
    expert: Annotated[
        str | None,
        Parameter("The tags of this person alone.", TEXT, other_name="--person"),
    ] = None,
    add: Annotated[
        str | None,
        Parameter('Tags that the person gets: "ml; law".', TEXT, metavar="TAGS"),
    ] = None,
    remove: Annotated[
        str | None,
        Parameter("Tags that the person loses.", TEXT, metavar="TAGS"),
    ] = None,
) -> CommandReport:
    """List the tags of people, with examples, and what was merged.

    A merge holds for all who have the tag and for answers to come, until --undo takes it back by its number. With
    --expert the tags of one, and every edit; --add and --remove correct them, as `correct` does, --undo takes back an
    edit by its number.
    """
    tag_edit = add or remove
    action_count = sum(action is not None for action in (merge, undo, tag_edit))
    if action_count > 1 or (tag_edit and not expert) or (merge and expert):
        message = (
            f"a merge, an edit of {OptionHint(expert='…')} and an undoing exclude each other; "
            "nothing was changed"
        )
        raise InputError(message)

    if expert is not None and tag_edit:
        return _edit_tags(ws, expert, add=add or "", remove=remove or "", who=who)
    if expert is not None:
        return correct(ws, expert, undo=undo, who=who)
    if merge is not None:
        rules = expert_tags.parse_merges(merge)
        report = expert_tags.merge_tags(ws.store, rules, who or _system_user(), merged_at=ws.now())
        return _report_merges(report)
    if undo is not None:
        report = expert_tags.undo_merge(ws.store, undo, who or _system_user(), undone_at=ws.now())
        return _report_merges(report)
    return _report_tags(expert_tags.count_tags(ws.store), find, k)


def _edit_tags(
    ws: WorkspaceSession,
    username: str,
    *,
    add: str,
    remove: str,
    who: str | None,
) -> CommandReport:
    """Store added and removed tags of one person as a manual correction; return its report.

    Args:
        add: Typed tags that the person gets; "" for none.
        remove: Typed tags that the person loses; "" for none.
        who: The editor's name, or None for the system's user.

    Raises:
        InputError: There is no such person, or a tag is invalid.
        ChangedMeanwhileError: The answer changed after it was read.
    """
    history = corrections.read_history(ws, username)
    current_tags = history["answer"].get("tags", [])
    edited_tags = expert_tags.apply_tag_edit(username, current_tags, add, remove)

    # The state lets the correction fail if the answer changed after it was read.
    report = corrections.correct_answer(
        ws,
        username,
        {"tags": edited_tags},
        editor_name=who or _system_user(),
        expected_state=history["state"],
    )
    return CommandReport(report, _correction_output(username, report, ws))


def _report_merges(report: Document) -> CommandReport:
    """Return the report of a merge or its undoing: merge rules and the number of changed people.

    The output also has a note for each rule that existed already, and a warning about rows that
    kept their tags because the database refused the change.
    """
    output: list[Any] = []
    for old_tag, new_tag in report["same"]:
        message = f"{old_tag!r} goes into {new_tag!r} already"
        output.append(partial(Terminal().say, message))

    for merge in report["merges"]:
        undone = ", undone" if merge["undone_at"] else ""
        output.append(f"merge {merge['number']}: {merge['old']!r} into {merge['new']!r}{undone}")

    if report["kept"]:
        row_count = plural(report["kept"], "row")
        message = f"{row_count} did not take other tags: a trigger or a rule of the database"
        output.append(partial(Terminal().warn, message))

    people = plural(report["people"], "person", "people")
    output.append(f"{people} with other tags now. Next: {CommandHint('index')}")
    return CommandReport(report, output)


def correct(
    ws: WorkspaceSession,
    item: Annotated[str, Parameter("Whose answer: a key, or a username.", TEXT)],
    *,
    set_: Annotated[
        str | None,
        Parameter('Fields of the answer: "tone=praise; stars=4".', TEXT, metavar="FIELDS"),
    ] = None,
    undo: Annotated[int | None, Parameter("The edit to undo.", CountParam(1, MAX_NUMBER))] = None,
    who: Annotated[str | None, Parameter("Who says so; else the user of the system.", TEXT)] = None,
) -> CommandReport:
    """Correct the answer about one row by hand, or undo that; without either, list what was corrected.

    What a person says counts before every model's answer, and stays. A list has commas, a value in quotation marks or
    brackets is JSON, and a quotation must stand in the row's text.
    """
    if set_ is not None and undo is not None:
        message = f"{OptionHint('set')} and {OptionHint('undo')} exclude each other"
        raise InputError(f"{message}; nothing was changed")

    if set_ is not None:
        fields = corrections.parse_typed_fields(ws.task, set_)
        report = corrections.correct_answer(ws, item, fields, editor_name=who or _system_user())
    elif undo is not None:
        report = corrections.correct_answer(ws, item, undo, editor_name=who or _system_user())
    else:
        report = corrections.read_history(ws, item)
    return CommandReport(report, _correction_output(item, report, ws))


def _correction_output(row_name: str, report: Document, ws: WorkspaceSession) -> list[Any]:
    """Return the output of a correction, or of a list of corrections.

    A line says which edit was stored, or that nothing changed, unless edits are only listed. The
    fields of the answer follow, and a table of all edits if there are edits.
    """
    output: list[Any] = []
    if "edit" in report:
        message = "there is nothing to change"
        if report["edit"] is not None:
            message = f"edit {report['edit']} is kept"
        if report["edit"] and ws.is_indexed:
            message += f". Next: {CommandHint('index', task=ws.task.subject)}"
        output.append(f"{row_name}: {message}")

    fields = [(name, to_display_value(value)) for name, value in report["answer"].items()]
    output.append(partial(print_fields, fields))

    if report["edits"]:
        rows = [_edit_cells(edit) for edit in report["edits"]]
        output.append(TextTable(("edit", "who", "when", "what"), rows))
    return output


def _edit_cells(edit: Mapping[str, Any]) -> tuple[object, ...]:
    """Return an edit as cells: number, person, time, and changes.

    Members that a list lost have a minus sign, and members that it got have a plus sign. Other
    fields have both values. The changes end with the number of the edit that this edit undoes.
    """
    changes = list[str]()
    for name, (before, after) in edit["changes"].items():
        if isinstance(after, list) and isinstance(before or [], list):
            old_members = before or []
            changes += [f"-{to_display_value(old)}" for old in old_members if old not in after]
            changes += [f"+{to_display_value(new)}" for new in after if new not in old_members]
        else:
            changes.append(f"{name}: {to_display_value(before)} → {to_display_value(after)}")

    undone = "" if edit["undoes"] is None else f" (undoes {edit['undoes']})"
    return (edit["number"], edit["who"], edit["at"], ", ".join(changes) + undone)


def _system_user() -> str:
    """Return the name of the system's user, or "unknown"."""
    # A system without accounts may raise any error.
    with contextlib.suppress(Exception):
        return getpass.getuser()
    return "unknown"


def _report_tags(report: Document, search_text: str, max_tags: int) -> CommandReport:
    """Return the tags that contain a text in any case, and all merges of tags.

    The document has all matching tags and merges. The tables have the first `max_tags` tags and
    the newest MAX_MERGE_ROWS merges.
    """
    matching_tags = [tag for tag in report["tags"] if search_text.lower() in tag["tag"].lower()]
    tag_rows = [
        (tag["tag"], tag["people"], ", ".join(tag["examples"])) for tag in matching_tags[:max_tags]
    ]
    people = plural(report["people"], "person", "people")
    different_tags = plural(report["different"], "different tag")
    rare_tags = plural(report["used_once"], "tag")
    output: list[Any] = [
        f"{people} with {different_tags}; {rare_tags} of one person alone",
        TextTable(("tag", "people", "such as"), tag_rows),
    ]

    members = ("number", "old", "new", "who", "at", "undone_at", "undone_by")
    merge_rows = [
        tuple(merge[member] for member in members) for merge in report["merges"][-MAX_MERGE_ROWS:]
    ]
    if merge_rows:
        headers = ("merge", "from", "into", "who", "when", "undone", "by")
        output.append(TextTable(headers, merge_rows))
    return CommandReport({**report, "tags": matching_tags}, output)


def score(ws: WorkspaceSession) -> CommandReport:
    """Compute anew what follows from rows: the scores of people, or of your own task its tables of answers.

    Only what changed is written.
    """
    with ws.store.write() as tx:
        changed = ws.task.own_tables.refresh_derived(tx)
        total = ws.task.rows.table(tx).count_rows(tx)
    noun = "score" if ws.task.own_tables.has_derived_columns else "row"
    message = f"{plural(total, noun)} checked, {changed:,} changed"
    return CommandReport({"total": total, "changed": changed}, message)
