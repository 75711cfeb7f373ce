"""`make passages-pilot`: ask about a few passages, and judge their concepts before all are asked about."""

import click

from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import print_json, print_line, usd
from jobs.render import asked_about, pilot_line, show_account
from jobs.values import COUNT, Count
from pipeline.batch.prepare import BatchPlan
from pipeline.workflows import backfill, pilot


@click.command(name="passages-pilot", cls=WritingCommand)
@click.option("--n", "size", type=COUNT, envvar="FINDABLE_N", help="How many passages to try; 200 without it.")
@click.option("--seed", type=Count(0, 2**63 - 1), envvar="FINDABLE_SEED", help="The seed of the draw.")
@click.option("--no-resume", is_flag=True, envvar="FINDABLE_NO_RESUME", help="Under the next free version.")
@yes_option
@json_option
def main(size: int | None, seed: int | None, *, no_resume: bool, yes: bool, as_json: bool) -> None:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate fails the exit code is 6.
    `passages-backfill` asks about all passages only after a pilot has passed. A killed pilot resumes.
    """
    with open_workspace(task="passages") as opened:
        ws = backfill.chosen_version(opened, anew=no_resume)

        def announce(plan: BatchPlan) -> None:
            """Say what will be asked and what it will cost."""
            if plan.items:
                items = asked_about(plan, ws.task.words)
                ws.display.say(f"{ws.extractor}: {items}, estimated {usd(plan.cost)}")

        done = pilot.run(
            ws, size=size, seed=seed, announce=announce, confirm=lambda _plan: confirmed("Go on?", yes=yes)
        )
        if as_json:
            print_json(pilot.document(done))
        else:
            for account in done.accounts:
                show_account(account, ws.task.words)
            plain = opened.task.label if "version" not in opened.settings.sources else None
            print_line(_line(done, version="" if ws.task.label == plain else f" VERSION={ws.task.label}"))
    done.check()


def _line(done: pilot.PilotReport, *, version: str) -> str:
    """Return the one line of result, with what comes next where no error says it.

    `version` names the pilot's own version to `make`, if it has one.
    """
    return pilot_line(done) + (f". Next: make passages-backfill{version}" if done.passed else "")
