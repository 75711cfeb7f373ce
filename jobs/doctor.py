"""`make doctor`: check the workspace against itself and the backend."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line

if TYPE_CHECKING:
    from pipeline.steps.doctor import Report


@click.command(name="doctor", cls=Command)
@click.option("--fix", is_flag=True, envvar="FINDABLE_FIX", help="Mend what can be mended without loss.")
@json_option
def main(*, fix: bool, as_json: bool) -> None:
    """Check the workspace against itself and the backend.

    Without --fix nothing is changed. Exit code 0 when all is well or was mended, 5 when something contradicts what is
    stored and was not mended.
    """
    from pipeline.steps import doctor

    with open_workspace() as rt:
        report = doctor.run(rt, fix=fix)
    print_json(_document(report)) if as_json else _show(report)
    report.check()


def _document(report: "Report") -> dict[str, object]:
    """Return the report for programs."""
    return {
        "healthy": report.healthy,
        "checks": report.looked,
        "findings": [asdict(finding) for finding in report.findings],
    }


def _show(report: "Report") -> None:
    """Print what was found, and one line of result."""
    terminal = Terminal()
    for finding in report.findings:
        told = f"{finding.check}: {finding.said}"
        if finding.mended:
            print_line(f"{told}. Mended: {finding.mended}")
        elif finding.is_open:
            terminal.warn(told)
        else:
            print_line(f"{told}{'. FIX=1 mends it' if finding.mendable else ''}")
    if report.healthy:
        print_line(f"{plural(report.looked, 'check')} done, nothing contradicts what is stored")
