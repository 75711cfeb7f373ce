"""`make doctor`: check the workspace against itself and the backend."""

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import Terminal, plural, print_json, print_line
from jobs.typed import as_typed
from pipeline.ops import doctor


@click.command(name="doctor", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Check the workspace against itself and the backend; say of what is wrong why it matters, and what to type.

    Nothing is changed. Exit code 0 if all is well or needs only a notice; 3 or 4 if the key is refused or the backend
    cannot be reached; 5 if the stored data is inconsistent.
    """
    with read_workspace(whole=True) as ws:
        report = doctor.run(ws)
    print_json(doctor.document(report)) if as_json else _show(report)
    report.check()


def _show(report: doctor.DoctorReport) -> None:
    """Print what was found, and one line of result."""
    terminal = Terminal()
    for one in report.seen:
        print_line(f"{one.subject}: {one.said}")
    for finding in report.findings:
        line = f"{finding.check}: {finding.said}: {as_typed(finding.why)}"
        line += f". To repair it: {as_typed(finding.next)}" if finding.next else ""
        terminal.warn(line) if finding.contradiction else print_line(line)
    if report.healthy:
        print_line(f"{plural(report.looked, 'check')} done, nothing contradicts what is stored")
