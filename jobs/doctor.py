"""`make doctor`: check the workspace against itself and the backend."""

import click

from jobs.command import Command, answered, json_option, open_workspace, read_workspace, yes_option
from jobs.output import Terminal, plural, print_json, print_line
from jobs.typed import as_typed
from pipeline.ops import doctor


@click.command(name="doctor", cls=Command)
@click.option("--fix", is_flag=True, envvar="FINDABLE_FIX", help="Repair what loses nothing; ask before the rest.")
@yes_option
@json_option
def main(*, fix: bool, yes: bool, as_json: bool) -> None:
    """Check the workspace against itself and the backend.

    Without --fix nothing is changed. Exit code 0 if all is well, was repaired, or needs only a notice; 3 or 4 if the
    key is refused or the backend cannot be reached; 5 if the stored data is inconsistent.
    """
    with (open_workspace if fix else read_workspace)(whole=True) as ws:
        report = doctor.run(ws, fix=fix, confirm=lambda question: answered(question, yes=yes))
    print_json(doctor.document(report)) if as_json else _show(report)
    report.check()


def _show(report: doctor.DoctorReport) -> None:
    """Print what was found, and one line of result."""
    terminal = Terminal()
    for one in report.seen:
        print_line(f"{one.subject}: {one.said}")
    for finding in report.findings:
        line = f"{finding.check}: {finding.said}: {as_typed(finding.why)}"
        if finding.mended:
            print_line(f"{line}. Mended: {as_typed(finding.mended)}")
            continue
        line += f". To repair it: {as_typed(finding.remedy)}" if finding.remedy else ""
        terminal.warn(line) if finding.is_open else print_line(line)
    if report.healthy:
        print_line(f"{plural(report.looked, 'check')} done, nothing contradicts what is stored")
