"""Bring rows in: import people, passages or a folder of images, add a person, ask about a table, declare a task."""

import sys
from dataclasses import asdict
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from jobs.command import opened, wants_json
from jobs.options import (
    COUNT,
    FILE,
    PATH,
    STREAM,
    TEXT,
    CommandReport,
    Dry,
    Encoding,
    Header,
    KeyColumn,
    Map,
    Parameter,
    Sheet,
    Source,
    TextColumn,
    WithColumns,
)
from jobs.output import Terminal, TextTable, print_line
from jobs.variables import read_settings
from pipeline.batch.report import duration_in_words
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.files import parquet_files_of, unreadable_reason
from pipeline.core.quotes import shown_value
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine.task_template import ColumnChoice
from pipeline.engine.workspace_folder import is_free
from pipeline.images import import_ as images
from pipeline.ops import status
from pipeline.workflows import add_expert as adding
from pipeline.workflows import ask as asking

if TYPE_CHECKING:
    from pipeline.tables.row_import import Finding, FindingGroup, ImportReport
    from pipeline.workflows.preflight import Preflight

SUBJECTS = {
    "experts": ("person", "people", "with a new biography"),
    "passages": ("passage", "passages", "with another text"),
}


def import_rows(
    *,
    experts: Annotated[Path | None, Parameter("A file of people.", PATH)] = None,
    from_: Annotated[
        Path | None, Parameter("A file, or a folder of images, of the task TASK.", PATH)
    ] = None,
    map_: Map = "",
    strict: Annotated[bool, Parameter("Import nothing unless all rows are valid.")] = False,
    report: Annotated[
        Path | None, Parameter("List every rejected row and changed value in this CSV file.", FILE)
    ] = None,
    dry: Dry = False,
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
) -> CommandReport:
    """Import people from a file: CSV with a header, .xlsx, JSON, JSON lines, or Parquet; passages with TASK=passages.

    One transaction; repeating it changes nothing. Columns are known by their names and by aliases in several languages;
    what only looks alike is named with the MAP= that takes it; others are kept, and come back in an export. Rejected
    rows and changed values are shown by reason, and listed in --report. Exit code 2 if no row was imported.

    Texts of passages are kept exactly as given, and a passage with concepts keeps its text. With TASK=images the images
    below a folder: a file that was moved is known again by its bytes, a changed one is looked at anew, a broken one is
    kept with the reason.
    """
    file, task = (from_, read_settings().task) if experts is None else (experts, "experts")
    if experts is not None and (meant := read_settings().task) in {"passages", "images"}:
        hint = f"`{CommandHint('import', task=meant, **{'from': experts})}`, or {OptionHint(task='experts')}"
        said = (
            f"{experts} is named as a file of people, and the task is {meant}; nothing was imported"
        )
        raise InputError(said, hint=hint)
    if file is None:
        raise click.UsageError(
            "name what to import. With make: EXPERTS=people.csv, or TASK=passages FROM=texts.jsonl"
        )
    if task == "images":
        return _import_images(file)
    if task not in SUBJECTS:
        said = (
            f"rows of the task {task} come from where its file says, and are imported by no command"
        )
        raise InputError(
            f"{said}; nothing was imported",
            hint=f"`{CommandHint('tag', task=task)}` reads them, and asks",
        )
    if not parquet_files_of(file):
        _check_there(file, "imported")
    subject = import_module(f"pipeline.{task}.import_")
    options = subject.ImportOptions(map_, ReadOptions(sheet, encoding, header), strict, report, dry)
    # no workspace is made for a file that cannot be read
    if not dry and (file.is_file() or file.is_dir()) and is_free(read_settings().data):
        subject.check_file(file, options)
    with opened("look" if dry else "create", task=task) as ws:
        done = subject.run(ws, file, options)
        after = None if dry or wants_json() else status.run(ws).next
        return CommandReport(done.document, partial(_show_import, done, task), done.check, after)


def _check_there(file: Path, what: str) -> None:
    """Refuse a file that cannot be read, before a workspace is made for it.

    Raises:
        InputError: it cannot; the message says why.
    """
    if why := unreadable_reason(file):
        raise InputError(f"{file} {why}; nothing was {what}", hint="check the path")


