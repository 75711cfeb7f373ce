"""The table of commands: their functions, access to the workspace, and use on pages.

The parameters of a command's function are its options. These are made from them:

- the command of `askrows`,
- the target of make, with variables in capitals,
- the page's form and `POST /api/<command>`,
- docs/commands.md.

A module of `jobs` is imported only if one of its commands runs. `python -m jobs.commands` prints
the help of make; it needs no installed package.
"""

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click


@dataclass(frozen=True)
class Command:
    """A command: its function, its options, and how its workspace is opened."""

    # The module of `jobs` and the function, with a colon between them.
    function_path: str
    # One line for lists of commands.
    summary: str
    # Options that may also be typed without their names.
    arguments: tuple[str, ...] = ()
    # How the workspace is opened: read, write (needs a database), create, or sync (write for a task
    # of the user's own, else read). If empty, the function gets no workspace and opens its own.
    access: str = ""
    # The access with `--dry`; also look, which may use a temporary workspace.
    dry_access: str = ""
    # Parameters with which the access is write.
    write_options: tuple[str, ...] = ()
    # The task of the command, whatever TASK says.
    task: str | None = None
    # The parameter with which `task` applies; empty if it always applies.
    task_option: str = ""
    # Whether that parameter is a name of a row of TASK if it is typed without its name.
    has_row_argument: bool = False
    # Whether it is about the whole workspace, even if TASK was never used there.
    is_whole_workspace: bool = False
    # Without TASK, it is about several tasks if there are no people.
    may_span_tasks: bool = False
    # Variables that show its use after make.
    example: str = ""
    # Whether the command accepts `--json`.
    has_json: bool = True
    # How a page uses it: `run` after a POST, `read` also after a GET. Empty for no use.
    page_access: str = ""
    # Options that pages do not have: files of this machine.
    local_options: tuple[str, ...] = ()
    # The names of options by their parameters, if they differ.
    renamed_options: Mapping[str, str] = field(default_factory=dict)
    # Values of parameters that users cannot type.
    fixed_options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def function(self) -> Callable[..., Any]:
        """Import the command's module and return the function."""
        module_name, _, function_name = self.function_path.partition(":")
        module = importlib.import_module(f"askrows.jobs.{module_name}")
        function: Callable[..., Any] = getattr(module, function_name)
        return function

    @cached_property
    def params(self) -> "list[click.Parameter]":
        """Make the click parameters of its options, without those that all commands have."""
        from askrows.jobs.options import make_click_parameters

        return make_click_parameters(
            self.function,
            self.arguments,
            self.renamed_options,
            self.fixed_options,
        )

    @property
    def variables(self) -> "dict[str, click.Parameter]":
        """Return the click parameters by the variables of make, without ASKROWS_."""
        return {str(param.envvar).removeprefix("ASKROWS_"): param for param in self.params}


