"""The command `demo`: run all steps on sample people, passages and images, without a key.

Its workspace is the folder `demo` in the workspace; each run makes it again.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import click

from askrows.jobs.cli import main as askrows
from askrows.jobs.output import Terminal
from askrows.jobs.variables import MAKE_COMMAND_LINE_VARIABLE, read_settings
from askrows.pipeline.core.command_hint import (
    PREFIX,
    CommandHint,
    get_command_form,
    set_command_form,
)
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.settings import Settings

# Relative, because commands are printed as a person types them.
SAMPLE_DATA_FOLDER = Path(os.path.relpath(Path(__file__).parents[1] / "sample"))
PASSAGES_TASK = "passages"
IMAGES_TASK = "images"
# Variables of the environment with our prefix that stay set.
KEPT_VARIABLES = frozenset({f"{PREFIX}DEBUG", MAKE_COMMAND_LINE_VARIABLE})
DEMO_COMMANDS = (
    CommandHint("import", experts=SAMPLE_DATA_FOLDER / "experts.csv"),
    CommandHint("batch-submit"),
    CommandHint("batch-poll"),
    CommandHint("batch-ingest"),
    CommandHint("index"),
    CommandHint("add-expert", expert=SAMPLE_DATA_FOLDER / "new_expert.json"),
    CommandHint("index"),
    CommandHint("search", q="sign language interpreter", k=3),
    CommandHint("status"),
    CommandHint("import-passages", passages=SAMPLE_DATA_FOLDER / "passages.jsonl"),
    CommandHint("passages-pilot", n=4),
    CommandHint("passages-backfill", wait=True, yes=True),
    # A second version, in addition to the first.
    CommandHint("tag", task=PASSAGES_TASK, version="passage-concepts@2", limit=3, mode="live"),
    CommandHint("index", task=PASSAGES_TASK),
    CommandHint("search", task=PASSAGES_TASK, q="how is wood bent for a boat?", k=2),
    CommandHint("import-images", folder=SAMPLE_DATA_FOLDER / "photos"),
    CommandHint("tag", task=IMAGES_TASK, mode="live"),
    CommandHint("index", task=IMAGES_TASK),
    CommandHint("search", q="help me restore a wooden boat", k=3),
)


def demo() -> Report:
    """Import, tag, index and search 150 invented people, then passages and images.

    Uses the local engine and no key; no data leaves this machine. Deletes the folder `demo` in the
    workspace first, and creates it again. Prints each command before its output, and stops at the
    first command that fails.
    """
    # The hint for the user's own people is about the user's workspace, not about that of the demo.
    import_command = str(CommandHint("import", experts="people.csv"))
    demo_folder = read_settings().data / "demo"
    _delete_folder_and_reset_environment(demo_folder)

    form = replace(get_command_form(), places={"data": str(demo_folder)})
    for command in DEMO_COMMANDS:
        # Each command sets the form of its own hints.
        set_command_form(form)
        _print_and_run_in_this_process(command, demo_folder)

    set_command_form(form)
    search_command = CommandHint("search", q="who knows water law")
    return Report(
        {},
        parts=[
            "",
            "These were all steps, with invented data. Continue here, or import your own people:",
            f"  {search_command}",
            f"  {import_command}",
            "See the workspace as a page in the browser:",
            f"  {CommandHint('web')}",
        ],
    )


def _delete_folder_and_reset_environment(demo_folder: Path) -> None:
    """Delete the folder of the demo, and set this process's environment for the demo.

    All variables ASKROWS_… are deleted from the environment, except KEPT_VARIABLES. Then those are
    set that select the folder, the local engine and SQLite.
    """
    shutil.rmtree(demo_folder, ignore_errors=True)
    for name in list(os.environ):
        if name.startswith(PREFIX) and name not in KEPT_VARIABLES:
            del os.environ[name]

    demo_settings = {
        "DATA": str(demo_folder),
        "DATABASE_URL": Settings(data=demo_folder).confirm_and_get_database_url().reveal(),
        "BACKEND": "local",
        "MODEL": "askrows-local-1",
        "EMBEDDING_MODEL": "askrows-local-embedding-1",
        "DIM": "768",
    }
    os.environ.update({PREFIX + name: text for name, text in demo_settings.items()})


def _print_and_run_in_this_process(command: CommandHint, demo_folder: Path) -> None:
    """Print a command as it is typed, and run it in this process on the workspace `demo_folder`.

    The options are passed as variables of the environment. These are deleted after a success.

    Raises:
        SystemExit: The command failed; its error was printed.
    """
    Terminal().say("")
    click.secho(f"$ {command}", bold=True)

    variables = {PREFIX + name.upper(): str(option) for name, option in command.options.items()}
    os.environ.update(variables)
    askrows.main(args=[command.command, "--data", str(demo_folder)], standalone_mode=False)
    for variable in variables:
        del os.environ[variable]
