"""`make preflight`: what tagging would cost and take, by batch and live, before anything is spent."""

from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, no_probe_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table, usd
from jobs.values import COUNT, DURATION

if TYPE_CHECKING:
    from pipeline.preflighting import Preflight
    from pipeline.task import Words
    from pipeline.ways import Way


@click.command(name="preflight", cls=Command)
@click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Look at no more than this many.")
@click.option("--deadline", type=DURATION, envvar="FINDABLE_DEADLINE", help="When it must be done: 2h, 30m, 90s.")
@click.option("--count", is_flag=True, envvar="FINDABLE_COUNT", help="Let the API count the tokens of a sample.")
@no_probe_option
@click.option("--wait/--no-wait", hidden=True, expose_value=False)
@json_option
def main(limit: int | None, deadline: float | None, *, count: bool, as_json: bool) -> None:
    """Say what tagging everyone who is untagged would cost and take, by batch and live, and which way fits.

    Spends nothing, and needs no key but for --count.
    """
    from pipeline.steps import preflight

    with open_workspace() as rt:
        look, words = preflight.run(rt, limit=limit, deadline_s=deadline, count=count), rt.task.words
    print_json(preflight.document(look)) if as_json else _show(look, words)


def _show(look: "Preflight", words: "Words") -> None:
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


def _row(name: str, sends: str, way: "Way") -> tuple[str, ...]:
    """Return one way as a line of the table."""
    return (name, usd(way.cost), way.takes, sends, way.quota, f"{way.price_source} ({way.priced_on})")