# The Makefile reads the names of the commands from lines of this file. Daily commands come first,
# then the steps of a batch, then the others.
COMMANDS = {
    "import": Command(
        function_path="import_commands:import_rows",
        summary="Import people, passages or images from a file or folder.",
        arguments=("experts",),
        task="experts",
        task_option="experts",
        example="EXPERTS=people.csv",
    ),
    "new-task": Command(
        function_path="import_commands:new_task",
        summary="Write a task file for a table of your own.",
        arguments=("name",),
        example="NAME=reviews FROM=reviews.csv",
    ),
    "ask": Command(
        function_path="import_commands:ask",
        summary="Ask about five rows of a table; see answers and total cost.",
        arguments=("from", "q"),
        example='FROM=reviews.csv Q="Praise?"',
    ),
    "try": Command(
        function_path="try_commands:try_",
        summary="Ask about a few rows; see requests, replies and cost.",
        access="write",
        page_access="run",
    ),
    "tag": Command(
        function_path="tag_commands:tag",
        summary="Ask about all open rows in the cheapest mode.",
        access="write",
        dry_access="sync",
        example="TASK=reviews LIMIT=50 DRY=1",
        page_access="run",
        fixed_options={"needs_pilot": False},
    ),
    "status": Command(
        function_path="row_commands:status",
        summary="See rows, batches, cost and index, and the next command.",
        access="read",
        local_options=("watch",),
        may_span_tasks=True,
        page_access="read",
    ),
    "index": Command(
        function_path="search_commands:index",
        summary="Build the search index, verify it, and put it in service.",
        access="write",
        page_access="run",
    ),
    "search": Command(
        function_path="search_commands:search",
        summary="Find the best matches for a question.",
        arguments=("q",),
        access="read",
        example='Q="who knows water law"',
        page_access="read",
    ),
    "show": Command(
        function_path="row_commands:show",
        summary="See all data about a row, or the newest requests.",
        arguments=("expert",),
        access="read",
        task="experts",
        task_option="expert",
        has_row_argument=True,
        example="EXPERT=username",
        page_access="read",
        local_options=("expert",),
    ),
    "export": Command(
        function_path="row_commands:export",
        renamed_options={"target": "to"},
        summary="Write rows and answers to a file.",
        arguments=("to",),
        access="read",
        example="TO=tagged.csv",
    ),
    "web": Command(
        function_path="server_commands:web",
        summary="Serve the page: see, search, add and correct rows in the browser.",
        has_json=False,
    ),
    "doctor": Command(
        function_path="maintenance_commands:doctor",
        summary="Check all stored data; see each problem and its repair.",
        access="read",
        is_whole_workspace=True,
        page_access="run",
    ),
    "batch-submit": Command(
        function_path="batch_commands:batch_submit",
        summary="Send all open rows to the provider in batches.",
        access="write",
        dry_access="look",
        example="LIMIT=50",
        page_access="run",
    ),
    "batch-poll": Command(
        function_path="batch_commands:batch_poll",
        summary="Wait for batches, and download their results.",
        access="write",
        page_access="run",
    ),
    "batch-ingest": Command(
        function_path="batch_commands:batch_ingest",
        summary="Validate downloaded results, and store the answers.",
        access="write",
        page_access="run",
    ),
    "add": Command(
        function_path="import_commands:add_row_and_ask",
        summary="Add a row or a person from a JSON file, and ask about it at once.",
        arguments=("from",),
        example="TASK=boats FROM=new.json",
    ),
    "demo": Command(
        function_path="demo:demo",
        summary="See all steps on invented data, without a key.",
        has_json=False,
    ),
    "verify": Command(
        function_path="maintenance_commands:verify_provider",
        summary="Test key and API with 21 invented rows, for about a cent.",
        access="create",
        is_whole_workspace=True,
    ),
    "work": Command(
        function_path="maintenance_commands:work",
        summary="Do all due work of all tasks, for example from cron.",
        example="ONCE=1",
        renamed_options={"units": "only"},
    ),
    "items": Command(
        function_path="row_commands:items",
        renamed_options={"target": "to"},
        summary="List, filter, sort or count rows; write them to a file.",
        arguments=("find",),
        access="read",
        local_options=("to", "overwrite"),
        page_access="read",
    ),
    "tags": Command(
        function_path="row_commands:tags",
        summary="List the tags of rows; merge tags.",
        access="read",
        write_options=("merge", "undo"),
        renamed_options={"editor": "who"},
        page_access="run",
    ),
    "correct": Command(
        function_path="row_commands:correct",
        summary="Correct answers, by hand or from a file, or undo a correction.",
        arguments=("row",),
        access="read",
        dry_access="read",
        write_options=("set_", "undo", "file", "reviewed"),
        renamed_options={"editor": "who"},
        example='TASK=reviews ROW=7 SET="tone=praise; stars=4"',
        local_options=("file", "sheet", "encoding", "header", "dry"),
        page_access="run",
    ),
    "parked": Command(
        function_path="maintenance_commands:parked",
        summary="List parked rows and their reasons.",
        access="read",
        page_access="read",
    ),
    "batches": Command(
        function_path="batch_commands:batches",
        summary="List batches and live runs with state and cost.",
        access="read",
        is_whole_workspace=True,
        page_access="read",
    ),
    "batch-cancel": Command(
        function_path="batch_commands:batch_cancel",
        summary="Cancel a batch, or release its rows.",
        arguments=("batch",),
        access="write",
        is_whole_workspace=True,
        page_access="run",
    ),
    "batch-move": Command(
        function_path="batch_commands:batch_move",
        summary="Cancel a batch, and ask its unanswered rows in another mode.",
        arguments=("batch",),
        access="write",
        dry_access="read",
        example="BATCH=7 TO=flex",
        is_whole_workspace=True,
        renamed_options={"target_mode": "to"},
    ),
    "costs": Command(
        function_path="batch_commands:costs",
        renamed_options={"group_key": "by"},
        summary="Add up the cost by day, task, model or batch.",
        access="read",
        may_span_tasks=True,
        page_access="read",
    ),
    "qc": Command(
        function_path="maintenance_commands:qc",
        summary="Measure the answers against the gates, and write a report.",
        access="read",
        page_access="run",
    ),
    "versions": Command(
        function_path="maintenance_commands:versions",
        summary="List all versions of answers with rows, dates and cost.",
        access="read",
        may_span_tasks=True,
        page_access="read",
    ),
    "rollback": Command(
        function_path="maintenance_commands:rollback",
        summary="Delete the answers of a version.",
        arguments=("answer_version",),
    ),
    "eval": Command(
        function_path="try_commands:evaluate",
        summary="Measure versions on corrected rows, or the search.",
        arguments=("queries", "qrels"),
        access="read",
        example="TASK=reviews A=1 B=2",
    ),
    "forget": Command(
        function_path="maintenance_commands:forget",
        summary="Delete people, rows or a task everywhere.",
        arguments=("expert",),
        access="write",
        task="experts",
        task_option="expert",
        has_row_argument=True,
    ),
    "backup": Command(
        function_path="maintenance_commands:backup",
        renamed_options={"target": "to"},
        summary="Copy the whole workspace into a new folder.",
        arguments=("to",),
        access="read",
        is_whole_workspace=True,
    ),
    "restore": Command(
        function_path="maintenance_commands:restore",
        summary="Restore a backup into a new folder, or into PostgreSQL.",
        arguments=("from",),
    ),
    "clean": Command(
        function_path="maintenance_commands:clean",
        summary="Delete old files and builds that nothing needs.",
        access="write",
        dry_access="read",
        is_whole_workspace=True,
        page_access="run",
    ),
    "remove-tables": Command(
        function_path="maintenance_commands:remove_tables",
        summary="Delete askrows' tables from a database.",
        access="read",
        is_whole_workspace=True,
    ),
    "emulator": Command(
        function_path="server_commands:emulator",
        summary="Serve Gemini's protocol from the local engine.",
        has_json=False,
    ),
    "prices": Command(
        function_path="settings_commands:prices",
        summary="List prices and limits of the models.",
    ),
    "settings": Command(
        function_path="settings_commands:settings",
        summary="List changed settings, their values and origins.",
    ),
}
DAILY_COMMAND_COUNT = 12
BATCH_STEPS = ("batch-submit", "batch-poll", "batch-ingest", "index", "add-expert")

