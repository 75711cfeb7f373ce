"""How a probe is told: what was compared, what differed, and the exit code of one that failed."""

from typing import TYPE_CHECKING

from jobs.batch_poll import complain
from jobs.output import Terminal, print_line

if TYPE_CHECKING:
    from pipeline.routines.probe import Report
    from pipeline.task import Words


def show_probe(report: "Report", words: "Words") -> None:
    """Print what came of a probe, a line for each request whose replies differ."""
    probe, terminal = report.probe, Terminal()
    found = probe.report or {}
    if not report.is_over:
        print_line(f"probe: batch {probe.batch} is not over yet. Next: {words.make('preflight PROBE=1')}")
    elif not found.get("compared"):
        print_line(f"probe: {probe.verdict}, nothing could be compared ({found.get('why') or 'no result is there'})")
    else:
        print_line(
            f"probe: {probe.verdict}, {found['valid']} of {found['compared']} answers of batch {probe.batch} validate"
        )
    for line in found.get("lines", ()):
        for said in line["differs"]:
            terminal.warn(f"line {line['line']} of batch {probe.batch}: {said}")


def finish(report: "Report", words: "Words") -> None:
    """End with the exit code of what a person has to look at, if anything."""
    from pipeline.routines import probe

    probe.check(report)
    if report.polled is not None and not report.is_over:
        complain(report.polled, words)