def _show_import(done: "ImportReport", task: str) -> None:
    terminal = Terminal()
    one, many, released = SUBJECTS[task]
    for group in done.groups.values():
        terminal.warn(_group_line(group) if group.count > 1 else _finding_line(group.examples[0]))
    if done.report is None and any(
        group.count > len(group.examples) for group in done.groups.values()
    ):
        terminal.say(f"note: {OptionHint(report='rejects.csv')} lists all of them")
    is_news = done.changes or done.dry or done.groups or done.missing
    for note in done.notes if is_news else ():  # else they were said before
        terminal.say(f"note: {note}")
    if done.rows_in:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in done.counts.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged"
        would, untouched = (" would go", "; nothing was written") if done.dry else ("", "")
        print_line(
            f"{plural(done.rows_in, one, many)}{would} in: {counts}{'; ' + found if found else ''}{untouched}"
        )
    if done.released:
        would = "would be " if done.dry else ""
        print_line(
            f"{plural(done.released, one, many)} {would}unparked, to be asked again {released}"
        )


def _group_line(group: "FindingGroup") -> str:
    shown = [
        f"line {one.line}" + (f" ({one.value})" if one.value else "") for one in group.examples
    ]
    column = f" in {group.column}" if group.column else ""
    more = ", …" if group.count > len(shown) else ""
    return f"{group.kind.value}: {group.count:,} times{column}: {group.reason}: {', '.join(shown)}{more}"


def _finding_line(one: "Finding") -> str:
    column = f", {one.column}" if one.column else ""
    whose = f" [{one.key}]" if one.key else ""
    return f"{one.kind.value}: line {one.line}{column}: {one.reason}{f' ({one.value})' if one.value else ''}{whose}"


def _import_images(folder: Path) -> CommandReport:
    images.check_folder(folder)
    with opened("create", task="images") as ws:
        done = images.run(ws, folder)
        ws.bring_items()
        after = None if wants_json() else status.run(ws).next
    notes = [
        f"{plural(done.gone, 'image is', 'images are')} not there any more, and not asked about"
    ] * bool(done.gone)
    notes += [f"{count:,} left out: {why}" for why, count in done.left_out.items()]
    shown: list[Any] = [partial(Terminal().say, f"note: {one}") for one in notes]
    if done.total:
        counts = f"{done.added:,} added, {done.updated:,} changed, {done.moved:,} moved, {done.unchanged:,} unchanged"
        shown.append(
            f"{plural(done.total, 'image')} in: {counts}{f'; {done.broken:,} broken' * bool(done.broken)}"
        )
    if done.released:
        shown.append(
            f"{plural(done.released, 'image')} unparked, to be asked again with other bytes"
        )
    return CommandReport(done.document, shown, done.check, after)


def add_expert(
    *,
    expert: Annotated[Path, Parameter("", STREAM)],
    map_: Map = "",
    mode: Annotated[str, Parameter("", click.Choice(("live", "priority")))] = "live",
) -> CommandReport:
    """Add the person in a file (JSON; `-` reads standard input) and tag them now.

    With --mode priority the call goes before others, at up to twice the price.

    Fields are known by the names that `import` knows; what only looks alike is named with the MAP= that takes it. If
    Gemini fails, the person is saved untagged and due: the next `run`, `tag` or `batch-submit` asks about them, and
    `status` shows the outcome.
    """
    if str(expert) != "-":
        _check_there(expert, "stored")
    data = sys.stdin.buffer.read() if str(expert) == "-" else expert.read_bytes()
    with opened("create", task="experts") as ws:
        added = adding.run(ws, data, name=str(expert), mapping=map_, way=Mode(mode))
    cells = (added.username, added.name, ", ".join(added.tags) or None, added.findability_score)
    shown: list[Any] = [TextTable(("username", "name", "tags", "score"), [cells])]
    if added.parked or added.problem:
        due = f"({added.problem}) and is due again: `{CommandHint('tag')}`"
        why = f"and parked: {added.parked}" if added.parked else due
        shown.append(partial(Terminal().warn, f"{added.username} is saved without tags {why}"))
    elif added.took_s is not None:
        shown.append(partial(Terminal().say, f"{added.username} tagged in {added.took_s:.1f} s"))
    searchable = f"Not searchable until the next build. Next: {CommandHint('index')}"
    shown.append(
        searchable
        if added.tags
        else f"People without tags cannot be searched. Next: {CommandHint('status')}"
    )
    return CommandReport(asdict(added), shown)


