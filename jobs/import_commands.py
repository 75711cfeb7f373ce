"""Commands that bring in rows or tasks.

- `import` reads people, passages or a folder of images.
- `add-expert` adds one person and asks about them at once.
- `ask` asks about the first rows of a table.
- `new-task` writes the file of a task.
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from jobs.command import open_configured_workspace
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
    SingleRowMode,
    Source,
    TextColumn,
    WithColumns,
)
from jobs.output import Terminal, TextTable, print_line
from jobs.status_command import read_next_command
from jobs.variables import read_settings
from pipeline.batch.report import duration_in_words
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.files import check_no_address, list_parquet_files, unreadable_reason
from pipeline.core.quotes import to_display_value
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine.task_parts import TaskLabels
from pipeline.engine.task_template import ColumnChoice
from pipeline.engine.workspace_folder import has_no_workspace
from pipeline.images import import_ as images
from pipeline.ops import status
from pipeline.workflows import add_expert as add_expert_workflow
from pipeline.workflows import ask as ask_workflow
from pipeline.workflows import decisions, new_task_files
from pipeline.workflows.row_importers import ROW_IMPORTERS, ImportOptions

if TYPE_CHECKING:
    from pipeline.tables.row_findings import Finding
    from pipeline.tables.row_import import FindingGroup, ImportReport
    from pipeline.workflows.mode_choice import ModeEstimate
    from pipeline.workflows.preflight import Preflight


# Options of make with a file, by the name of the command.
_FILE_EXAMPLES = {
    "import": "EXPERTS=people.csv, or TASK=passages FROM=texts.jsonl",
    "import-images": "FOLDER=photos/",
    "import-passages": "PASSAGES=file.jsonl",
}
# Why an unparked row is asked again, by the names of the tasks that are imported from a file.
RELEASE_REASONS = {"experts": "with a new biography", "passages": "with another text"}


def import_rows(
    *,
    experts: Annotated[Path | None, Parameter("File of people.", PATH)] = None,
    from_: Annotated[
        Path | None,
        Parameter("File of passages, or folder of images, with TASK.", PATH),
    ] = None,
    map_: Map = "",
    strict: Annotated[bool, Parameter("Import nothing if a row is rejected.")] = False,
    report: Annotated[
        Path | None,
        Parameter("Write all rejected rows and changed values into this CSV file.", FILE),
    ] = None,
    dry: Dry = False,
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
) -> CommandReport:
    """Import people, passages (TASK=passages) or the images in a folder (TASK=images).

    --experts names a file of people, and --from a file of passages or a folder of images. Reads CSV
    with a header, .xlsx, JSON, JSON lines and Parquet. Imports all valid rows in one transaction;
    the same file again changes nothing. Exit code 2 if the file has no valid row.

    Columns are found by name, in several languages. For a similar name, the command prints the
    MAP= that accepts it. All other columns are stored, and `export` writes them.

    Rejected rows and changed values are printed by reason; --report lists all of them. For people
    it also lists those who are missing in the file; `forget` can delete them.

    Texts of passages are stored unchanged. If a stored passage has concepts, a changed text in the
    file does not replace its text.

    A moved image is recognized by its bytes, and a changed image is asked about again. A broken
    image is stored with the reason. Images have no --dry, --strict and --report.

    Creates the workspace if it does not exist and the file can be imported.
    """
    if experts is not None:
        _check_task_of_people_file(experts)
        file: Path | None = experts
        task_name = "experts"
    else:
        file = from_
        task_name = read_settings().task
    if file is None:
        context = click.get_current_context()
        example = _FILE_EXAMPLES[str(context.info_name)]
        raise click.UsageError(f"there is no file to import. With make: {example}", context)

    if task_name == "images":
        if dry or strict or report is not None:
            options = (
                f"{OptionHint(dry=True)}, {OptionHint(strict=True)} and {OptionHint('report')}"
            )
            raise InputError(
                f"{options} are for files of people and passages; no image was imported",
                hint="leave out the option",
            )
        return _import_images(file)
    if task_name not in RELEASE_REASONS:
        raise InputError(
            f"task {task_name} reads its rows from the source in its file; nothing was imported",
            hint=f"`{CommandHint('tag', task=task_name)}` reads its rows and asks about them",
        )
    if not list_parquet_files(file):
        _check_readable(file, "imported")

    importer = ROW_IMPORTERS[task_name]
    read_options = ReadOptions(sheet, encoding, header)
    import_options = ImportOptions(map_, read_options, strict, report, dry)
    # Do not create a workspace for a file that cannot be imported.
    may_create = not dry and has_no_workspace(read_settings().data)
    if may_create and (file.is_file() or file.is_dir()):
        importer.check_file(file, import_options)

    access = "create"
    if dry:
        access = "look"
    with open_configured_workspace(access, task_name=task_name) as ws:
        import_report = importer.import_rows(ws, file, import_options)
        next_command = None
        if not dry:
            next_command = read_next_command(ws)
        return CommandReport(
            import_report.document,
            partial(_print_import, import_report, ws.task.labels, RELEASE_REASONS[task_name]),
            import_report.check,
            next_command,
        )


def _check_task_of_people_file(people_file: Path) -> None:
    """Check that TASK= does not name passages or images together with a file of people.

    Raises:
        InputError: TASK= names passages or images.
    """
    task_name = read_settings().task
    if task_name not in {"passages", "images"}:
        return

    import_command = CommandHint("import", task=task_name, **{"from": people_file})
    raise InputError(
        f"EXPERTS is for people, but the task is {task_name}; {people_file} was not imported",
        hint=f"`{import_command}`, or {OptionHint(task='experts')}",
    )


def _check_readable(file: Path, participle: str) -> None:
    """Check that a file can be read, before a workspace is created for it.

    Args:
        file: The file.
        participle: End of the message "nothing was …", for example "imported".

    Raises:
        InputError: The file cannot be read; the message has the reason.
    """
    check_no_address(file, f"nothing was {participle}")
    reason = unreadable_reason(file)
    if reason:
        raise InputError(f"{file} {reason}; nothing was {participle}", hint="check the path")


def _print_import(report: "ImportReport", labels: TaskLabels, release_reason: str) -> None:
    """Print the warnings, the notes and the counts of an import of people or passages.

    Findings (rejected rows and changed values) with the same reason share a warning. Warnings and
    notes go to standard error. The notes are left out if a real import changed nothing and has no
    finding, because an earlier import has printed them. Counts are left out if no row was read. An
    import also unparks rows whose text has changed; a line has their number.
    """
    terminal = Terminal()
    groups = report.groups.values()
    for group in groups:
        if group.count > 1:
            terminal.warn(_group_line(group))
        else:
            terminal.warn(_finding_line(group.examples[0]))

    is_shortened = any(group.count > len(group.examples) for group in groups)
    if report.report is None and is_shortened:
        terminal.say(f"note: {OptionHint(report='rejects.csv')} lists all rows and reasons")
    # An import without news repeats an earlier import, which printed the notes.
    if report.changes or report.dry or report.groups or report.missing:
        for note in report.notes:
            terminal.say(f"note: {note}")

    if report.rows_in:
        print_line(_import_line(report, labels))
    if report.released:
        rows = plural(report.released, labels.singular, labels.plural)
        verb = "would be unparked" if report.dry else "unparked"
        print_line(f"{rows} {verb}, to be asked again {release_reason}")


def _import_line(report: "ImportReport", labels: TaskLabels) -> str:
    """Return a line with the counts of read, added, updated and unchanged rows, and of findings.

    Findings are counted by kind, such as rejected; a kind without any is left out. A dry import
    says that nothing was imported.
    """
    parts = [f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged"]
    kind_counts = [f"{count:,} {kind.value}" for kind, count in report.counts.items() if count]
    if kind_counts:
        parts.append(", ".join(kind_counts))

    rows = plural(report.rows_in, labels.singular, labels.plural)
    if report.dry:
        return f"{rows} would be imported: {'; '.join(parts)}; nothing was imported"
    return f"{rows} imported: {'; '.join(parts)}"


def _group_line(group: "FindingGroup") -> str:
    """Return a line with the reason and number of a group's findings, and its examples."""
    examples = [
        f"line {finding.line}{_enclose(' (', finding.value, ')')}" for finding in group.examples
    ]
    if group.count > len(examples):
        examples.append("…")

    count = f"{group.count:,} times{_enclose(' in ', group.column)}"
    return f"{group.kind.value}: {count}: {group.reason}: {', '.join(examples)}"