# Parameters of `import` that a folder of images does not use.
_FILE_OPTIONS = {
    **dict.fromkeys(("experts", "report")),
    "dry": False,
    **dict.fromkeys(("map_", "sheet", "encoding", "header"), ""),
}
# Other names of the commands above, which no help lists.
ALIASES = {
    "add-expert": replace(
        COMMANDS["add"],
        arguments=("expert",),
        task="experts",
        task_option="",
        renamed_options={"from_": "expert"},
        example="EXPERT=new.json",
    ),
    "import-images": replace(
        COMMANDS["import"],
        arguments=("folder",),
        task="images",
        task_option="",
        renamed_options={"from_": "folder"},
        fixed_options=_FILE_OPTIONS,
    ),
    "import-passages": replace(
        COMMANDS["import"],
        arguments=("passages",),
        task="passages",
        task_option="",
        renamed_options={"from_": "passages"},
        fixed_options={"experts": None},
    ),
    "tag-live": replace(
        COMMANDS["tag"],
        fixed_options={**COMMANDS["tag"].fixed_options, "mode": "live"},
        page_access="",
    ),
    "passages-pilot": Command(
        function_path="tag_commands:passages_pilot",
        summary="Ask about a random sample of passages, and judge it.",
        access="write",
        task="passages",
        page_access="run",
    ),
    "passages-backfill": replace(
        COMMANDS["tag"],
        task="passages",
        fixed_options={"mode": "batch", "needs_pilot": True},
    ),
    "passages-status": replace(
        COMMANDS["status"],
        task="passages",
        page_access="",
    ),
    "people": replace(
        COMMANDS["items"],
        task="experts",
        page_access="",
    ),
    "verify-gemini": COMMANDS["verify"],
    "unpark": Command(
        function_path="maintenance_commands:unpark",
        summary="Release parked rows, so that they are asked again.",
        arguments=("row",),
        access="write",
        page_access="run",
    ),
    "score": Command(
        function_path="row_commands:recompute_derived_values",
        summary="Compute scores and other derived values again.",
        access="write",
    ),
}
ALL_COMMANDS = {**COMMANDS, **ALIASES}


def format_make_help(*, is_complete: bool) -> str:
    """Return the text of `make help`: a line for each command with its summary and an example.

    Args:
        is_complete: List all commands and the setup (`make help ALL=1`). Otherwise list the first
            DAILY_COMMAND_COUNT commands and BATCH_STEPS.
    """
    if is_complete:
        setup_line = "  setup         Install into .venv; the first command does this by itself."
        names = dict.fromkeys([*COMMANDS, *BATCH_STEPS])
        return "\n".join([*_format_command_lines(names), setup_line])

    daily_names = list(COMMANDS)[:DAILY_COMMAND_COUNT]
    lines = [
        *_format_command_lines(daily_names),
        "step by step, with batches:",
        *_format_command_lines(BATCH_STEPS),
        "",
        "make help ALL=1   lists all commands",
        "make tag HELP=1   explains a command and its options",
        "make help-dev     lists the targets for developers of askrows",
    ]
    return "\n".join(lines)


def _format_command_lines(names: Iterable[str]) -> list[str]:
    """Return a line for each command: its name, summary and example."""
    commands = {name: ALL_COMMANDS[name] for name in names}
    return [
        f"  {name:<13} {command.summary} {command.example}".rstrip()
        for name, command in commands.items()
    ]


if __name__ == "__main__":
    print(format_make_help(is_complete="all" in sys.argv))  # noqa: T201 - runs before setup
