"""`make tag`: tag all untagged people; `make tag-live`: at full price; `make preflight`: estimate the cost."""

from typing import Any

import click

from jobs import values
from jobs.command import (
    WritingCommand,
    confirmed,
    json_option,
    limit_option,
    open_workspace,
    pilot_option,
    read_workspace,
    skip_pilot_option,
    yes_option,
)
from jobs.output import Terminal, plural, print_json, print_line, print_table, usd
from jobs.render import asked_about, finish_live, finish_tagged, show_live, show_tagged
from pipeline.engine.task import Words
from pipeline.workflows import pilot as pilot_run
from pipeline.workflows import preflight as estimates
from pipeline.workflows import rounds, tag
from pipeline.workflows import tag_live as asked_live
from pipeline.workflows.preflight import ModeEstimate, Preflight, format_duration

_deadline_option = click.option(
    "--deadline", type=values.duration, envvar="FINDABLE_DEADLINE", help="When it must be done: 2h30m, 90 min, 90s."
)


@click.command(name="tag", cls=WritingCommand)
@click.option("--mode", type=click.Choice(tag.MODES), default="auto", envvar="FINDABLE_MODE")
@limit_option
@click.option("--budget", type=values.amount, envvar="FINDABLE_BUDGET", help="Most USD that it may spend.")
@_deadline_option
@pilot_option
@skip_pilot_option
@click.option("--wait/--no-wait", default=None, envvar="FINDABLE_WAIT", help="Poll and ingest batches, too.")
@yes_option
@json_option
def main(deadline: float | None, *, yes: bool, as_json: bool, **options: Any) -> None:
    """Estimate the cost of tagging, then tag all untagged people live or by batch, whichever fits.

    With TASK=passages, or your own task, its items. Nothing more is started if the budget would be exceeded. A killed
    run resumes, and until no item is left its budget holds for `run` and for `tag` without one, too. Above
    FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal. If a quality gate fails, with
    a pilot or without, the exit code is 6, and the answers are stored.
    """
    with open_workspace() as ws:
        words = ws.task.words

        def announce(estimated: Preflight, mode: str, reason: str) -> None:
            """Say what will be done and what it will cost."""
            plan, cost = estimated.going_out(mode)
            ws.display.say(f"{ws.model.name}: {asked_about(plan, words)} {mode}, estimated {usd(cost)}; {reason}")

        wanted = tag.TagOptions(deadline_s=deadline, **options)
        report = tag.run(ws, wanted, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes))
    print_json(tag.document(report)) if as_json else show_tagged(report, words)
    finish_tagged(report, words)


@click.command(name="tag-live", cls=WritingCommand)
@limit_option
@skip_pilot_option
@json_option
def tag_live(limit: int | None, *, skip_pilot: bool, as_json: bool) -> None:
    """Tag all untagged people with a bio now, at full price; with TASK=passages, or your own task, its items.

    Keeps to the limits of the model and tier (FINDABLE_RPM, FINDABLE_TPM, FINDABLE_RPD). Safe to repeat and to
    interrupt: no answered item is asked again. Ctrl-C lets running calls finish; a second one does not. If a quality
    gate fails the exit code is 6, and the answers are stored.
    """
    with open_workspace() as ws:
        rounds.begin(ws)
        pilot_run.check_first(ws, skip=skip_pilot)
        report, words = asked_live.run(ws, limit=limit), ws.task.words
    print_json(asked_live.document(report)) if as_json else show_live(report, words)
    finish_live(report)


@click.command(name="preflight", cls=WritingCommand)  # it brings the items of an own task
@limit_option
@_deadline_option
@json_option
def preflight(limit: int | None, deadline: float | None, *, as_json: bool) -> None:
    """Estimate cost and time of tagging all untagged people, by batch and live, and recommend one.

    With TASK=passages, or your own task, of asking about its items. Spends nothing and needs no key.
    """
    with read_workspace(brings_items=True) as ws:
        estimated, words = estimates.run(ws, limit=limit, deadline_s=deadline), ws.task.words
    print_json(estimated.document()) if as_json else _show(estimated, words)


def _show(estimated: Preflight, words: Words) -> None:
    if estimated.waiting.items:
        what, cost = asked_about(estimated.waiting, words), usd(estimated.waiting.cost)
        print_line(f"{what} in batches that an earlier run prepared go out with it, estimated {cost}")
    if not estimated.plan.items:
        print_line(f"nothing to ask: {words.all_done}")
        return
    used = estimated.plan.usage
    items = asked_about(estimated.plan, words)
    answers = estimated.known.answers
    known = f"learned from {answers:,} answers" if answers else "from the texts alone"
    print_line(
        f"{estimated.model}: {items}, about {used.prompt:,} tokens in and {used.answer + used.thoughts:,} out "
        f"({known}; ±{estimated.known.error:.0%})"
    )
    calls, batches = plural(estimated.live.count, "call"), plural(estimated.batch.count, "batch", "batches")
    rows = [_row("batch", batches, estimated.batch), _row("live", calls, estimated.live)]
    print_table(("way", "cost", "time", "sends", "quota", "prices"), rows)
    for name, mode in (("batch", estimated.batch), ("live", estimated.live)):
        for warning in mode.warnings:
            Terminal().warn(f"{name}: {warning}")
    print_line(f"recommended: {estimated.recommended or 'nothing yet'}, because {estimated.reason}")


def _row(name: str, sends: str, mode: ModeEstimate) -> tuple[str, ...]:
    return (
        name,
        usd(mode.cost),
        format_duration(mode.seconds),
        sends,
        mode.quota,
        f"{mode.price_source} ({mode.priced_on})",
    )