def _finding_line(finding: "Finding") -> str:
    """Return a line with the place and reason of a finding, an excerpt and the row's key."""
    place = f"line {finding.line}{_enclose(', ', finding.column)}"
    excerpt = _enclose(" (", finding.value, ")")
    key = _enclose(" [", finding.key, "]")
    return f"{finding.kind.value}: {place}: {finding.reason}{excerpt}{key}"


def _enclose(prefix: str, text: str | None, suffix: str = "") -> str:
    """Return a text between a prefix and a suffix; if there is no text, return an empty text."""
    return f"{prefix}{text}{suffix}" if text else ""


def _import_images(folder: Path) -> CommandReport:
    """Import the images below a folder, and store them as rows of the task `images`.

    Creates the workspace if it does not exist. If the folder has no image, this raises nothing, but
    the `check` of the returned report does. With `--json` the report has no next command, because
    only people read it.

    Raises:
        InputError: The folder cannot be read; nothing was imported.
    """
    images.check_folder(folder)
    with open_configured_workspace("create", task_name="images") as ws:
        report = images.import_images(ws, folder)
        ws.sync_rows()
        next_command = read_next_command(ws)
    return CommandReport(report.document, _images_output(report), report.check, next_command)


def _images_output(report: images.ImagesImportReport) -> list[Any]:
    """Return the output of an import of images: notes, then lines with counts.

    A note is a function that prints a text about deleted or skipped files on standard error. A line
    is a text. One line has the number of images: in total, added, changed, moved and unchanged. The
    other line has the number of changed images that were unparked. A line is left out if its number
    is 0, so the output can be empty.
    """
    notes = []
    if report.missing_files:
        missing = plural(report.missing_files, "image is", "images are")
        notes.append(f"{missing} no longer in the folder and not asked about")
    notes += [
        f"{plural(count, 'file')} left out: {reason}"
        for reason, count in report.skipped_counts.items()
    ]
    output: list[Any] = [partial(Terminal().say, f"note: {note}") for note in notes]

    if report.total:
        line = (
            f"{plural(report.total, 'image')} imported: {report.added:,} added, "
            f"{report.updated:,} changed, {report.moved:,} moved, {report.unchanged:,} unchanged"
        )
        if report.broken:
            line += f"; {report.broken:,} broken"
        output.append(line)
    if report.released:
        changed_images = plural(report.released, "changed image")
        output.append(f"{changed_images} unparked, to be asked again")
    return output


