"""`make batch-submit`: write, upload and create batches for all untagged people."""

import click

from jobs.command import (
    WritingCommand,
    confirmed,
    json_option,
    limit_option,
    look_at_workspace,
    open_workspace,
    pilot_option,
    skip_pilot_option,
    yes_option,
)
from jobs.output import plural, print_json, print_line, usd
from jobs.render import asked_about, pilot_line
from pipeline.batch import submit
from pipeline.batch.prepare import BatchPlan
from pipeline.core.task import Words
from pipeline.workflows import pilot as pilot_run


@click.command(name="batch-submit", cls=WritingCommand)
@limit_option
@click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only show what would happen.")
@pilot_option
@skip_pilot_option
@yes_option
@json_option
def main(limit: int | None, pilot: int | None, *, skip_pilot: bool, dry: bool, yes: bool, as_json: bool) -> None:
    """Submit batches for all untagged people with a bio; with TASK=passages, or your own task, for all open items.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to interrupt: no item is
    asked twice, and a batch whose create call was lost is found again. Above FINDABLE_CONFIRM_ABOVE (USD) it asks
    first.
    """
    with (look_at_workspace if dry else open_workspace)() as ws:
        words = ws.task.words

        def announce(plan: BatchPlan) -> None:
            """Say what will be asked and what it will cost."""
            day = ws.model.priced_on.isoformat()
            what = _sentence(plan, day, words) if plan.items else "resuming an earlier run"
            ws.display.say(f"{ws.model.name}, {what}")

        def confirm(_plan: BatchPlan) -> bool:
            """Ask whether to go on."""
            return confirmed("Go on?", yes=yes)

        if not dry:
            done = pilot_run.run_first(ws, size=pilot, skip=skip_pilot, limit=limit, announce=announce, confirm=confirm)
            limit = pilot_run.left_of(limit, done)
            if done is not None:
                ws.display.say(pilot_line(done))
        report = submit.run(ws, limit=limit, dry=dry, announce=announce, confirm=confirm)
    said = f"{words.make('batch-submit')} asks the rest" if limit == 0 else _line(report, words)
    print_json(submit.document(report)) if as_json else print_line(said)


def _sentence(plan: BatchPlan, priced_on: str, words: Words) -> str:
    """Return what a plan is, with its estimated cost and the day of the prices."""
    tokens = f"about {plan.usage.prompt:,} tokens in and {plan.usage.answer + plan.usage.thoughts:,} out"
    what = f"{asked_about(plan, words)} in {plural(plan.batches, 'batch', 'batches')}"
    return f"{what}: {tokens}, estimated {usd(plan.cost)} (prices of {priced_on})"


def _line(report: submit.SubmitReport, words: Words) -> str:
    """Return the one line of result."""
    if not report.plan.items and not report.sent:
        return f"nothing to submit: {words.all_done}"
    if report.dry:
        return f"would submit {_sentence(report.plan, report.priced_on, words)}; no batch was written or sent"
    if not report.sent:
        if report.summary:
            return f"nothing was submitted: {report.summary}. Next: {words.make('batch-poll')}"
        return "nothing was left to submit: another process took it"
    after = words.make("batch-poll" if set(report.sent.values()) != {"rebuilt"} else "status")
    return f"submitted {plural(report.items, words.one, words.many)}: {report.summary}. Next: {after}"