def ask(
    *,
    from_: Annotated[str, Parameter("", TEXT)],
    q: Annotated[str, Parameter("What is asked about each row.", TEXT, metavar="QUESTION")],
    fields: Annotated[
        str,
        Parameter("What an answer is of, such as 'tone: praise|blame; reason: quote; year: int'."),
    ] = "",
    name: Annotated[str, Parameter("Keep the question as tasks/NAME.py.")] = "",
    n: Annotated[
        int, Parameter("How many rows are asked about.", COUNT)
    ] = asking.DEFAULT_ROW_COUNT,
    text: TextColumn = "",
    key: KeyColumn = "",
    with_: WithColumns = "",
    refused: Annotated[
        bool, Parameter("List every row that cannot be asked about, and not three.")
    ] = False,
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
    source: Source = "",
) -> CommandReport:
    """Ask about the first rows of FROM, a table of your own, and say what all of them would cost.

    FROM is a CSV, .xlsx, JSON, JSON lines or Parquet file, or a SELECT on a database. Only the text column is sent,
    and those of --with; which columns are sent is printed. The columns of key and text are found, unless --key and
    --text name them; in --with a name that has a comma stands in double quotes. An answer is one text, or has the
    fields that --fields lists: text, quote, number, int, bool, date, list, or choices.

    Nothing is kept but what the calls cost. With --name the question is kept as the file that new-task would write, and
    the answers are answers of its task; `tag` asks about the other rows. The same command again goes on.
    """
    data = read_settings().data
    reading = ReadOptions(sheet, encoding, header)
    choice = ColumnChoice(text, key, with_)
    wanted = asking.check_question(
        from_, q, fields=fields, name=name, data=data, reading=reading, source=source, choice=choice
    )
    given = {"from": from_, **reading.given, "source": source, "q": q, "fields": fields}
    given |= {"text": text, "key": key, "with": with_}
    again = {name: value for name, value in given.items() if value} | {
        "name": asking.suggest_task_name(from_)
    }
    after: CommandHint | None = CommandHint("ask", **again)
    with opened("create", task="experts") as ws:
        if name:
            kept = asking.save_question(ws, wanted, size=n, lists_refused=refused)
        else:
            report = asking.run(ws, wanted, size=n, lists_refused=refused)
    if name:
        with opened("write", task=name) as ws:
            report = asking.ask_saved(ws, kept, size=n)
            after = status.run(ws).next
    found = report.answers
    names = list(
        dict.fromkeys(
            [report.draft.guess.key, *report.fields, *(name for one in found for name in one)]
        )
    )
    shown: list[Any] = [
        TextTable(names, [[shown_value(one.get(name)) for name in names] for one in found])
    ]
    if report.estimate is not None:
        shown += _cost_lines(report.estimate, report.rows)
    stored = "no answer was stored"
    if report.is_kept:
        stored = f"{report.draft.path} is written, all in it is yours to change, and its answers are kept"
    shown.append(
        f"{len(found):,} of {plural(report.rows, 'row')} asked, {format_usd(report.tried.cost)}; {stored}"
    )
    return CommandReport(report.document, shown, report.tried.check, after)


def _cost_lines(estimated: "Preflight", rows: int) -> list[Any]:
    """Return what all rows would cost by each way, by Gemini's model where the local engine answered, and warnings."""
    priced = estimated.with_key or estimated
    ways = {
        name if name == "live" else f"by {name}": way
        for name, way in priced.ways.items()
        if not way.absent
    }
    costs = ", ".join(
        f"{way.shown_cost} {name} in {duration_in_words(way.seconds)}" for name, way in ways.items()
    )
    line = f"all {plural(rows, 'row')} would cost about {costs}"
    if estimated.with_key is not None:
        local = f"all {plural(rows, 'row')} cost nothing here; with a key {priced.model} would cost about {costs}"
        line = f"{local} (output is guessed; the same command with a key measures it)"
    warnings = [f"{name}: {warning}" for name, way in ways.items() for warning in way.warnings]
    return [line, *(partial(Terminal().warn, warning) for warning in warnings)]


def new_task(
    *,
    name: Annotated[str, Parameter()],
    from_: Annotated[
        str,
        Parameter(
            "The rows to ask about: a CSV, .xlsx, JSON, JSON lines or Parquet file, or a SELECT on a database.",
            metavar="TEXT",
        ),
    ],
    text: TextColumn = "",
    key: KeyColumn = "",
    with_: WithColumns = "",
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
    source: Source = "",
) -> CommandReport:
    """Write `tasks/NAME.py`, which asks about the rows of a table of your own and runs as it is.

    The columns of the key and of the text are guessed by their names and what stands in them, unless --key and --text
    name them. Only the text is sent, and the columns of --with. What was taken is printed; edit the file where it is
    wrong. Nothing is overwritten. A workspace is made where there is none.
    """
    reading = ReadOptions(sheet, encoding, header)
    choice = ColumnChoice(text, key, with_)
    new = asking.check_new_task(
        name, from_, data=read_settings().data, reading=reading, source=source, choice=choice
    )
    with opened("create", task="experts") as ws:
        written = asking.write_task_file(ws, new)
    said = f"{written.path} is written: the question, the answer and the prompt are yours to change"
    return CommandReport(
        written.document, [*written.guess.notes, said], hint=CommandHint("try", task=name)
    )
