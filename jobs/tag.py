"""`make tag`: tag everyone, the way that fits, within a budget."""

from typing import TYPE_CHECKING

import click

from jobs import tagged
from jobs.command import (
    Command,
    confirmed,
    json_option,
    no_probe_option,
    open_workspace,
    pilot_options,
    yes_option,
)
from jobs.output import plural, print_json, usd
from jobs.values import COUNT, DURATION, USD

if TYPE_CHECKING:
    from pipeline.preflighting import Preflight


@click.command(name="tag", cls=Command)
@click.option("--mode", type=click.Choice(["auto", "batch", "live"]), default="auto", envvar="FINDABLE_MODE")
@click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Ask about at most this many.")
@click.option("--budget", type=USD, envvar="FINDABLE_BUDGET", help="Most USD that it may spend.")
@click.option("--deadline", type=DURATION, envvar="FINDABLE_DEADLINE", help="When it must be done: 2h, 30m, 90s.")
@pilot_options
@no_probe_option
@click.option("--wait/--no-wait", default=None, envvar="FINDABLE_WAIT", help="Batch: poll and ingest as well.")
@yes_option
@json_option
def main(
    mode: str,
    limit: int | None,
    budget: float | None,
    deadline: float | None,
    pilot: int | None,
    *,
    skip_pilot: bool,
    wait: bool | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Look what tagging would cost, then do it live or by batch, whichever fits.

    Nothing is started once what is spent, under way and about to start would pass the budget. Killed and run again, it
    goes on where it was, and until nobody is left its budget holds for `run` and for `tag` without one, too. Above
    FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.
    """
    from pipeline.routines import tag

    with open_workspace() as rt:
        words = rt.task.words

        def announce(look: "Preflight", way: str, reason: str) -> None:
            """Say what will be done, before anything is spent."""
            cost = look.live.cost if way == "live" else look.batch.cost
            what = plural(look.plan.requests, words.one, words.many)
            rt.display.say(f"{rt.model.name}: {what} {way}, estimated {usd(cost)}; {reason}")

        wish = tag.Wish(mode, limit, budget, deadline, wait=wait, pilot=pilot, skip_pilot=skip_pilot)
        report = tag.run(rt, wish, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes))
    print_json(tag.document(report)) if as_json else tagged.show(report, words)
    tagged.finish(report, words)
