"""Count the tags of people, merge tags as a person says, and edit those of one person; what is returned is documents.

Whatever a person said, no model, rollback or ingest touches it. An edit may name the state that it was made from, and
is refused where the tags are not as they were then; to undo one is an edit, too.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ChangedMeanwhileError, ConfigurationError, InputError
from pipeline.core.step import Option, Step
from pipeline.core.text import MAX_RAW
from pipeline.experts import table
from pipeline.store import answers, asks, by_hand, workspace
from pipeline.store.database import pages
from pipeline.tables.cells import list_of, number_of, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.store.database import Connection, Store

BY_HAND = answers.PERSON  # the extractor that what a person said is attributed to
EXAMPLES = 3  # usernames of a tag
STATE = 16  # hex digits of the hash of a state
NOTHING = "nothing was changed"

Document = dict[str, Any]


class TagChange(NamedTuple):
    """What becomes of a person's tags: some added, some removed, some renamed (old, new); or an edit undone."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()
    undo: int | None = None


def listed(text: str | None) -> list[str]:
    """Return the tags of `ml; water law`."""
    return [one.strip() for one in (text or "").split(";") if one.strip()]


def typed(text: str) -> list[tuple[str, str]]:
    """Return the merges of `ml=machine learning; ai=artificial intelligence`."""
    parts = [one.partition("=") for one in text.split(";") if one.strip()]
    if not parts or not all(old.strip() and new.strip() for old, _, new in parts):
        raise InputError(
            f"{text!r} names no two tags; {NOTHING}", hint=f"write it like {Option(merge='ml=machine learning')}"
        )
    return [(old, new) for old, _, new in parts]


def _who(name: str) -> str:
    who = " ".join(name.split())
    if not who or len(who) > MAX_RAW or not who.isprintable():
        raise InputError(f"{name[:MAX_RAW]!r} is no name of who edits; {NOTHING}", hint=f"give it by {Option('who')}")
    return who


# ---- of all people


def count_tags(store: "Store") -> Document:
    """Return all tags that people have, the most used first, each with how many have it and the first of them."""
    used, examples, people = Counter[str](), dict[str, list[str]](), 0
    with store.read() as tx:
        for name, cell in table.people(tx).cells(tx, (table.USERNAME, "tags"), table.tagged()):
            people += 1
            for tag in set(list_of(cell) or ()):
                used[tag] += 1
                if used[tag] <= EXAMPLES:
                    examples.setdefault(tag, []).append(text_of(name))
        done = by_hand.list_merges(tx, table.TASK)
    often = sorted(used, key=lambda tag: (-used[tag], tag))
    return {
        "people": people,
        "different": len(used),
        "used_once": sum(times == 1 for times in used.values()),
        "tags": [{"tag": tag, "people": used[tag], "examples": examples[tag]} for tag in often],
        "merges": [one._asdict() for one in done],
    }


def merge(store: "Store", pairs: Sequence[tuple[str, str]], who: str, *, at: "datetime") -> Document:
    """Merge tags into others, for all people who have them and for answers to come, all or nothing.

    Returns the `merges`, how many `people` have other tags now, how many rows `kept` theirs, and which merges are in
    force already (`same`).

    Raises:
        InputError: a tag is none, no person has it, or it would go round in a circle; nothing was changed.
    """
    from pipeline.experts.declaration import checked_tag

    with store.write() as tx:
        before = by_hand.rules_in_force(tx, table.TASK)
        rules = {one.old: one.new for one in by_hand.list_merges(tx, table.TASK) if one.undone_at is None}
        wanted = dict.fromkeys((checked_tag(old), checked_tag(new)) for old, new in pairs)
        same = [(old, new) for old, new in wanted if rules.get(old) == new]
        fresh = [pair for pair in wanted if pair not in same]
        used = {tag for (cell,) in table.people(tx).cells(tx, ("tags",), table.tagged()) for tag in list_of(cell) or ()}
        for old, new in fresh:
            if old in rules:
                raise InputError(
                    f"{old!r} goes into {rules[old]!r}; {NOTHING}", hint=f"undo that merge first: {Step('tags')}"
                )
            if old not in used:
                raise InputError(
                    f"no person has the tag {old!r}; {NOTHING}", hint=f"`{Step('tags', find='…')}` finds tags"
                )
            rules[old] = new
        if circles := rules.keys() - by_hand.resolved(rules).keys():
            said = f"{min(circles)!r} would go round in a circle; {NOTHING}"
            raise InputError(said, hint="leave one of these merges out")
        numbers = {by_hand.add_merge(tx, table.TASK, old, new, who=_who(who), at=at) for old, new in fresh}
        return {**_rewritten(tx, before, numbers), "same": same}