def add_expert(
    *,
    expert: Annotated[Path, Parameter("", STREAM)],
    map_: Map = "",
    mode: Annotated[
        str, Parameter("Priority is served first.", click.Choice(("live", "priority")))
    ] = "live",
) -> CommandReport:
    """Add the person in a JSON file (`-` is standard input), and tag them at once.

    Fields have the names that `import` knows. For a similar name, the command prints the MAP= that
    accepts it. Mode priority costs up to twice the price of live.

    If Gemini fails or does not reply within 6.5 seconds, the person is stored without tags. The
    next `work`, `tag` or `batch-submit` asks again. Until then `status --more` shows the newest of
    these people.
    """
    is_stdin = str(expert) == "-"
    if not is_stdin:
        _check_readable(expert, "stored")
    document = sys.stdin.buffer.read() if is_stdin else expert.read_bytes()

    with open_configured_workspace("create", task_name="experts") as ws:
        added_expert = add_expert_workflow.tag_new_person(
            ws,
            document,
            document_name=str(expert),
            mapping=map_,
            mode=Mode(mode),
        )
        next_command = read_next_command(ws)
    output = _added_expert_output(added_expert)
    return CommandReport(added_expert.document, output, hint=next_command)


def _added_expert_output(added_expert: add_expert_workflow.AddedExpert) -> list[Any]:
    """Return the output of `add-expert`: a table with the person, and the outcome.

    The outcome is a function that prints on standard error: the time that the call took, or a
    warning why the person has no tags. It is left out if no call was made and there is no problem.
    The last line says whether searches find the person.
    """
    cells = (
        added_expert.username,
        added_expert.name,
        ", ".join(added_expert.tags) or None,
        added_expert.findability_score,
    )
    output: list[Any] = [TextTable(("username", "name", "tags", "score"), [cells])]

    username = added_expert.username
    terminal = Terminal()
    if added_expert.parked:
        warning = f"{username} is stored without tags and parked: {added_expert.parked}"
        output.append(partial(terminal.warn, warning))
    elif added_expert.problem:
        warning = (
            f"{username} is stored without tags ({added_expert.problem}); "
            f"`{CommandHint('tag')}` asks again"
        )
        output.append(partial(terminal.warn, warning))
    elif added_expert.took_s is not None:
        output.append(partial(terminal.say, f"{username} tagged in {added_expert.took_s:.1f} s"))

    if added_expert.tags:
        output.append("Not in the index yet")
    else:
        output.append("People without tags cannot be searched")
    return output


