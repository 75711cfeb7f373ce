"""`make tags`: those of people, `MERGE="ml=machine learning"`, `EXPERT=username ADD=law` edits one; `make score`."""

import contextlib
import getpass

import click

from jobs import values
from jobs.command import WritingCommand, json_option, open_workspace, read_workspace
from jobs.items_shown import edit_cells
from jobs.output import Terminal, plural, print_fields, print_json, print_line, print_table
from jobs.values import COUNT, Count
from jobs.variables import read_settings
from pipeline.core.settings import BUILT_IN
from pipeline.experts import tags
from pipeline.experts.tags import Document, TagChange

FEW = 10  # merges that are shown


@click.command(name="tags", cls=WritingCommand)
@click.option("-k", "--most", type=COUNT, default=20, show_default=True, envvar="FINDABLE_K", help="How many to show.")
@click.option("--find", default="", envvar="FINDABLE_FIND", help="Only tags with this in them.")
@click.option("--merge", type=values.username, envvar="FINDABLE_MERGE", help='"old=new; old=new".')
@click.option("--undo", type=Count(1, values.LARGEST), envvar="FINDABLE_UNDO", help="The merge or edit to undo.")
@click.option("--who", type=values.username, envvar="FINDABLE_WHO", help="Who says so; else the user of the system.")
@click.option("--person", type=values.username, envvar="FINDABLE_EXPERT", help="The tags of this person alone.")
@click.option(
    "--add", type=values.username, metavar="TAGS", envvar="FINDABLE_ADD", help='Tags that the person gets: "ml; law".'
)
@click.option(
    "--remove", type=values.username, metavar="TAGS", envvar="FINDABLE_REMOVE", help="Tags that the person loses."
)
@click.option(
    "--rename",
    type=values.username,
    metavar="TAGS",
    envvar="FINDABLE_RENAME",
    help='Of the person: "old=new; …".',
)
@json_option
def main(
    *,
    most: int,
    find: str,
    merge: str | None,
    undo: int | None,
    who: str | None,
    person: str | None,
    add: str | None,
    remove: str | None,
    rename: str | None,
    as_json: bool,
) -> None:
    """List the tags of people, with examples, and what was merged.

    A merge holds for all who have the tag and for answers to come, until --undo takes it back by its number. With
    --person the tags of one, and every edit; --add, --remove and --rename edit them, --undo takes back an edit by its
    number, and no model touches them from then on.
    """
    change = TagChange(tags.listed(add), tags.listed(remove), tags.typed(rename) if rename else (), undo)
    if person is None and any(change[:3]):
        raise click.UsageError("name whose tags: --person USERNAME. With make: EXPERT=…")
    if (merge is not None) + (undo is not None) + any(change[:3]) > 1 or (merge is not None and person is not None):
        raise click.UsageError("a merge, an edit of one --person and --undo exclude each other")
    editor = who or this_person()
    if person is not None:
        _of_person(person, change, editor, as_json=as_json)
    elif merge is None and undo is None:
        with read_workspace(task="experts") as ws:
            _show_tags(tags.count_tags(ws.store), find=find, most=most, as_json=as_json)
    else:
        with open_workspace(task="experts") as ws:
            if merge is not None:
                done = tags.merge(ws.store, tags.typed(merge), editor, at=ws.now())
            else:
                done = tags.undo_merge(ws.store, undo or 0, editor, at=ws.now())
        print_json(done) if as_json else _tell_merged(done)


def this_person() -> str:
    """Return the name of the user who runs this process, as the system has it."""
    with contextlib.suppress(Exception):  # a system without accounts raises what it likes
        return getpass.getuser()
    return "unknown"


def _of_person(username: str, change: TagChange, who: str, *, as_json: bool) -> None:
    if not any(change):
        with read_workspace(task="experts") as ws:
            found = tags.read_tags(ws.store, username)
        print_json(found) if as_json else _show_person(found)
        return
    with open_workspace(task="experts") as ws:
        done = tags.edit_tags(ws.store, username, change, who, at=ws.now())
    print_json(done) if as_json else _tell_edited(done)


def _show_tags(report: Document, *, find: str, most: int, as_json: bool) -> None:
    found = [one for one in report["tags"] if find.lower() in one["tag"].lower()]
    if as_json:
        print_json({**report, "tags": found})
        return
    different, once = plural(report["different"], "different tag"), plural(report["used_once"], "tag")
    print_line(f"{plural(report['people'], 'person', 'people')} with {different}; {once} of one person alone")
    rows = [(one["tag"], f"{one['people']:,}", ", ".join(one["examples"])) for one in found[:most]]
    print_table(("tag", "people", "such as"), rows)
    if report["merges"]:
        cells = [
            (
                *(str(one["number"]), one["old"], one["new"], one["who"], f"{one['at']:%Y-%m-%d %H:%M}"),
                "" if one["undone_at"] is None else f"{one['undone_at']:%Y-%m-%d %H:%M} {one['undone_by']}",
            )
            for one in report["merges"][-FEW:]
        ]
        print_table(("merge", "from", "into", "who", "when", "undone"), cells)


def _tell_merged(done: Document) -> None:
    for old, new in done["same"]:
        Terminal().say(f"{old!r} goes into {new!r} already")
    for one in done["merges"]:
        undone = ", undone" if one["undone_at"] else ""
        print_line(f"merge {one['number']}: {one['old']!r} into {one['new']!r}{undone}")
    if done["kept"]:
        Terminal().warn(f"{plural(done['kept'], 'row')} did not take other tags: a trigger or a rule of the database")
    print_line(f"{plural(done['people'], 'person', 'people')} with other tags now. Next: make index")


def _show_person(found: Document) -> None:
    score = "-" if found["findability_score"] is None else f"{found['findability_score']:g}"
    print_fields((("username", found["username"]), ("tags", ", ".join(found["tags"]) or "-"), ("score", score)))
    if found["edits"]:
        print_table(("edit", "who", "when", "what"), [edit_cells(one) for one in found["edits"]])


def _tell_edited(done: Document) -> None:
    if done["edit"] is None:
        print_line(f"{done['username']}: there is nothing to change")
        return
    print_line(f"edit {done['edit']} of {done['username']}: {', '.join(done['tags']) or 'no tags'}")
    print_line(f"score {done['findability_score']:g}. Next: make index")


@click.command(name="score", cls=WritingCommand)
@json_option
def score_again(*, as_json: bool) -> None:
    """Recompute all findability scores; only changed ones are written.

    With a task of your own, the rows of its tables of answers that are not as they were answered.
    """
    is_own = read_settings().task not in BUILT_IN
    with open_workspace(task=None if is_own else "experts") as ws, ws.store.write() as tx:
        changed = ws.task.refresh_derived(tx)
        total = next(iter(ws.task.table(tx).counts(tx).values()))
    line = f"{plural(total, 'row' if is_own else 'score')} checked, {changed:,} changed"
    print_json({"total": total, "changed": changed}) if as_json else print_line(line)
