"""Run the command that a command line names."""

import os
from typing import Any

import click

from jobs.commands import COMMANDS, EVERY
from jobs.exit_codes import exit_on_error, flush, interruptible
from jobs.output import begin_output
from jobs.variables import begin_form, nearest, take_short_names
from pipeline.core import __version__
from pipeline.workflows import shipped_tasks

shipped_tasks.register()


class Commands(click.Group):
    """A group that lists and finds its commands by the table."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a program: start no threads for products of large matrices."""
        os.environ.setdefault(
            "OPENBLAS_NUM_THREADS", "1"
        )  # else numpy starts one for each core, and they spin
        return super().__call__(*args, **{"prog_name": "findable", **kwargs})

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands from the table; click would import all of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command's module."""
        from jobs.command import ClickCommand

        if cmd_name not in EVERY:
            return None
        begin_form(cmd_name)
        take_short_names(EVERY[cmd_name])
        return ClickCommand(cmd_name, EVERY[cmd_name])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that was named, by one word or two; where there is none, say which may have been meant."""
        if "-".join(args[:2]) in EVERY:
            args = ["-".join(args[:2]), *args[2:]]
        if args and not args[0].startswith("-") and args[0] not in EVERY:
            meant = nearest(args[0], EVERY)
            raise click.UsageError(
                f"unknown command {args[0]!r}" + (f"; did you mean {meant}?" if meant else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read what stands before the command's name; an error in it is printed as any other."""
        with exit_on_error(args):
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> None:
        """Run one command; an error ends it with its exit code."""
        with exit_on_error(ctx.args), interruptible():
            ctx.call_on_close(begin_output)
            super().invoke(ctx)
            flush()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Ask Gemini about every row of a table, and make the answers findable.

    The everyday loop: import, tag, index, search; or batch-submit, batch-poll, batch-ingest. `make help` lists the same
    commands as make targets; `findable COMMAND --help` says what each takes.
    """
