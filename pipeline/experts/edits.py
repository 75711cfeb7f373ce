"""Edit the tags of one person by hand; whatever a person said, no model, rollback, rebind or ingest touches it.

An edit names the state that it was made from, and is refused where the tags are not as they were then. To undo one is
an edit, too.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ChangedMeanwhileError, ConfigurationError, InputError
from pipeline.core.text import MAX_RAW
from pipeline.experts import merging, table
from pipeline.experts.answer import checked_tag, clean_tag
from pipeline.experts.person_tags import PersonTags, TagEdit, tags_of_person
from pipeline.experts.schema import experts
from pipeline.experts.tags_file import TagsFile, refused
from pipeline.store import answers, merges, retries, workspace
from pipeline.store import edits as store_edits
from pipeline.tables.cells import list_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from pipeline.core.progress import Progress
    from pipeline.store.database import Connection, Store

NOTHING = "nothing was changed"


class TagChange(NamedTuple):
    """What becomes of tags: some are added, some removed, some renamed (old, new)."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()


class Editor(NamedTuple):
    """Who edits, and the state that was shown; None where the edit holds for whatever is there."""

    who: str
    of_state: str | None = None


class Edited(NamedTuple):
    """A person's tags after an edit, and its number; None where nothing had to be changed."""

    person: PersonTags
    number: int | None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**self.person.document(), "edit": self.number}


class TagsSet(NamedTuple):
    """Of how many people a file changed the tags, and how many had them already; or would have, if it is `dry`."""

    changed: int
    unchanged: int
    dry: bool


def edit_tags(store: "Store", username: str, change: TagChange, editor: Editor, *, at: "datetime") -> Edited:
    """Change the tags of one person, and the score with them; all or nothing.

    Raises:
        ChangedMeanwhileError: they are not in the state that the editor was shown.
        InputError: there is no such person, a tag is none, or not there, or none would be left.
        ConfigurationError: another program's database keeps the row as it is.
    """
    with store.write() as tx:
        row, now = _held(tx, username, editor)
        tags = _changed(now, change)
        if not tags and now.tags:
            raise InputError(
                f"{username!r} would be left without tags, and be asked about again; {NOTHING}",
                hint="add or rename one in the same edit",
            )
        return _written(tx, row, now, tags, editor, at=at)


def set_tags(
    store: "Store", path: "Path", editor: Editor, *, dry: bool, at: "datetime", display: "Progress"
) -> TagsSet:
    """Give people the tags that a file says, as an edit of each who has others; all of them, or none.

    Raises:
        InputError: a line cannot be read, a tag is none, or of one line there is no such person.
        ConfigurationError: as of `edit_tags`.
    """
    said = list(TagsFile(path).lines())
    changed = 0
    with store.write() as tx, tx.begin_nested() as all_of_it, display.bar("tags", len(said), late=True) as bar:
        for number, one in enumerate(said, start=1):
            try:
                row, now = _held(tx, one.username, editor)
                tags = list(dict.fromkeys(map(checked_tag, one.tags)))
                changed += _written(tx, row, now, tags, editor, at=at).number is not None
            except InputError as error:
                raise refused(path, one.line, error.message.removesuffix(f"; {NOTHING}")) from error
            bar.show(number)
        if dry:
            all_of_it.rollback()
    return TagsSet(changed, len(said) - changed, dry=dry)


def undo_edit(store: "Store", username: str, number: int, editor: Editor, *, at: "datetime") -> Edited:
    """Take back what one edit changed, by its number, and leave what others changed since; that is an edit, too.

    A person who had no tags before, and has none then, is asked about again.

    Raises:
        ChangedMeanwhileError: as of `edit_tags`.
        InputError: there is no such person, or no edit of that number.
        ConfigurationError: as of `edit_tags`.
    """
    with store.write() as tx:
        row, now = _held(tx, username, editor)
        if not 1 <= number <= len(now.edits):
            said = f"`make tags EXPERT={username}` lists the edits"
            raise InputError(f"there is no edit {number} of {username!r}; {NOTHING}", hint=said)
        return _written(tx, row, now, _reverted(now.tags, now.edits[number - 1]), editor, undoes=number, at=at)


def _held(tx: "Connection", username: str, editor: Editor) -> tuple[Mapping[Any, Any], PersonTags]:
    """Return a person's row, which stays as it is until the transaction ends, and its tags.

    Raises:
        ChangedMeanwhileError: they are in another state than the editor's.
        InputError: there is no such person, they are being forgotten, or the tags are text of another program.
    """
    merges.rules_in_force(tx, table.TASK, held=True)  # before the row, in the order in which answers are written
    key = str(table.by_username(tx, username)["id"])
    row = table.by_ids(tx, [key], locked=True)[key]
    if answers.parked_reason(tx, table.TASK, key) == answers.BEING_FORGOTTEN:
        raise InputError(f"{username!r} is being forgotten; {NOTHING}")
    if list_of(row["tags"]) is None:
        raise InputError(f"the tags of {username!r} are text of another program, no JSON list; {NOTHING}")
    now = tags_of_person(tx, row)
    if editor.of_state not in {None, now.state}:
        raise _changed_meanwhile(now, str(editor.of_state))
    return row, now


