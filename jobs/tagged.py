"""How `make tag` is told: what came of it, what to type next, and the exit code of what stopped it."""

import sys
from typing import TYPE_CHECKING

from jobs import pilots, setbacks, tag_live
from jobs.batch_poll import complain
from jobs.output import Terminal, plural, print_line, usd

if TYPE_CHECKING:
    from pipeline.routines.tag import Report
    from pipeline.task import Words


def show(report: "Report", words: "Words") -> None:
    """Say what came of it, and what to type next."""
    if report.pilot is not None:
        Terminal().say(pilots.told(report.pilot))
    parked = f", {report.parked:,} parked" if report.parked else ""
    if report.live is not None:
        tag_live.show(report.live, words)
    if not report.way:
        print_line(f"nothing to tag: {words.all_done}")
    elif report.ingested:
        answered = sum(batch.answered or 0 for batch in report.ingested)
        came = plural(len(report.ingested), "batch", "batches")
        print_line(f"{answered:,} {words.done} in {came}{parked}, {usd(report.spent)} spent")
    elif report.live is None and not report.under_way:
        print_line(f"0 {words.done}{parked}, no batch is under way")
    elif report.live is None:
        sent = 0 if report.is_down else sum(one.items for one in report.submitted)
        waiting = f"{plural(report.under_way, words.one, words.many)} in batches that are not over"
        what = f"{plural(sent, words.one, words.many)} submitted" if sent else waiting
        print_line(f"{what}. Next: {words.make('tag WAIT=1')}, or {words.make('run')} now and then")
    _warn(report, words)


def _warn(report: "Report", words: "Words") -> None:
    """Say who is left for want of money or room, and by how much a budget was passed."""
    if report.out_of_money:
        Terminal().warn(f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left")
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        Terminal().warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")
    if report.overrun > 0:
        Terminal().warn(f"spent {usd(report.overrun)} more than the budget: an estimate was too low")


def finish(report: "Report", words: "Words") -> None:
    """End with the exit code of what stopped it, if anything did."""
    if report.live is not None:
        tag_live.finish(report.live)
    setbacks.tell(report, words)
    for polled in report.polled:
        complain(polled, words)
    if report.is_down:
        sys.exit(4)
    if report.reports:
        report.reports[-1].check()