def ask(
    *,
    from_: Annotated[str, Parameter("", TEXT)],
    q: Annotated[str, Parameter("Question about each row.", TEXT, metavar="QUESTION")],
    fields: Annotated[
        str,
        Parameter(
            "Fields of an answer, such as 'tone: praise|blame; reason: quote; stars: 1-5'. "
            "Default: one text.",
            metavar="FIELDS",
        ),
    ] = "",
    name: Annotated[
        str, Parameter("Store the question as tasks/NAME.py, and its answers.", metavar="NAME")
    ] = "",
    n: Annotated[
        int,
        Parameter("Ask about this many rows.", COUNT, metavar="ROWS"),
    ] = ask_workflow.DEFAULT_ROW_COUNT,
    text: TextColumn = "",
    key: KeyColumn = "",
    with_: WithColumns = "",
    refused: Annotated[
        bool,
        Parameter("List all rows that cannot be asked about, not only three."),
    ] = False,
    sheet: Sheet = "",
    encoding: Encoding = "",
    header: Header = "",
    source: Source = "",
    mode: SingleRowMode = "live",
) -> CommandReport:
    """Ask QUESTION about the first rows of the table FROM, and estimate the cost of all.

    FROM is a CSV, .xlsx, JSON, JSON lines or Parquet file, or a SELECT on the database of --source.
    Only the text column and the columns of --with are sent; the command prints their names. A
    column name with a comma needs double quotes in --with.

    An answer is one text, or has the fields of --fields. A field is a text, quote, number, int,
    bool, date, list, or choices.

    It stores the cost, but no answers; the same command again asks, and costs, again. --name also
    stores the question as a task file, as new-task does, and the answers. `tag` then asks about the
    other rows. After a kill, the same command continues and asks no answered row again.

    Creates the workspace if it does not exist.
    """
    data_folder = read_settings().data
    read_options = ReadOptions(sheet, encoding, header)
    choice = ColumnChoice(text, key, with_)
    question = ask_workflow.parse_question(
        from_,
        q,
        fields=fields,
        name=name,
        data=data_folder,
        reading=read_options,
        source=source,
        choice=choice,
    )

    if mode == Mode.DECIDE:
        # A refused question leaves no workspace behind.
        decisions.check_decidable(question.fields)

    with open_configured_workspace("create", task_name="experts") as ws:
        if name:
            saved_question = ask_workflow.save_question(
                ws,
                question,
                size=n,
                mode=mode,
                should_list_refused=refused,
            )
        else:
            report = ask_workflow.ask_question(
                ws,
                question,
                size=n,
                mode=mode,
                should_list_refused=refused,
            )

    if name:
        # The first workspace has no session of the new task.
        with open_configured_workspace("write", task_name=name) as ws:
            report = ask_workflow.ask_saved(ws, saved_question, size=n, mode=mode)
            next_command: CommandHint | None = status.read_status(ws).next_command
    else:
        options = {
            "from": from_,
            **read_options.given_options,
            "source": source,
            "q": q,
            "fields": fields,
        }
        options |= {"text": text, "key": key, "with": with_}
        given_options = {option: setting for option, setting in options.items() if setting}
        if mode == Mode.DECIDE:
            given_options["mode"] = mode
        task_name = new_task_files.suggest_task_name(from_, ws.data)
        next_command = CommandHint("ask", **given_options, name=task_name)
    document = {**report.document, "placeholder": ws.has_placeholder_answers}
    output = _ask_output(report)
    return CommandReport(document, output, report.tried.check, next_command)


