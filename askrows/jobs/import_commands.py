"""Commands that bring in rows or tasks.

- `import` reads people, passages, a folder of images, or rows of a task's table.
- `add` adds one row or person, and asks about it at once.
- `ask` asks about the first rows of a table.
- `new-task` writes the file of a task.
"""

import sys
from pathlib import Path
from typing import Annotated

from askrows.jobs.command import open_configured_run, set_next_step_if_missing
from askrows.jobs.options import (
    COUNT,
    FILE,
    PATH,
    STREAM,
    TEXT,
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
from askrows.jobs.variables import read_settings
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.core.states import Mode
from askrows.pipeline.tasks.task_template import ColumnChoice
from askrows.pipeline.workflows import add_row, new_task_files
from askrows.pipeline.workflows import ask as ask_workflow
from askrows.pipeline.workflows.row_importers import (
    ImportOptions,
    check_file_can_be_imported,
    check_readable,
    import_file_or_folder,
)


def import_rows(
    *,
    experts: Annotated[Path | None, Parameter("File of people.", PATH)] = None,
    from_: Annotated[
        Path | None,
        Parameter("File of rows, or folder of images, of TASK.", PATH),
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
) -> Report:
    """Import people, passages, images, or rows of a task with a DatabaseTable or a Folder.

    --experts names a file of people, and --from any other file, or a folder of images. Reads CSV
    with a header, .xlsx, JSON, JSON lines and Parquet. Imports all valid rows in one transaction;
    the same file again changes nothing. Exit code 2 if the file has no valid row.

    Columns are found by name, in several languages. For a similar name, the command prints the
    MAP= that accepts it. All other columns are stored, and `export` writes them.

    Rejected rows and changed values are printed by reason; --report lists all of them. For people
    it also lists those who are gone from the file; `forget` can delete them.

    Texts of passages are stored unchanged. If a stored passage has concepts, a changed text in the
    file does not replace its text.

    A moved image is recognized by its bytes, and a changed image is asked about again. A broken
    image is stored with the reason. Images have no --dry and --report.

    Creates the workspace if it does not exist and the file can be imported.
    """
    file = experts or from_
    settings = read_settings()
    task_name = settings.task
    if file is None:
        people_command = CommandHint("import", experts="people.csv")
        other_command = CommandHint("import", task="passages", **{"from": "texts.jsonl"})
        raise InputError(
            "there is no file to import; nothing was imported",
            hint=f"`{people_command}`, or `{other_command}`",
        )
    import_options = ImportOptions(map_, ReadOptions(sheet, encoding, header), report, dry)
    check_file_can_be_imported(file, settings, import_options)
    with open_configured_run("look" if dry else "create", task_name=task_name) as run:
        import_report = import_file_or_folder(run, file, import_options)
        if not dry:
            set_next_step_if_missing(import_report, run)
        return import_report


def add_row_and_ask(
    *,
    from_: Annotated[Path, Parameter("", STREAM)],
    map_: Map = "",
) -> Report:
    """Add the row in a JSON file (`-` is standard input) to the table of TASK, and ask at once.

    Fields have the names that `import` knows. For a similar name, the command prints the MAP= that
    accepts it. `add-expert` adds a person.

    If the provider fails or does not reply within 6.5 seconds, the row is stored without an answer.
    The next `work`, `tag` or `batch-submit` asks again. Until then `status` shows the newest of
    such people.
    """
    is_stdin = str(from_) == "-"
    if not is_stdin:
        check_readable(from_, "stored")
    document = sys.stdin.buffer.read() if is_stdin else from_.read_bytes()

    task_name = read_settings().task
    with open_configured_run("create", task_name=task_name) as run:
        added = add_row.add_row(run, document, document_name=str(from_), mapping=map_)
        report = added.to_report()
        set_next_step_if_missing(report, run)
    return report


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
) -> Report:
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
    table = ask_workflow.TableToAsk(
        from_, ReadOptions(sheet, encoding, header), source, ColumnChoice(text, key, with_)
    )
    question = ask_workflow.parse_question(
        table,
        q,
        fields=fields,
        name=name,
        data=read_settings().data,
    )

    # The workspace may have no run of the question's task yet.
    with open_configured_run("create", task_name=DEFAULT_TASK) as run:
        if not name:
            report = ask_workflow.ask_question(
                run,
                question,
                size=n,
                mode=mode,
                should_list_refused=refused,
            ).to_report(run)
            # The same question with a name stores its answers.
            options = {
                "from": from_,
                **table.reading.given_options,
                "source": source,
                "q": q,
                "fields": fields,
                "text": text,
                "key": key,
                "with": with_,
            }
            if mode == Mode.DECIDE:
                options["mode"] = mode
            typed_options = {option: typed for option, typed in options.items() if typed}
            task_name = new_task_files.suggest_task_name(from_, run.workspace.data)
            report.next_step = CommandHint("ask", **typed_options, name=task_name)
            return report

        draft, agreed_usd = ask_workflow.confirm_cost_and_write_task_file(
            run,
            question,
            size=n,
            mode=mode,
            should_list_refused=refused,
        )
    with open_configured_run("write", task_name=name) as run:
        report = ask_workflow.sync_and_ask_saved_question(
            run, draft, agreed_usd=agreed_usd, size=n, mode=mode
        ).to_report(run)
        set_next_step_if_missing(report, run)
        return report


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
) -> Report:
    """Write `tasks/NAME.py`, a task that asks about the rows of the table FROM.

    The task runs as it is. Edit its question, its answer fields and its prompt.

    The columns of key and text are guessed from names and values, unless --key and --text name
    them. The command prints the chosen columns. Only the text column and the columns of --with are
    sent.

    Overwrites no file. Creates the workspace if it does not exist.
    """
    table = ask_workflow.TableToAsk(
        from_, ReadOptions(sheet, encoding, header), source, ColumnChoice(text, key, with_)
    )
    task = ask_workflow.parse_new_task(name, table, data=read_settings().data)
    with open_configured_run("create", task_name=DEFAULT_TASK) as run:
        draft = new_task_files.write_task_file(run.workspace.data, run.workspace.store, task)

    return Report(
        draft.document,
        f"{draft.path} written; edit its question, answer and prompt",
        notes=[*draft.guess.notes],
        next_step=CommandHint("try", task=name),
    )
