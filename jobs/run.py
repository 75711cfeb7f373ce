"""`make run`: do once whatever is due; for cron."""

import sys

import click

from jobs.command import WritingCommand, code_of, confirmed, json_option, open_workspace, yes_option
from jobs.output import Terminal, for_money, log_times, print_json, print_line
from jobs.variables import read_settings
from pipeline.workflows import run
from pipeline.workflows.end_command import run_end_command


@click.command(name="run", cls=WritingCommand)
@click.option("--on-done", default="", envvar="FINDABLE_ON_DONE", help="A shell command to run after success.")
@click.option("--on-fail", default="", envvar="FINDABLE_ON_FAIL", help="A shell command to run after a failure.")
@yes_option
@json_option
def main(on_done: str, on_fail: str, *, yes: bool, as_json: bool) -> None:
    """Do once whatever is due: poll, ingest, ask again, score, submit the next batches within the budget, index.

    Made for cron: prints one line with its time, or none where nothing was due, exits 0 if all is well, and may run
    twice at once. ON_DONE and ON_FAIL get the summary as JSON on their standard input. Above FINDABLE_CONFIRM_ABOVE
    nothing is sent without --yes.
    """
    if not as_json:
        log_times()
    with run_end_command(on_done=on_done, on_fail=on_fail, code_of=code_of, warn=Terminal().warn) as summary:
        settings = read_settings()
        summary |= {"workspace": str(settings.data.absolute()), "database": str(settings.url)}
        with open_workspace(settings) as ws:
            report = run.run(ws, confirm=lambda cost: confirmed(for_money("Submit", cost), yes=yes))
        failures = [error.message for error in report.failures]
        summary |= {"did": report.did, **report.facts, "failures": failures}
        why = report.facts.get("out_of_money") or report.facts.get("no_pilot")
        held = [f"{report.facts['left']:,} left: {why}"] if why else []
        if report.facts.get("no_room"):
            held.append(f"{report.facts['no_room']:,} wait for room at the API")
        said = "; ".join([*report.did, *held]) or ("nothing was due" if sys.stdout.isatty() else "")
        if as_json:
            print_json(summary)
        elif said:
            print_line(said)
        for error in report.failures[1:]:
            Terminal().error(error.message)
        if report.failures:
            raise report.failures[0]
