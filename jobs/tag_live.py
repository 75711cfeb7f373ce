"""`make tag-live`: ask about everyone untagged now, by ordinary calls."""

from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace, skip_pilot_option
from jobs.output import Terminal, plural, print_json, print_line, usd
from jobs.values import COUNT

if TYPE_CHECKING:
    from pipeline.steps.tag_live import Report
    from pipeline.task import Words


@click.command(name="tag-live", cls=Command)
@click.option("--limit", type=COUNT, envvar="FINDABLE_LIMIT", help="Ask about at most this many.")
@skip_pilot_option
@json_option
def main(limit: int | None, *, skip_pilot: bool, as_json: bool) -> None:
    """Tag everyone who is untagged and has a bio now, at full price.

    Keeps to the limits of the model and tier (FINDABLE_RPM, FINDABLE_TPM, FINDABLE_RPD). Safe to repeat and to
    interrupt: nobody is asked again who was answered. Ctrl-C lets what is under way finish; a second one does not.
    """
    from pipeline.routines import pilot
    from pipeline.steps import tag_live

    with open_workspace() as rt:
        pilot.first(rt, size=None, skip=skip_pilot)
        report, words = tag_live.run(rt, limit=limit), rt.task.words
    print_json(tag_live.document(report)) if as_json else show(report, words)
    finish(report)


def show(report: "Report", words: "Words") -> None:
    """Say what failed, was skipped or is left; a run in which all went well says nothing."""
    asked, samples = report.asked, report.samples
    if not report.run:
        print_line(f"nothing to ask: {words.all_done}")
    if not report.run or not (asked.failed or report.skipped or report.left or asked.elsewhere):
        return
    parts = [f"{asked.answered:,} {words.done}", f"{report.skipped:,} skipped"]
    parts += [f"{count:,} failed ({reason})" for reason, count in asked.failed.most_common()]
    if asked.elsewhere:
        parts.append(f"{asked.elsewhere:,} answered or claimed elsewhere")
    if report.left:
        parts.append(f"{report.left:,} left")
    print_line(f"{', '.join(parts)}; {plural(asked.calls, 'call')}, {usd(asked.cost)}. Next: {words.after}")
    for name, reason in samples:
        Terminal().warn(f"{name}: {reason}")


def finish(report: "Report") -> None:
    """End with the exit code of what stopped the run, if anything did."""
    if report.asked.interrupted:
        raise KeyboardInterrupt
    if report.asked.stopped is not None:
        raise report.asked.stopped
    if report.quality is not None:
        report.quality.check()
