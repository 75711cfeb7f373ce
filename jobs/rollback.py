"""`make rollback EXTRACTOR=…`: take one version's answers back."""

from dataclasses import asdict

import click

from jobs.command import Command, confirmed, json_option, open_workspace, yes_option
from jobs.output import plural, print_json, print_line


@click.command(name="rollback", cls=Command)
@click.argument("extractor", envvar="FINDABLE_EXTRACTOR")
@yes_option
@json_option
def main(extractor: str, *, yes: bool, as_json: bool) -> None:
    """Take back what EXTRACTOR gave: a version such as passage-concepts@2, or one with its model behind a slash.

    Asks first. Other versions stay, and so does what came with the data. Killed and run again it goes on.
    """
    from pipeline.steps import rollback, versions

    with open_workspace() as rt:
        report = rollback.run(rt, extractor, confirm=lambda question: confirmed(question, yes=yes))
    if as_json:
        found = [versions.document(one) for one in report.found]
        print_json({"task": report.subject, "extractor": extractor, "found": found, **asdict(report.gone)})
    elif not report.found:
        print_line(f"nothing of {extractor} is here. Next: make versions, which lists what is")
    else:
        gone = report.gone
        told = f"{plural(gone.rows, 'row')} and {plural(gone.answers, 'answer')} of {extractor} taken back"
        told += f", {plural(gone.let_go, 'item')} parked no more" if gone.let_go else ""
        print_line(f"{told}. Next: {'make index' if report.indexed else 'make versions'}")
