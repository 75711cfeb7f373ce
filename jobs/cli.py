"""The `findable` command: every command by name, each module imported when it is asked for."""

import importlib
import os
from typing import Any

import click

from jobs.command import told

COMMANDS = {  # where each is: the `main` of a module, or what else stands behind a colon
    "demo": "jobs.demo",
    "import": "jobs.import_",
    "import-passages": "jobs.import_:import_passages",
    "passages-pilot": "jobs.pilot",
    "passages-backfill": "jobs.backfill",
    "passages-status": "jobs.status:passages_status",
    "preflight": "jobs.tag:preflight",
    "tag": "jobs.tag",
    "tag-live": "jobs.tag:tag_live",
    "run": "jobs.run",
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
    "qc": "jobs.qc",
    "parked": "jobs.parked",
    "unpark": "jobs.parked:unpark",
    "versions": "jobs.versions",
    "rollback": "jobs.versions:rollback",
    "best-concepts": "jobs.show:best_concepts",
    "doctor": "jobs.doctor",
    "forget": "jobs.forget",
    "backup": "jobs.backup",
    "restore": "jobs.restore",
    "move": "jobs.move",
    "clean": "jobs.clean",
    "eval": "jobs.eval",
    "emulator": "jobs.emulator",
    "rebind": "jobs.rebind",
    "prices": "jobs.prices",
    "settings": "jobs.settings",
}

SUMMARIES = {  # for the list of commands, which is shown without importing any of them
    "demo": "The whole chain on 150 invented people, on the local engine.",
    "import": "Take in people from a CSV, JSON or JSON lines file.",
    "import-passages": "Take in passages of text from a JSON lines file.",
    "passages-pilot": "Ask about a few passages, and judge what comes.",
    "passages-backfill": "Ask about every passage, over as many days as it takes.",
    "passages-status": "Where the passages stand, and what to type next.",
    "preflight": "What tagging would cost and take, before it is spent.",
    "tag": "Tag everyone, live or by batch, whichever fits.",
    "tag-live": "Ask about everyone untagged now, at full price.",
    "run": "Do once whatever is due; for cron.",
    "batch-submit": "Ask Gemini about everyone who is untagged and has a bio.",
    "batch-poll": "Wait until every batch is over, and fetch its result.",
    "batch-ingest": "Judge every line of the results and write the answers.",
    "batches": "List every batch: state, remote name, rows, cost, age.",
    "batch-cancel": "Cancel a batch, or let its people go.",
    "score": "Recompute everyone's findability score.",
    "index": "Rebuild the search index from everyone who is tagged.",
    "search": "Find the experts nearest to a question.",
    "add-expert": "Add one person from a JSON file, tagged at once.",
    "show": "Everything known about one person.",
    "export": "Write every expert with tags and score to a file.",
    "status": "Where everything stands, and what to type next.",
    "qc": "Measure the answers again, and write the report.",
    "parked": "Who failed for good and is not asked again, and why.",
    "unpark": "Let parked people be asked again.",
    "versions": "Every version of answers: rows, dates, cost.",
    "rollback": "Take one version's answers back.",
    "best-concepts": "The preferred concepts of one passage, or of all.",
    "doctor": "Check the workspace against itself and the backend.",
    "forget": "Remove one person everywhere.",
    "backup": "Copy the whole workspace, while others work in it.",
    "restore": "Put a backup in the place of the workspace.",
    "move": "Copy the workspace's database into PostgreSQL.",
    "clean": "Remove old files and builds that nothing needs.",
    "eval": "Measure the search with judged questions.",
    "emulator": "Serve Gemini's protocol from the local engine.",
    "rebind": "Clear local answers, so that Gemini can be used.",
    "prices": "What the models cost and allow, with sources.",
    "settings": "Every setting, its value, and where it came from.",
}


class Commands(click.Group):
    """A group that finds its commands by module name, in the order in which a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Write the list of commands from the table, where click would import them all for their first lines."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in COMMANDS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import one command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or "main")
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
