"""`findable rebind`: clear the local engine's answers, so that the workspace can move to Gemini."""

from dataclasses import asdict, replace

import click

from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.dotenv import read_settings
from jobs.output import plural, print_json, print_line
from pipeline.ops import rebind


@click.command(name="rebind", cls=WritingCommand)
@click.option("--give-up", is_flag=True, envvar="FINDABLE_GIVE_UP", help="Give up open batches, too.")
@yes_option
@json_option
def main(*, give_up: bool, yes: bool, as_json: bool) -> None:
    """Clear the local engine's answers, batches and index, so that this workspace can use Gemini.

    Asks first. The people stay, and so do tags that came with an adopted table.
    """
    settings = replace(read_settings(), backend=None)  # BACKEND=gemini is often set already
    with open_workspace(settings, whole=True) as ws:
        report = rebind.run(ws, give_up=give_up, confirm=lambda question: confirmed(question, yes=yes))
    if as_json:
        print_json(asdict(report))
    elif report.nothing:
        print_line("nothing to clear: there is nothing of the local engine")
    else:
        took = f"{plural(report.answers, 'answer')} taken back, {plural(report.batches, 'batch', 'batches')} removed"
        print_line(f"{took}. The workspace is not bound any more. Next: set GEMINI_API_KEY, then make batch-submit")
