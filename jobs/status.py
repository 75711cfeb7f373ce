"""`make status`: where everything stands, and what to type next."""

from typing import TYPE_CHECKING, Any

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, usd

if TYPE_CHECKING:
    from pipeline.steps.status import Report


@click.command(name="status", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Say where everything stands, and what to type next."""
    from pipeline.steps import status

    with open_workspace() as rt:
        report = status.run(rt)
    print_json(report.document) if as_json else _show(report)


def _show(report: "Report") -> None:
    """Print the state in a few lines."""
    document: dict[str, Any] = report.document
    experts, index = document["experts"], document["index"]
    bound = "" if document["bound"] else " (not bound yet)"
    print_line(f"workspace  {document['workspace']}, backend {document['backend']}{bound}, model {document['model']}")
    print_line(
        f"experts    {experts['total']:,}: {experts['tagged']:,} tagged, {experts['untagged']:,} untagged, "
        f"{experts['claimed']:,} claimed, {experts['parked']:,} parked, {experts['no_bio']:,} without a bio"
    )
    for reason, count in document["parked"].items():
        print_line(f"           parked {count:,}: {reason}")
    batches = ", ".join(f"{count} {state}" for state, count in document["batches"].items() if count)
    print_line(f"batches    {batches or 'none'}")
    for batch in report.open_batches:
        print_line(
            f"           batch {batch.number} {batch.state}, {batch.requests:,} rows, {batch.remote_word or '-'}"
        )
    if "problem" in index:
        print_line(f"index      broken: {index['problem']}")
    elif index["count"]:
        behind = f"behind by {index['behind']:,}" if index["behind"] else "up to date"
        print_line(f"index      {index['count']:,} experts, {index['model']} {index['dim']} wide, {behind}")
    else:
        print_line("index      none")
    spent = document["spent"]
    print_line(f"spent      {usd(spent['actual'])}, and about {usd(spent['estimated'])} under way")
    print_line(f"next       {document['next'] or 'nothing to do'}")
