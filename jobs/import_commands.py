"""Commands that bring in rows or tasks.

- `import` reads people, passages or a folder of images.
- `add-expert` adds one person and asks about them at once.
- `ask` asks about the first rows of a table.
- `new-task` writes the file of a task.
"""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from jobs.command import check_typed_task, open_configured_workspace
from jobs.document_output import format_counts, list_modes, make_table
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
from jobs.output import Output, Terminal, TextTable
from jobs.status_command import read_next_command
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.declaration import ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.files import check_no_address, list_parquet_files, unreadable_reason
from pipeline.core.quotes import to_display_value
from pipeline.core.states import Mode
from pipeline.core.text import format_usd, plural
from pipeline.engine.task_template import ColumnChoice
from pipeline.engine.task_values import TaskNouns
from pipeline.engine.workspace_folder import has_no_workspace_files
from pipeline.images import import_ as images
from pipeline.ops import status
from pipeline.workflows import add_expert as add_expert_workflow
from pipeline.workflows import ask as ask_workflow
from pipeline.workflows import decisions, new_task_files
from pipeline.workflows.row_importers import ROW_IMPORTERS, ImportOptions

if TYPE_CHECKING:
    from pipeline.tables.row_import import FindingGroup, ImportReport
    from pipeline.workflows.preflight import Preflight


# Columns of findings and of a new person; see `make_table`.
FINDING_COLUMNS = "finding=kind times=count column why=reason examples"
PERSON_COLUMNS = "username name tags score=findability_score"


