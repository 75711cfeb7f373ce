"""Take the options of `make tags EXPERT=username` and `FROM=file`, and show or edit the tags of those people."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from jobs import values
from jobs.command import open_workspace, read_workspace
from jobs.items_shown import edit_cells
from jobs.output import print_fields, print_json, print_line, print_table
from jobs.tags_shown import tell_set
from pipeline.experts import edits, person_tags, tags
from pipeline.experts.edits import Edited, Editor, TagChange
from pipeline.experts.person_tags import PersonTags

OPTIONS = (
    click.option("--person", type=values.username, envvar="FINDABLE_EXPERT", help="The tags of this person alone."),
    click.option(
        "--add",
        type=values.username,
        metavar="TAGS",
        envvar="FINDABLE_ADD",
        help='Tags that the person gets: "ml; law".',
    ),
    click.option(
        "--remove", type=values.username, metavar="TAGS", envvar="FINDABLE_REMOVE", help="Tags that the person loses."
    ),
    click.option(
        "--rename",
        type=values.username,
        metavar="TAGS",
        envvar="FINDABLE_RENAME",
        help='Of the person: "old=new; old=new".',
    ),
    click.option(
        "--from",
        "source",
        type=click.Path(path_type=Path),
        envvar="FINDABLE_FROM",
        help="A file with usernames and tags, as exported: what people have from now on.",
    ),
    click.option(
        "--of-state", envvar="FINDABLE_OF_STATE", metavar="STATE", help="Refuse unless the tags are in this state."
    ),
)


class Edits(NamedTuple):
    """Whose tags are meant, and what becomes of them: of one person, or of those in a file."""

    username: str
    change: TagChange
    of_state: str | None
    source: Path | None


def person_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options about one person, or a file of some, which it takes as `one`, Edits or None."""

    @wraps(command)
    def main(
        *,
        person: str | None,
        add: str | None,
        remove: str | None,
        rename: str | None,
        of_state: str | None,
        source: Path | None,
        **others: Any,
    ) -> None:
        change = TagChange(tags.listed(add), tags.listed(remove), tags.typed(rename) if rename else ())
        if person is None and any(change):
            raise click.UsageError("name whose tags: --person USERNAME. With make: EXPERT=…")
        if person is not None and source is not None:
            raise click.UsageError("--person and --from exclude each other")
        is_of_some = person is not None or source is not None
        command(one=Edits(person or "", change, of_state, source) if is_of_some else None, **others)

    for option in reversed(OPTIONS):
        main = option(main)
    return main


def edit_people(one: Edits, who: str, *, undo: int | None, dry: bool, as_json: bool) -> None:
    """Show the tags of one person, or edit them, or those of the people in a file."""
    if one.source is not None:
        if undo is not None:
            raise click.UsageError("--from and --undo exclude each other")
        with (read_workspace if dry else open_workspace)(task="experts") as ws:
            done = edits.set_tags(ws.store, one.source, Editor(who), dry=dry, at=ws.now(), display=ws.display)
        print_json(done._asdict()) if as_json else tell_set(done)
    else:
        _edit_person(one, who, undo=undo, as_json=as_json)


def _edit_person(one: Edits, who: str, *, undo: int | None, as_json: bool) -> None:
    if undo is None and not any(one.change):
        with read_workspace(task="experts") as ws:
            found = person_tags.read_tags(ws.store, one.username)
        print_json(found.document()) if as_json else show_person(found)
        return
    editor = Editor(who, one.of_state)
    with open_workspace(task="experts") as ws:
        if undo is None:
            done = edits.edit_tags(ws.store, one.username, one.change, editor, at=ws.now())
        else:
            done = edits.undo_edit(ws.store, one.username, undo, editor, at=ws.now())
    print_json(done.document()) if as_json else tell_edited(done)


def show_person(found: PersonTags) -> None:
    """Print the tags of one person, and every edit."""
    score = "-" if found.findability_score is None else f"{found.findability_score:g}"
    told = (("username", found.username), ("tags", ", ".join(found.tags) or "-"), ("score", score))
    print_fields((*told, ("state", found.state)))
    if found.edits:
        print_table(("edit", "who", "when", "what"), [edit_cells(one.document()) for one in found.edits])


def tell_edited(done: Edited) -> None:
    """Print the tags of one person after an edit."""
    if done.number is None:
        print_line(f"{done.person.username}: there is nothing to change")
        return
    print_line(f"edit {done.number} of {done.person.username}: {', '.join(done.person.tags) or 'no tags'}")
    print_line(f"score {done.person.findability_score:g}. Next: make index")