def undo_merge(store: "Store", number: int, who: str, *, at: "datetime") -> Document:
    """Undo a merge by its number: people have again what was answered about them; all or nothing.

    Tags that another program wrote stay merged, for what they were is not known.
    """
    with store.write() as tx:
        before = by_hand.rules_in_force(tx, table.TASK)
        if not by_hand.undo_merge(tx, table.TASK, number, who=_who(who), at=at):
            raise InputError(f"no merge {number} is in force; {NOTHING}", hint=f"`{Step('tags')}` lists the merges")
        return {**_rewritten(tx, before, {number}), "same": []}


def _rewritten(tx: "Connection", before: Mapping[str, str], numbers: Collection[int]) -> Document:
    """Write what follows for people from the rules of now, where those of before held.

    Their tags follow from the last answer, where they did before; else from the tags as another program wrote them.
    """
    now, people, due, written = by_hand.rules_in_force(tx, table.TASK), table.people(tx), 0, 0
    for page in pages([str(key) for (key,) in people.cells(tx, ("id",), table.tagged())] if numbers else []):
        given, rows = answers.last_applied(tx, table.TASK, page), people.rows(tx, page, ("id", "tags"), locked=True)
        others = dict[str, str]()
        for key, row in rows.items():
            tags = list_of(row["tags"]) or []
            said = json.loads(given[key][1]).get("tags", []) if key in given else tags
            wanted = by_hand.merged(said if by_hand.merged(said, before) == tags else tags, now)
            if wanted != tags:
                others[key] = table.as_json(wanted)
        due += len(others)
        written += len(table.replace_tags(tx, others, rows=rows))
    if written:
        workspace.touch_revision(tx, table.TASK)
    done = [one._asdict() for one in by_hand.list_merges(tx, table.TASK) if one.number in numbers]
    return {"merges": done, "people": written, "kept": due - written}


# ---- of one person


def read_tags(store: "Store", username: str) -> Document:
    """Return the tags of the person of that username, with the state to edit them from."""
    with store.read() as tx:
        return tags_of_person(tx, table.by_username(tx, username))


def tags_of_person(tx: "Connection", row: Mapping[Any, Any]) -> Document:
    """Return the tags that a row of a person holds, and every edit by hand, oldest first.

    Their `state` is another one with other tags, another score, or an edit more.
    """
    key, tags, score = str(row["id"]), list_of(row["tags"]) or [], number_of(row["findability_score"])
    edits = []
    for one in by_hand.list_edits(tx, table.TASK, key):
        before, after = (json.loads(text)["tags"] for text in (one.before, one.after))
        added, removed = [tag for tag in after if tag not in before], [tag for tag in before if tag not in after]
        edits.append({**one._asdict(), "before": before, "after": after, "added": added, "removed": removed})
    state = hashlib.sha256(json.dumps([key, len(edits), tags, score]).encode()).hexdigest()[:STATE]
    username = text_of(row[table.USERNAME])
    return {"username": username, "tags": tags, "findability_score": score, "state": state, "edits": edits}


