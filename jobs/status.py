"""`make status` and `make passages-status`: where everything stands, or the passages alone, and what to type next."""

from typing import Any

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, usd
from jobs.render import show_estimates, show_pilot
from pipeline.ops import status

WORDS = {"no_bio": "without a bio", "open": "without concepts"}  # as people say what programs read
SHOWN = 5  # who are or were due, that are printed; --json has more


@click.command(name="status", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Say where everything stands, and what to type next."""
    _say(None, as_json=as_json)


@click.command(name="passages-status", cls=Command)
@json_option
def passages_status(*, as_json: bool) -> None:
    """Say where the passages stand: how many have concepts, the pilot, the backfill, and what to type next."""
    _say("passages", as_json=as_json)


def _say(task: str | None, *, as_json: bool) -> None:
    """Print where a task stands, or the one of the settings."""
    with open_workspace(task=task) as ws:
        report = status.run(ws)
    print_json(report.document) if as_json else _show(report)


def _show(report: status.StatusReport) -> None:
    """Print the state in a few lines."""
    document: dict[str, Any] = report.document
    index = document["index"]
    bound = "" if document["bound"] else " (not bound yet)"
    print_line(f"workspace  {document['workspace']}, backend {document['backend']}{bound}, model {document['model']}")
    print_line(f"{report.subject:<11}{_counted(document[report.subject])}")
    for reason, count in document["parked"].items():
        print_line(f"           parked {count:,}: {reason}")
    batches = ", ".join(f"{count} {state}" for state, count in document["batches"].items() if count)
    print_line(f"batches    {batches or 'none'}")
    for batch in report.open_batches:
        print_line(
            f"           batch {batch.number} {batch.state}, {batch.requests:,} rows, {batch.remote_word or '-'}"
        )
    if index is None:
        pass
    elif "problem" in index:
        print_line(f"index      broken: {index['problem']}")
    elif index["count"]:
        behind = f"behind by {index['behind']:,}" if index["behind"] else "up to date"
        print_line(f"index      {index['count']:,} experts, {index['model']} {index['dim']} wide, {behind}")
    else:
        print_line("index      none")
    print_line(f"spent      {_spent(**document['spent'])}")
    show_estimates(document)
    for one in document["due"][-SHOWN:]:
        became = f"; {one['outcome']} {one['ended_at'][:16]}" if one["outcome"] else ""
        print_line(f"due        {one['name']} since {one['since'][:16]}: {one['reason']}{became}")
    for name in document["rolling_back"]:
        print_line(f"rollback   of {name} was begun and is not over; nothing of it is in sight")
    show_pilot(document)
    print_line(f"next       {document['next'] or 'nothing to do'}")


def _counted(counts: dict[str, int]) -> str:
    """Return how many items there are of each kind."""
    total, *parts = counts.items()
    told = ", ".join(f"{count:,} {WORDS.get(name, name.replace('_', ' '))}" for name, count in parts)
    return f"{total[1]:,}: {told}"


def _spent(*, actual: float, estimated: float, lost: float) -> str:
    """Return what was spent, what is under way, and what may have been spent beside: on lost replies, on twins."""
    told = f"{usd(actual)}, and about {usd(max(0.0, estimated - lost))} under way"
    return f"{told}; about {usd(lost)} more may have been spent, which no reply tells" if lost else told
