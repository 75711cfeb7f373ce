"""Ask about passages: a pilot first, then all, over several batches and days if needed."""

import click

from jobs.command import WritingCommand, confirmed, json_option, open_workspace, skip_pilot_option, yes_option
from jobs.output import Terminal, for_money, plural, print_json, print_line, usd
from jobs.render import asked_about, finish, pilot_line, show_account
from jobs.values import COUNT, Count
from pipeline.batch.prepare import BatchPlan
from pipeline.engine.task import Words
from pipeline.workflows import pilot, tag
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Report


@click.command(name="passages-pilot", cls=WritingCommand)
@click.option("--n", "size", type=COUNT, envvar="FINDABLE_N", help="How many passages to try; 200 without it.")
@click.option("--seed", type=Count(0, 2**63 - 1), envvar="FINDABLE_SEED", help="The seed of the draw.")
@click.option("--no-resume", is_flag=True, envvar="FINDABLE_NO_RESUME", help="Under the next free version.")
@yes_option
@json_option
def try_few(size: int | None, seed: int | None, *, no_resume: bool, yes: bool, as_json: bool) -> None:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate fails the exit code is 6.
    `passages-backfill` asks about all passages only after a pilot has passed. A killed pilot resumes.
    """
    with open_workspace(task="passages") as ws:
        plain = ws.task.label if "version" not in ws.settings.sources else None
        if no_resume:
            tag.choose_new_version(ws)

        def announce(plan: BatchPlan) -> None:
            """Say what will be asked and what it will cost."""
            if plan.items:
                items = asked_about(plan, ws.task.words)
                ws.display.say(f"{ws.extractor}: {items}, estimated {usd(plan.cost)}")

        done = pilot.run(
            ws, size=size, seed=seed, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes)
        )
        if as_json:
            print_json(done.document())
        else:
            for account in done.ingested:
                show_account(account, ws.task.words)
            print_line(_piloted(done, version="" if ws.task.label == plain else f" VERSION={ws.task.label}"))
    done.check()


def _piloted(done: pilot.PilotReport, *, version: str) -> str:
    """Return the one line of result, with what comes next where no error says it.

    `version` names the pilot's own version to `make`, if it has one.
    """
    return pilot_line(done) + (f". Next: make passages-backfill{version}" if done.passed else "")


@click.command(name="passages-backfill", cls=WritingCommand)
@click.option(
    "--no-resume", is_flag=True, envvar="FINDABLE_NO_RESUME", help="Ask about all anew, under VERSION or the next free."
)
@skip_pilot_option
@click.option("--wait/--no-wait", default=False, envvar="FINDABLE_WAIT", help="Go on until all is done.")
@yes_option
@json_option
def ask_all(*, no_resume: bool, skip_pilot: bool, wait: bool, yes: bool, as_json: bool) -> None:
    """Ask about every passage without concepts: download finished batches, submit what the quota allows.

    Needs a passed pilot of this extractor, shows the estimate, and asks for confirmation. Run again, it resumes; with
    --wait, or with `findable run` from cron, to the end. --no-resume keeps all answers and asks about all passages
    under a new version. If a report fails a gate by far, nothing more is sent (exit code 6).
    """
    with open_workspace(task="passages") as ws:
        if no_resume:
            tag.choose_new_version(ws)
        words = ws.task.words

        def announce(estimated: Preflight, mode: str, _reason: str) -> None:
            """Say what will be asked, its cost and time."""
            batch, (plan, cost) = estimated.batch, estimated.going_out(mode)
            batches = plural(plan.batches, "batch", "batches")
            takes = f"estimated {usd(cost)}; takes {batch.likely}"
            ws.display.say(f"{ws.extractor}: {asked_about(plan, words)} in {batches}, {takes}")
            for warning in batch.warnings:
                ws.display.warn(warning)

        report = tag.run(
            ws,
            tag.TagOptions(wait=wait, skip_pilot=skip_pilot, backfill=True),
            announce=announce,
            confirm=lambda cost: confirmed(for_money("Go on", cost), yes=yes),
            ingested=lambda account: None if as_json else show_account(account, words),
        )
    print_json(report.document()) if as_json else print_line(_line(report, words))
    if report.quality is not None:
        Terminal().say(f"quality: {report.quality.line} ({report.quality.path})")
    finish(report, words)


def _line(report: Report, words: Words) -> str:
    if report.is_over:
        parked = f" ({report.parked:,} just now)" if report.parked else ""
        return f"{report.extractor}: {words.all_done}{parked}. Next: {words.after}"
    held = f"; {report.held_back}" if report.held_back else ""
    return (
        f"{report.extractor}: {report.under_way:,} {words.many} under way, {report.left:,} "
        f"left{held}. Next: make passages-backfill WAIT=1, or make run TASK={words.many} now and then"
    )
