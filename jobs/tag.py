"""`make tag`: tag everyone the way that fits; `make tag-live`: at full price; `make preflight`: what it would cost."""

import click

from jobs.command import (
    Command,
    confirmed,
    json_option,
    no_probe_option,
    open_workspace,
    pilot_options,
    skip_pilot_option,
    yes_option,
)
from jobs.output import Terminal, plural, print_json, print_line, print_table, usd
from jobs.render import finish_live, finish_tagged, show_live, show_tagged
from jobs.values import COUNT, DURATION, USD
from pipeline.core.task import Words
from pipeline.live import tag as live_run
from pipeline.workflows import pilot as pilot_run
from pipeline.workflows import preflight as estimates
from pipeline.workflows import tag
from pipeline.workflows.batch_or_live import ModeEstimate
from pipeline.workflows.preflight import Preflight


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
    goes on where it was, and until no item is left its budget holds for `run` and for `tag` without one, too. Above
    FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.
    """
    with open_workspace() as ws:
        words = ws.task.words

        def announce(look: Preflight, way: str, reason: str) -> None:
            """Say what will be done, before anything is spent."""
            cost = look.live.cost if way == "live" else look.batch.cost
            what = plural(look.plan.requests, words.one, words.many)
            ws.display.say(f"{ws.model.name}: {what} {way}, estimated {usd(cost)}; {reason}")

        wish = tag.TagOptions(mode, limit, budget, deadline, wait=wait, pilot=pilot, skip_pilot=skip_pilot)
        report = tag.run(ws, wish, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes))
    print_json(tag.document(report)) if as_json else show_tagged(report, words)
    finish_tagged(report, words)


@click.command(name="tag-live", cls=Command)
@click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Ask about at most this many.")
@skip_pilot_option
@json_option
def tag_live(limit: int | None, *, skip_pilot: bool, as_json: bool) -> None:
    """Tag everyone who is untagged and has a bio now, at full price.

    Keeps to the limits of the model and tier (FINDABLE_RPM, FINDABLE_TPM, FINDABLE_RPD). Safe to repeat and to
    interrupt: no answered item is asked again. Ctrl-C lets what is under way finish; a second one does not.
    """
    with open_workspace() as ws:
        pilot_run.first(ws, size=None, skip=skip_pilot)
        report, words = live_run.run(ws, limit=limit), ws.task.words
    print_json(live_run.document(report)) if as_json else show_live(report, words)
    finish_live(report)


@click.command(name="preflight", cls=Command)
@click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Look at no more than this many.")
@click.option("--deadline", type=DURATION, envvar="FINDABLE_DEADLINE", help="When it must be done: 2h, 30m, 90s.")
@click.option("--count", is_flag=True, envvar="FINDABLE_COUNT", help="Let the API count the tokens of a sample.")
@no_probe_option
@click.option("--wait/--no-wait", hidden=True, expose_value=False, envvar="FINDABLE_WAIT")
@json_option
def preflight(limit: int | None, deadline: float | None, *, count: bool, as_json: bool) -> None:
    """Say what tagging everyone who is untagged would cost and take, by batch and live, and which way fits.

    Spends nothing, and needs no key but for --count.
    """
    with open_workspace() as ws:
        look, words = estimates.run(ws, limit=limit, deadline_s=deadline, count=count), ws.task.words
    print_json(estimates.document(look)) if as_json else _show(look, words)


def _show(look: Preflight, words: Words) -> None:
    """Print both ways side by side."""
    if not look.plan.requests:
        print_line(f"nothing to ask: {words.all_done}")
        return
    used = look.plan.usage
    items = plural(look.plan.requests, words.one, words.many)
    known = f"learned from {look.based_on:,} answers" if look.based_on else "from the texts alone"
    known = f"{known}, prompts by {look.sampled} that the API counted" if look.sampled else known
    print_line(
        f"{look.model}: {items}, about {used.prompt:,} tokens in and {used.answer + used.thoughts:,} out "
        f"({known}; ±{look.error:.0%})"
    )
    calls, batches = plural(look.live.count, "call"), plural(look.batch.count, "batch", "batches")
    rows = [_row("batch", batches, look.batch), _row("live", calls, look.live)]
    print_table(("way", "cost", "time", "sends", "quota", "prices"), rows)
    for name, way in (("batch", look.batch), ("live", look.live)):
        for warning in way.warnings:
            Terminal().warn(f"{name}: {warning}")
    print_line(f"recommended: {look.recommended or 'nothing yet'}, because {look.reason}")


def _row(name: str, sends: str, way: ModeEstimate) -> tuple[str, ...]:
    """Return one way as a line of the table."""
    return (name, usd(way.cost), way.takes, sends, way.quota, f"{way.price_source} ({way.priced_on})")
