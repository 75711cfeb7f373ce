"""The program `askrows`: run the command that a command line names."""

import gc
import os
import re
from typing import Any

import click

from askrows.jobs.commands import ALL_COMMANDS, COMMANDS
from askrows.jobs.exit_codes import exit_on_error, flush_output, raise_interrupt_on_signals
from askrows.jobs.output import reset_output
from askrows.jobs.variables import (
    copy_make_variables_to_prefixed_names,
    format_suggestion,
    set_hint_form,
)
from askrows.pipeline.core import __version__
from askrows.pipeline.core.text import find_most_similar
from askrows.pipeline.passages import PASSAGES_TASK
from askrows.pipeline.tasks.shipped_task import register_shipped_tasks

# New objects before Python looks for cycles among them. A command makes many objects and few
# cycles, and with Python's 700 the search takes a seventh of the time of `batch-ingest`.
OBJECTS_PER_COLLECTION = 10_000

register_shipped_tasks([PASSAGES_TASK])


class CommandGroup(click.Group):
    """The group of all commands, which are read from the table of commands."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program; click ends the process with an exit code.

        Sets OPENBLAS_NUM_THREADS=1 in the environment, unless the variable is set, and lets Python
        search for cycles less often.
        """
        # Otherwise numpy starts a thread for each core, and all of them wait actively.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        gc.set_threshold(OBJECTS_PER_COLLECTION)
        return super().__call__(*args, **{"prog_name": "askrows", **kwargs})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of the listed commands in the order of the table."""
        return list(COMMANDS)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the list of commands from the table, without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the module of a command and return the command; None if the name is unknown.

        Also prepares the process for the command: hints are then printed as the user typed this
        command (`make tag` or `askrows tag`). If make started the program, variables of the
        environment without the prefix ASKROWS_ are copied to names with it.
        """
        from askrows.jobs.command import ClickCommand

        if cmd_name not in ALL_COMMANDS:
            return None

        set_hint_form(cmd_name)
        copy_make_variables_to_prefixed_names(ALL_COMMANDS[cmd_name])
        return ClickCommand(cmd_name, ALL_COMMANDS[cmd_name])

    def resolve_command(
        self,
        ctx: click.Context,
        args: list[str],
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the name of a command, the command, and the other arguments.

        A name with a hyphen may be typed as two words, such as `batch submit`. If an option comes
        first, click's own rules apply.

        Raises:
            UsageError: There is no such command; the message suggests another.
        """
        joined_name = "-".join(args[:2])
        if joined_name in ALL_COMMANDS:
            args = [joined_name, *args[2:]]

        if args and not args[0].startswith("-") and args[0] not in ALL_COMMANDS:
            question = format_suggestion(_suggest_command(args[0]))
            raise click.UsageError(f"unknown command {args[0]!r}{question}", ctx)
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the options before the command's name; print an error, and exit with its code."""
        with exit_on_error(args):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> None:
        """Run one command; print an error, and exit with its code."""
        with exit_on_error(ctx.args), raise_interrupt_on_signals():
            ctx.call_on_close(reset_output)
            super().invoke(ctx)
            flush_output()


def _suggest_command(word: str) -> str:
    """Return the first command with this word in its summary, else the most similar name, or ""."""
    for name, entry in COMMANDS.items():
        if word.casefold() in re.findall(r"\w+", entry.summary.casefold()):
            return name
    return find_most_similar(word, COMMANDS)


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Ask Gemini or OpenAI about every row of a table, and make the answers searchable.

    First import, tag, index, search. The steps of `tag` by batch are batch-submit, batch-poll and
    batch-ingest.

    `askrows COMMAND --help` explains a command and its options. `make help` lists the same
    commands as targets of make.
    """
