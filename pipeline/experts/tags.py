"""Count the tags of people, and merge tags as a person says; what is returned is documents.

Those of one person are corrected as any answer is, see `pipeline.engine.corrections`.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.engine import corrections
from pipeline.engine.corrections import NOTHING
from pipeline.experts import table
from pipeline.store import answers, edits, workspace
from pipeline.store.database import Connection, Store, pages
from pipeline.tables.cells import compact_json, list_of, text_of

EXAMPLES = 3  # usernames of a tag

Document = dict[str, Any]


def typed(text: str) -> list[tuple[str, str]]:
    """Return the merges of `ml=machine learning; ai=artificial intelligence`."""
    parts = [one.partition("=") for one in text.split(";") if one.strip()]
    if not parts or not all(old.strip() and new.strip() for old, _, new in parts):
        raise InputError(
            f"{text!r} names no two tags; {NOTHING}",
            hint=f"write it like {OptionHint(merge='ml=machine learning')}",
        )
    return [(old, new) for old, _, new in parts]


def edited(name: str, now: Sequence[str], add: str, remove: str) -> list[str]:
    """Return the tags of a person without some, `ml; law`, and with others, new ones at the end, each once.

    Raises:
        InputError: the person has none of that name to remove.
    """
    from pipeline.experts.declaration import checked_tag, clean_tag

    gone, more = (
        [one for part in text.split(";") if (one := part.strip())] for text in (remove, add)
    )
    for tag in gone:
        if tag not in now and clean_tag(tag) not in now:
            there = ", ".join(map(repr, now)) or "none"
            raise InputError(
                f"{name!r} has no tag {tag!r}; {NOTHING}", hint=f"the tags are {there}"
            )
    left = [tag for tag in now if tag not in {*gone, *map(clean_tag, gone)}]
    return list(dict.fromkeys([*left, *map(checked_tag, more)]))


def count_tags(store: Store) -> Document:
    """Return all tags that people have, the most used first, each with how many have it and the first of them."""
    used = Counter[str]()
    examples = dict[str, list[str]]()
    people = 0
    with store.read() as tx:
        for name, cell in table.people(tx).cells(tx, (table.USERNAME, "tags"), table.tagged):
            people += 1
            for tag in set(list_of(cell) or ()):
                used[tag] += 1
                if used[tag] <= EXAMPLES:
                    examples.setdefault(tag, []).append(text_of(name))
        done = edits.list_merges(tx, table.TASK)
    often = sorted(used, key=lambda tag: (-used[tag], tag))
    return {
        "people": people,
        "different": len(used),
        "used_once": sum(times == 1 for times in used.values()),
        "tags": [{"tag": tag, "people": used[tag], "examples": examples[tag]} for tag in often],
        "merges": [one._asdict() for one in done],
    }


def merge(store: Store, pairs: Sequence[tuple[str, str]], who: str, *, at: datetime) -> Document:
    """Merge tags into others, for all people who have them and for answers to come, all or nothing.

    Returns the `merges`, how many `people` have other tags now, how many rows `kept` theirs, and which merges are in
    force already (`same`).

    InputError where a tag is none, no person has it, or it would go round in a circle; nothing was changed.
    """
    from pipeline.experts.declaration import checked_tag

    with store.write() as tx:
        before = edits.rules_in_force(tx, table.TASK)
        rules = {
            one.old: one.new for one in edits.list_merges(tx, table.TASK) if one.undone_at is None
        }
        wanted = dict.fromkeys((checked_tag(old), checked_tag(new)) for old, new in pairs)
        same = [(old, new) for old, new in wanted if rules.get(old) == new]
        fresh = [pair for pair in wanted if pair not in same]
        used = {
            tag
            for (cell,) in table.people(tx).cells(tx, ("tags",), table.tagged)
            for tag in list_of(cell) or ()
        }
        for old, new in fresh:
            if old in rules:
                raise InputError(
                    f"{old!r} goes into {rules[old]!r}; {NOTHING}",
                    hint=f"undo that merge first: {CommandHint('tags')}",
                )
            if old not in used:
                raise InputError(
                    f"no person has the tag {old!r}; {NOTHING}",
                    hint=f"`{CommandHint('tags', find='…')}` finds tags",
                )
            rules[old] = new
        if circles := rules.keys() - edits.resolved(rules).keys():
            said = f"{min(circles)!r} would go round in a circle; {NOTHING}"
            raise InputError(said, hint="leave one of these merges out")
        editor = corrections.name_of(who)
        numbers = {
            edits.add_merge(tx, table.TASK, old, new, who=editor, at=at) for old, new in fresh
        }
        return {**_rewritten(tx, before, numbers), "same": same}


def undo_merge(store: Store, number: int, who: str, *, at: datetime) -> Document:
    """Undo a merge by its number: people have again what was answered about them; all or nothing.

    Tags that another program wrote stay merged, for what they were is not known.
    """
    with store.write() as tx:
        before = edits.rules_in_force(tx, table.TASK)
        if not edits.undo_merge(tx, table.TASK, number, who=corrections.name_of(who), at=at):
            raise InputError(
                f"no merge {number} is in force; {NOTHING}",
                hint=f"`{CommandHint('tags')}` lists the merges",
            )
        return {**_rewritten(tx, before, {number}), "same": []}


def _rewritten(tx: Connection, before: Mapping[str, str], numbers: Collection[int]) -> Document:
    """Write what follows for people from the rules of now, where those of before held.

    Their tags follow from the last answer, where they did before; else from the tags as another program wrote them.
    """
    now = edits.rules_in_force(tx, table.TASK)
    people = table.people(tx)
    due = 0
    written = 0
    for page in pages(
        [str(key) for (key,) in people.cells(tx, ("id",), table.tagged)] if numbers else []
    ):
        given = answers.last_applied(tx, table.TASK, page)
        rows = people.rows(tx, page, table.WRITTEN, locked=True)
        others = dict[str, str | None]()
        for key, row in rows.items():
            tags = list_of(row["tags"]) or []
            said = json.loads(given[key][1]).get("tags", []) if key in given else tags
            wanted = edits.merged(said if edits.merged(said, before) == tags else tags, now)
            if wanted != tags:
                others[key] = compact_json(wanted)
        due += len(others)
        written += len(table.write_tags(tx, others, rows=rows, over=True))
    if written:
        workspace.touch_revision(tx, table.TASK)
    done = [one._asdict() for one in edits.list_merges(tx, table.TASK) if one.number in numbers]
    return {"merges": done, "people": written, "kept": due - written}
