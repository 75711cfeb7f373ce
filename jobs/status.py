"""`make status` and `make passages-status`: show the state of the workspace, or of the passages."""

from typing import Any

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import plural, print_json, print_line, usd
from jobs.typed import as_typed
from pipeline.ops import status

WORDS = {"no_bio": "without a bio (cannot be searched)", "with_concepts": "with concepts"}  # programs read the keys
SHOWN = 5  # due people; --json has more

exact_option = click.option(
    "--exact", is_flag=True, envvar="FINDABLE_EXACT", help="Compare the index with all rows, whatever was changed."
)


@click.command(name="status", cls=Command)
@exact_option
@json_option
def main(*, exact: bool, as_json: bool) -> None:
    """Show the state of the workspace, and the next command.

    The index is held against what commands changed; what other programs changed is seen by --exact, and by `index`,
    `run` and `doctor`. A large table of another program is counted now and then, with the time shown.
    """
    _print(None, exact=exact, as_json=as_json)


@click.command(name="passages-status", cls=Command)
@exact_option
@json_option
def passages_status(*, exact: bool, as_json: bool) -> None:
    """Show the state of the passages: how many have concepts, the pilot, the backfill, and the next command."""
    _print("passages", exact=exact, as_json=as_json)


def _print(task: str | None, *, exact: bool, as_json: bool) -> None:
    with read_workspace(task=task) as ws:
        report = status.run(ws, exact=exact)
    print_json(report.document) if as_json else _show(report)


def _show(report: status.StatusReport) -> None:
    document: dict[str, Any] = report.document
    index = document["index"]
    bound = "" if document["bound"] else " (not bound yet)"
    print_line(f"workspace  {document['workspace']}, backend {document['backend']}{bound}, model {document['model']}")
    print_line(f"{report.subject:<11}{_counted(document[report.subject], document.get('stale'))}")
    for reason, count in document["parked"].items():
        print_line(f"           parked {count:,}: {reason}")
    batches = ", ".join(f"{count} {state}" for state, count in document["batches"].items() if count)
    print_line(f"batches    {batches or 'none'}")
    for one in report.open_batches:
        print_line(f"           batch {one.number} {one.state}, {one.requests:,} rows, {one.remote_word or '-'}")
    for one in document.get("twins", ()):
        how = "cancelled or over" if one["is_over"] else f"not cancelled yet: {as_typed('`make batch-poll`')} does"
        print_line(f"           {one['remote_name']} was a second remote batch of batch {one['batch']}, {how}")
    if index is not None:
        print_line(f"index      {_index(index, report.entry)}")
    print_line(f"spent      {_spent(**document['spent'])}")
    for one in [one for one in document["due"] if one["outcome"] is None][-SHOWN:]:
        print_line(f"due        {one['name']} since {one['since'][:16]}: {one['reason']}")
    _show_pilot(document)
    if others := document["others"]:
        print_line(f"others     {', '.join(others)}: {as_typed(f'`make status TASK={others[0]}`')}")
    print_line(f"next       {as_typed(document['next']) or 'nothing to do'}")


def _counted(counts: dict[str, int], stale: dict[str, Any] | None) -> str:
    """Return how many items there are of each kind, and how many changed after they were answered."""
    (_, total), *parts = counts.items()
    words = WORDS | {"open": "without concepts"} if "with_concepts" in counts else WORDS
    kinds = ", ".join(f"{count:,} {words.get(name, name)}" for name, count in parts)
    return f"{total:,}: {kinds}" + (f"; {stale['count']:,} changed since" if stale and stale["count"] else "")


def _index(index: dict[str, Any], word: str) -> str:
    """Return what the index has; a `word` names its entries."""
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["count"]:
        return "none"
    behind = f"behind by {index['behind']:,}" if index["behind"] else "up to date"
    return f"{plural(index['count'], word)}, {index['model']} {index['dim']} wide, {behind}"


def _spent(*, actual: float, estimated: float, lost: float) -> str:
    """Return what was spent, what is under way, and what lost replies and duplicates may have cost."""
    spent = f"{usd(actual)}, and about {usd(max(0.0, estimated - lost))} under way"
    return f"{spent}; about {usd(lost)} more may have been spent on lost replies" if lost else spent


def _show_pilot(document: dict[str, Any]) -> None:
    """Print the version in use, its pilot and its backfill, where the task has them."""
    if "extractor" not in document:
        return
    print_line(f"extractor  {document['extractor']}")
    if pilot := document["pilot"]:
        report = f", {pilot['report']}" if pilot["report"] else ""
        print_line(
            f"pilot      {pilot['number']}, up to {pilot['size']:,} drawn: {pilot['verdict'] or 'not over'}{report}"
        )
    if going := document["backfill"]:
        cost = usd(going["estimated_cost"])
        print_line(f"backfill   {going['extractor']} since {going['since'][:16]}: {going['items']:,}, about {cost}")
