"""`make show EXPERT=username`: everything known about one person."""

from typing import Any

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, usd
from jobs.values import USERNAME


@click.command(name="show", cls=Command)
@click.argument("username", type=USERNAME, envvar="FINDABLE_EXPERT")
@json_option
def main(username: str, *, as_json: bool) -> None:
    """Show everything known about one person: row, tags, where they came from, attempts, index."""
    from pipeline.steps import show

    with open_workspace(task="experts") as rt:
        document = show.run(rt, username)
    print_json(document) if as_json else _show(document)


def _show(document: dict[str, Any]) -> None:
    """Print a person in a few lines."""
    for name, value in document["expert"].items():
        shown = ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
        print_line(f"{name:<22}{shown}")
    where = f" in batch {document['batch']}" if document["batch"] is not None else ""
    why = f": {document['parked']}" if document["parked"] else ""
    print_line(f"{'state':<22}{document['state']}{where}{why}")
    for answer in document["answers"]:
        print_line(f"{'answer':<22}{_origin(answer)}{'' if answer['applied'] else ' (not applied)'}")
    for attempt in document["attempts"]:
        print_line(f"{'attempt':<22}{attempt['at']:%Y-%m-%d %H:%M} {attempt['outcome']}: {attempt['reason']}")
    print_line(f"{'index':<22}{_indexed(document['index'])}")


def _origin(answer: dict[str, Any]) -> str:
    """Return where an answer came from."""
    source = "live" if answer["batch"] is None else f"batch {answer['batch']}"
    tokens = f"{answer['tokens_in']:,} + {answer['tokens_out']:,} tokens, {usd(answer['cost'])}"
    return f"{answer['at']:%Y-%m-%d %H:%M} {answer['extractor']} ({answer['model_version']}), {source}, {tokens}"


def _indexed(index: dict[str, Any]) -> str:
    """Return what the index has of a person."""
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["indexed"]:
        return "not in it"
    return f"in build {index['build']}, " + ("up to date" if index["up_to_date"] else "with an older text; make index")