def import_rows(
    *,
    experts: Annotated[Path | None, Parameter("File of people.", PATH)] = None,
    from_: Annotated[
        Path | None,
        Parameter("File of passages, or folder of images, with TASK.", PATH),
    ] = None,
    map_: Map = "",
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
    image is stored with the reason. Images have no --dry and --report.

    Creates the workspace if it does not exist and the file can be imported.
    """
    if experts is not None:
        check_typed_task("experts")
        file: Path | None = experts
        task_name = "experts"
    else:
        file = from_
        task_name = read_settings().task
    if file is None:
        people_command = CommandHint("import", experts="people.csv")
        other_command = CommandHint("import", task="passages", **{"from": "texts.jsonl"})
        raise InputError(
            "there is no file to import; nothing was imported",
            hint=f"`{people_command}`, or `{other_command}`",
        )

    if task_name == "images":
        if dry or report is not None:
            raise InputError(
                f"{OptionHint(dry=True)} and {OptionHint('report')} are for files of people and "
                "passages; no image was imported",
                hint="leave out the option",
            )
        return _import_images(file)
    if task_name not in ROW_IMPORTERS:
        raise InputError(
            f"task {task_name} reads its rows from the source in its file; nothing was imported",
            hint=f"`{CommandHint('tag', task=task_name)}` reads its rows and asks about them",
        )
    if not list_parquet_files(file):
        _check_readable(file, "imported")

    importer = ROW_IMPORTERS[task_name]
    read_options = ReadOptions(sheet, encoding, header)
    import_options = ImportOptions(map_, read_options, report, dry)
    # Do not create a workspace for a file that cannot be imported.
    may_create = not dry and has_no_workspace_files(read_settings().data)
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
            _import_output(import_report, ws.task.nouns),
            import_report.check,
            next_command,
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


def _import_output(report: "ImportReport", nouns: TaskNouns) -> list[Output]:
    """Return a table of findings, the notes, and the counts of an import of people or passages.

    Findings (rejected rows and changed values) with the same reason share a row. The notes are left
    out if a real import changed nothing and has no finding, because an earlier import has printed
    them. Counts are left out if no row was read.
    """
    output: list[Output] = []
    findings = [
        {**vars(group), "examples": _format_examples(group)} for group in report.groups.values()
    ]
    if findings:
        output.append(make_table(findings, FINDING_COLUMNS))
    if report.changes or report.dry or findings or report.missing:
        output += [partial(Terminal().say, f"note: {note}") for note in report.notes]

    if report.rows_in:
        counts = {
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            **{kind.value: count for kind, count in report.counts.items()},
            "unparked, to be asked again": report.released,
        }
        rows = plural(report.rows_in, nouns.singular, nouns.plural)
        verb = "would be imported" if report.dry else "imported"
        output.append(f"{rows} {verb}: {format_counts(counts)}")
    return output


def _format_examples(group: "FindingGroup") -> str:
    """Return the lines of a group's first findings, with excerpts."""
    examples = [f"line {finding.line}: {finding.value}".rstrip(": ") for finding in group.examples]
    if group.count > len(examples):
        examples.append(f"…; {OptionHint(report='rejects.csv')} lists all")
    return ", ".join(examples)


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


def _images_output(report: images.ImagesImportReport) -> list[Output]:
    """Return notes about skipped files, and a line with the counts of the images of a folder."""
    output: list[Output] = [
        partial(Terminal().say, f"note: {plural(count, 'file')} left out: {reason}")
        for reason, count in report.skipped_counts.items()
    ]
    counts = {
        "added": report.added,
        "changed": report.updated,
        "moved": report.moved,
        "unchanged": report.unchanged,
        "broken": report.broken,
        "no longer in the folder and not asked about": report.missing_files,
        "unparked, to be asked again": report.released,
    }
    output.append(f"{plural(report.total, 'image')} imported: {format_counts(counts) or 'none'}")
    return output


def add_expert(
    *,
    expert: Annotated[Path, Parameter("", STREAM)],
    map_: Map = "",
) -> CommandReport:
    """Add the person in a JSON file (`-` is standard input), and tag them at once.

    Fields have the names that `import` knows. For a similar name, the command prints the MAP= that
    accepts it.

    If Gemini fails or does not reply within 6.5 seconds, the person is stored without tags. The
    next `work`, `tag` or `batch-submit` asks again. Until then `status` shows the newest of these
    people.
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
        )
        next_command = read_next_command(ws)
    output = _added_expert_output(added_expert)
    return CommandReport(added_expert.document, output, hint=next_command)


def _added_expert_output(added_expert: add_expert_workflow.AddedExpert) -> list[Output]:
    """Return the output of `add-expert`: a table with the person, and the outcome.

    The outcome is a function that prints on standard error: the time that the call took, or a
    warning why the person has no tags. It is left out if no call was made and there is no problem.
    The last line says whether searches find the person.
    """
    output: list[Output] = [make_table([vars(added_expert)], PERSON_COLUMNS)]
    username = added_expert.username
    problem = added_expert.parked or added_expert.problem
    if problem:
        output.append(partial(Terminal().warn, f"{username} is stored without tags: {problem}"))
    elif added_expert.took_s is not None:
        message = f"{username} tagged in {added_expert.took_s:.1f} s"
        output.append(partial(Terminal().say, message))
    output.append(
        "Not in the index yet" if added_expert.tags else "People without tags cannot be searched"
    )
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


def _ask_output(report: ask_workflow.AskReport) -> list[Output]:
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
    output: list[Output] = [TextTable(list(columns), rows)]
    if report.estimate is not None:
        output += _estimate_output(report.estimate, report.rows)

    stored = "no answer was stored"
    if report.is_kept:
        stored = f"answers stored; edit the question in {report.draft.path}"
    parts = (
        f"{len(answers):,} of {plural(report.rows, 'row')} asked",
        format_counts({"copied to equal rows": report.tried.copied_rows}),
        f"{format_usd(report.tried.cost)} spent",
        stored,
    )
    output.append(", ".join(filter(None, parts)))
    return output


def _estimate_output(estimate: "Preflight", row_count: int) -> list[Output]:
    """Return the cost of all rows in each available mode, and warnings.

    If the local engine answered, a line says that nothing was paid, and the costs are those of the
    model that a key would use.
    """
    priced_estimate = estimate.with_key or estimate
    line = f"{priced_estimate.model} would ask all {plural(row_count, 'row')} for about:"
    if estimate.with_key is not None:
        line = f"nothing was paid; with an API key, {line}"
    return [line, *list_modes(priced_estimate)]


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