def edit_tags(
    store: "Store", username: str, change: TagChange, who: str, *, of_state: str | None = None, at: "datetime"
) -> Document:
    """Change the tags of one person, and the score with them; all or nothing. The `edit` is None where none was needed.

    An edit that is undone, by its number, takes back what it changed, and leaves what others changed since; a person
    who had no tags before it, and has none then, is asked about again.

    Raises:
        ChangedMeanwhileError: they are not in the state that the editor was shown.
        InputError: there is no such person or edit, a tag is none, or not there, or none would be left.
        ConfigurationError: another program's database keeps the row as it is.
    """
    with store.write() as tx:
        key = str(table.by_username(tx, username)["id"])
        row = table.people(tx).rows(tx, [key], table.COLUMNS, locked=True)[key]
        now = _editable(tx, username, row, of_state=of_state)
        tags = _changed(now, change) if change.undo is None else _undone(now, change.undo)
        if not tags and now["tags"] and change.undo is None:
            raise InputError(
                f"{username!r} would be left without tags, and be asked about again; {NOTHING}",
                hint="add or rename one in the same edit",
            )
        editor, wanted = _who(who), by_hand.merged(tags, by_hand.rules_in_force(tx, table.TASK))
        if wanted == now["tags"]:
            return {**now, "edit": None}
        if wanted:
            table.replace_tags(tx, {key: table.as_json(wanted)}, rows={key: row})
            table.refresh_scores(tx, table.experts.c.id == row["id"])
            asks.unpark(tx, table.TASK, ids=[key])
        else:
            table.clear_tags(tx, [key])
        done = table.people(tx).rows(tx, [key], table.COLUMNS)[key]
        if list_of(done["tags"]) != wanted:
            raise ConfigurationError(f"a trigger or a rule of the database keeps {username!r} as it is; {NOTHING}")
        said, before = (json.dumps({"tags": some}, ensure_ascii=False) for some in (tags, now["tags"]))
        by_hand.add_edit(tx, table.TASK, key, said, before=before, who=editor, undoes=change.undo, at=at)
        workspace.touch_revision(tx, table.TASK)
        return {**tags_of_person(tx, done), "edit": len(now["edits"]) + 1}


def _editable(tx: "Connection", username: str, row: Mapping[str, Any], *, of_state: str | None) -> Document:
    if asks.parked_reason(tx, table.TASK, str(row["id"])) == asks.BEING_FORGOTTEN:
        raise InputError(f"{username!r} is being forgotten; {NOTHING}")
    if list_of(row["tags"]) is None:
        raise InputError(f"the tags of {username!r} are text of another program, no JSON list; {NOTHING}")
    now = tags_of_person(tx, row)
    if of_state not in {None, now["state"]}:
        last = now["edits"][-1:]
        by = "".join(f", last by {one['who']!r} (edit {one['number']})" for one in last)
        raise ChangedMeanwhileError(
            f"the tags of {username!r} were changed meanwhile{by}: they are {_named(now['tags'])} now; {NOTHING}",
            hint="look at what is there now, and say again what is to be changed",
            now=now,
        )
    return now


def _named(tags: Sequence[str]) -> str:
    return ", ".join(map(repr, tags)) or "none"


def _changed(now: Document, change: TagChange) -> list[str]:
    """Return tags as a change has them: renamed in their places, new ones at the end, each once."""
    from pipeline.experts.declaration import checked_tag

    gone = [_meant(now, tag) for tag in change.remove]
    renamed = {_meant(now, old): checked_tag(new) for old, new in change.rename}
    if len({*gone, *renamed}) < len(change.remove) + len(change.rename):
        raise InputError(f"a tag of {now['username']!r} is to be changed in two ways at once; {NOTHING}")
    kept = [renamed.get(tag, tag) for tag in now["tags"] if tag not in gone]
    return list(dict.fromkeys([*kept, *map(checked_tag, change.add)]))


def _meant(now: Document, tag: str) -> str:
    """Return the tag of a person that is meant, which another program may have written in its own way."""
    from pipeline.experts.declaration import clean_tag

    for one in (tag, clean_tag(tag)):
        if one in now["tags"]:
            return one
    raise InputError(f"{now['username']!r} has no tag {tag!r}; {NOTHING}", hint=f"the tags are {_named(now['tags'])}")


def _undone(now: Document, number: int) -> list[str]:
    """Return tags without what an edit added, and with what it removed in its place."""
    username, tags = now["username"], now["tags"]
    if not 1 <= number <= len(now["edits"]):
        said = f"`{Step('tags', expert=username)}` lists the edits"
        raise InputError(f"there is no edit {number} of {username!r}; {NOTHING}", hint=said)
    edit = now["edits"][number - 1]
    if tags == edit["after"]:
        return list(edit["before"])
    found = [tag for tag in tags if tag not in edit["added"]]
    for place, tag in enumerate(edit["before"]):
        if tag in edit["removed"] and tag not in found:
            found.insert(place, tag)
    return found