def _ask_output(report: ask_workflow.AskReport) -> list[Any]:
    """Return a table of the answers, the estimate for all rows, and the cost of the calls.

    A row without an answer shows its problem. The estimate is left out if the report has none. Its
    warnings are functions that print on standard error. The last line says how many rows were
    asked, what that cost, and whether answers were stored.
    """
    answers = report.answers
    # Answers have problems instead of fields if the row was not answered.
    columns = dict.fromkeys([report.draft.guess.key, *report.fields])
    for answer in answers:
        columns |= dict.fromkeys(answer)
    rows = [[to_display_value(answer.get(column)) for column in columns] for answer in answers]
    output: list[Any] = [TextTable(list(columns), rows)]
    if report.estimate is not None:
        output += _estimate_output(report.estimate, report.rows)

    stored = "no answer was stored"
    if report.is_kept:
        stored = f"answers stored; edit the question in {report.draft.path}"
    row_count = plural(report.rows, "row")
    cost = format_usd(report.tried.cost)
    copies = ""
    if report.tried.copied_rows:
        equal_rows = plural(
            report.tried.copied_rows,
            "equal row got the same answer",
            "equal rows got the same answers",
        )
        copies = f"; {equal_rows}"
    output.append(f"{len(answers):,} of {row_count} asked, {cost}{copies}; {stored}")
    return output


def _estimate_output(estimate: "Preflight", row_count: int) -> list[Any]:
    """Return a line with the cost of all rows in each available mode, and warnings.

    If the local engine answered, the line says that nothing was paid, and the costs are those of
    the model that a key would use. Each warning is a function that prints on standard error.
    """
    priced_estimate = estimate.with_key or estimate
    mode_estimates = {
        mode: mode_estimate
        for mode, mode_estimate in priced_estimate.possible_mode_estimates.items()
        if not mode_estimate.absence_reason
    }
    costs = ", ".join(
        _mode_cost(mode, mode_estimate) for mode, mode_estimate in mode_estimates.items()
    )
    rows = f"all {row_count:,} rows"
    verb = "cost"
    if row_count == 1:
        rows = "1 row"
        verb = "costs"
    if estimate.with_key is None:
        line = f"{rows} would cost about {costs}"
    else:
        line = (
            f"{rows} {verb} nothing here; with an API key {priced_estimate.model} would cost about "
            f"{costs} (the length of answers is guessed; with an API key it is measured)"
        )

    output: list[Any] = [line]
    for mode, mode_estimate in mode_estimates.items():
        output += [
            partial(Terminal().warn, f"{_mode_phrase(mode)}: {warning}")
            for warning in mode_estimate.warnings
        ]
    return output


def _mode_phrase(mode: str) -> str:
    """Return a mode as it follows a cost: "live" or "by batch"."""
    return mode if mode == "live" else f"by {mode}"


def _mode_cost(mode: str, mode_estimate: "ModeEstimate") -> str:
    """Return the cost and duration of a mode as a phrase."""
    duration = duration_in_words(mode_estimate.seconds)
    return f"{mode_estimate.shown_cost} {_mode_phrase(mode)} in {duration}"


def new_task(
    *,
    name: Annotated[str, Parameter("Name of the task.")],
    from_: Annotated[
        str,
        Parameter(
            "Table to ask about: a CSV, .xlsx, JSON, JSON lines or Parquet file, "
            "or a SELECT on a database.",
            metavar="FILE",
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
    """Write `tasks/NAME.py`, a task that asks about the rows of the table FROM.

    The task runs as it is. Edit its question, its answer fields and its prompt.

    The columns of key and text are guessed from names and values, unless --key and --text name
    them. The command prints the chosen columns. Only the text column and the columns of --with are
    sent.

    Overwrites no file. Creates the workspace if it does not exist.
    """
    task = ask_workflow.parse_new_task(
        name,
        from_,
        data=read_settings().data,
        reading=ReadOptions(sheet, encoding, header),
        source=source,
        choice=ColumnChoice(text, key, with_),
    )
    with open_configured_workspace("create", task_name="experts") as ws:
        draft = new_task_files.write_task_file(ws.data, ws.store, task)

    message = f"{draft.path} written; edit its question, answer and prompt"
    return CommandReport(
        draft.document,
        [*draft.guess.notes, message],
        hint=CommandHint("try", task=name),
    )
