"""`make add-expert EXPERT=file.json`: one new person, tagged at once."""

import sys
from dataclasses import asdict
from pathlib import Path

import click

from jobs.command import WritingCommand, json_option, make_workspace, map_option
from jobs.output import Terminal, print_json, print_line, print_table, spinning
from pipeline.core.errors import InputError
from pipeline.core.files import why_not_readable
from pipeline.workflows import add_expert


@click.command(name="add-expert", cls=WritingCommand)
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), envvar="FINDABLE_EXPERT")
@map_option
@json_option
def main(file: Path, *, mapping: str, as_json: bool) -> None:
    """Add the person in FILE (JSON; `-` reads standard input; a list adds several) and tag them now.

    Fields are known by the names that `make import` knows; what only looks alike is named with the MAP= that takes it.
    If Gemini fails, the person is saved untagged and due: the next `make run`, `make tag`, `make tag-live` or
    `make batch-submit` asks about them, and `make status` shows the outcome.
    """
    if str(file) == "-":
        data = sys.stdin.buffer.read()
    elif why := why_not_readable(file):
        raise InputError(f"{file} {why}; nothing was stored", hint="check the path")
    else:
        data = file.read_bytes()
    with make_workspace(task="experts") as ws, spinning() as spin:
        added = add_expert.run(
            ws, data, name=str(file), mapping=mapping, on_tagging=lambda name: spin(f"Generating tags… {name}")
        )
    print_json([asdict(one) for one in added]) if as_json else _show(added)


def _show(added: list[add_expert.AddedExpert]) -> None:
    rows = [(one.username, one.name, ", ".join(one.tags) or "-", one.findability_score) for one in added]
    print_table(("username", "name", "tags", "score"), rows)
    for one in added:
        if one.parked:
            Terminal().warn(f"{one.username} is saved without tags and parked: {one.parked}")
        elif one.problem:
            Terminal().warn(f"{one.username} is saved without tags ({one.problem}) and is due again: `make tag-live`")
        elif one.took_s is not None:
            Terminal().say(f"{one.username} tagged in {one.took_s:.1f} s")
    if any(one.tags for one in added):
        print_line("Not searchable until the next build. Next: make index")
    else:
        print_line("People without tags cannot be searched. Next: make status")