def _changed_meanwhile(now: PersonTags, state: str) -> ChangedMeanwhileError:
    """Return the error that shows both states: the one that was shown, where it is known, and the one of now."""
    was, by = now.shown_in(state), f", last by {now.edits[-1].who!r} (edit {now.edits[-1].number})" if now.edits else ""
    shown = "" if was is None else f"they were {_listed(was)}, and "
    return ChangedMeanwhileError(
        f"the tags of {now.username!r} were changed meanwhile{by}: {shown}are {_listed(now.tags)} now; {NOTHING}",
        hint="look at what is there now, and say again what is to be changed",
        was=was,
        now=now.document(),
    )


def _listed(tags: Sequence[str]) -> str:
    return ", ".join(map(repr, tags)) or "none"


def _changed(now: PersonTags, change: TagChange) -> list[str]:
    """Return tags as a change has them: renamed in their places, new ones at the end, each once.

    Raises:
        InputError: a tag is none, or not there, or two things are to become of one.
    """
    gone = [_named(now, tag) for tag in change.remove]
    renamed = {_named(now, old): checked_tag(new) for old, new in change.rename}
    if len({*gone, *renamed}) < len(change.remove) + len(change.rename):
        raise InputError(f"a tag of {now.username!r} is to be changed in two ways at once; {NOTHING}")
    kept = [renamed.get(tag, tag) for tag in now.tags if tag not in gone]
    return list(dict.fromkeys([*kept, *map(checked_tag, change.add)]))


def _named(now: PersonTags, tag: str) -> str:
    """Return the tag of a person that is meant, which another program may have written in its own way.

    Raises:
        InputError: there is none.
    """
    for one in (tag, clean_tag(tag)):
        if one in now.tags:
            return one
    raise InputError(f"{now.username!r} has no tag {tag!r}; {NOTHING}", hint=f"the tags are {_listed(now.tags)}")


def _reverted(tags: Sequence[str], edit: TagEdit) -> list[str]:
    """Return tags without what an edit changed: what it removed is about where it was."""
    if tags == edit.after:
        return edit.before
    found = [tag for tag in tags if tag in edit.before or tag not in edit.after]
    for place, tag in enumerate(edit.before):
        if tag not in edit.after and tag not in found:
            found.insert(place, tag)
    return found


def _written(
    tx: "Connection",
    row: Mapping[Any, Any],
    now: PersonTags,
    tags: list[str],
    editor: Editor,
    *,
    undoes: int | None = None,
    at: "datetime",
) -> Edited:
    """Write tags as the merges in force have them, with the score, and keep them as a person's answer.

    Raises:
        InputError: the editor has no name that can be written.
        ConfigurationError: the row did not take them.
    """
    who, key = _who(editor.who), now.item_id
    found = merging.merged(tags, merges.rules_in_force(tx, table.TASK))
    if found.merged == now.tags:
        return Edited(now, None)
    if found.merged:
        table.replace_tags(tx, {key: merging.as_json(found.merged)}, rows={key: row})
        merges.keep_merged(tx, table.TASK, {key: found})
        table.SCORES.refresh(tx, experts.c.id == row["id"])
        answers.unpark(tx, table.TASK, ids=[key])
        retries.end_retries(tx, table.TASK, {"tagged": [key]}, at=at)
    else:
        table.clear_tags(tx, [key])
    done = table.by_ids(tx, [key])[key]
    if list_of(done["tags"]) != found.merged:
        raise ConfigurationError(f"a trigger or a rule of the database keeps {now.username!r} as it is; {NOTHING}")
    said, before = json.dumps({"tags": tags}, ensure_ascii=False), json.dumps({"tags": now.tags}, ensure_ascii=False)
    store_edits.add_edit(tx, table.TASK, key, said, before=before, who=who, undoes=undoes, at=at)
    workspace.touch_revision(tx, table.TASK, [key])
    return Edited(tags_of_person(tx, done), len(now.edits) + 1)


def _who(name: str) -> str:
    """Return the name of an editor on one line.

    Raises:
        InputError: it is empty, or holds what cannot be stored.
    """
    who = " ".join(name.split())
    if not who or len(who) > MAX_RAW or not who.isprintable():
        raise InputError(f"{name[:MAX_RAW]!r} is no name of who edits; {NOTHING}", hint="give it by WHO=")
    return who
