"""The `findable` command: every command by name, each module imported when it is asked for."""

import importlib
import os
from typing import Any

import click

from jobs.command import told

COMMANDS = {
    "demo": "jobs.demo",
    "import": "jobs.import_experts",
    "batch-submit": "jobs.batch_submit",
    "batch-poll": "jobs.batch_poll",
    "batch-ingest": "jobs.batch_ingest",
    "batches": "jobs.batches",
    "batch-cancel": "jobs.batch_cancel",
    "score": "jobs.score",
    "index": "jobs.index",
    "search": "jobs.search",
    "add-expert": "jobs.add_expert",
    "show": "jobs.show",
    "export": "jobs.export",
    "status": "jobs.status",
    "parked": "jobs.parked",
    "unpark": "jobs.unpark",
    "doctor": "jobs.doctor",
    "forget": "jobs.forget",
    "backup": "jobs.backup",
    "restore": "jobs.restore",
    "move": "jobs.move",
    "clean": "jobs.clean",
    "eval": "jobs.eval",
    "emulator": "jobs.emulator",
    "rebind": "jobs.rebind",
    "settings": "jobs.settings",
}


class Commands(click.Group):
    """A group that finds its commands by module name, in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command's module."""
        if cmd_name not in COMMANDS:
            return None
        module: Any = importlib.import_module(COMMANDS[cmd_name])
        command: click.Command = module.main
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run one command; what goes wrong while its module is imported is told as what goes wrong in it."""
        with told(debug=os.environ.get("FINDABLE_DEBUG", "0") not in {"", "0"}):
            return super().invoke(ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="findable")
def main() -> None:
    """Send a table of people through Gemini's Batch API and make them findable.

    The everyday loop: import, batch-submit, batch-poll, batch-ingest, index, search. `make help` lists the same
    commands as make targets; `findable COMMAND --help` says what each takes.
    """
