"""Count the tags of people, merge tags as a person says, and edit those of one person.

Whatever a person said, no model, rollback or ingest touches it. An edit may name the state that it was made from, and
is refused where the tags are not as they were then; to undo one is an edit, too.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ChangedMeanwhileError, ConfigurationError, InputError
from pipeline.core.text import MAX_RAW
from pipeline.experts import table
from pipeline.experts.schema import experts
from pipeline.store import answers, asks, by_hand, workspace
from pipeline.store.by_hand import Merge
from pipeline.store.database import pages
from pipeline.tables.cells import list_of, number_of, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.store.database import Connection, Store

BY_HAND = answers.PERSON  # the extractor that what a person said is attributed to
EXAMPLES = 3  # usernames of a tag
STATE = 16  # hex digits of the hash of a state
NOTHING = "nothing was changed"


class _TagUse(NamedTuple):
    """A tag: how many people have it, and the usernames of the first."""

    tag: str
    people: int
    examples: list[str]


@dataclass(frozen=True)
class TagsReport:
    """How many people have tags, the different tags, the most used first, and what was merged."""

    people: int
    tags: list[_TagUse]
    merges: list[Merge]

    @property
    def used_once(self) -> int:
        """Return how many tags one person alone has."""
        return sum(one.people == 1 for one in self.tags)

    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        return {
            "people": self.people,
            "different": len(self.tags),
            "used_once": self.used_once,
            "tags": [one._asdict() for one in self.tags],
            "merges": [one._asdict() for one in self.merges],
        }


@dataclass
class MergeReport:
    """What was merged or undone: the merges, how many people have other tags now, whose rows did not take them.

    `same` are merges that were asked for and are in force already.
    """

    merges: list[Merge]
    people: int
    kept: int
    same: list[tuple[str, str]] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**asdict(self), "merges": [one._asdict() for one in self.merges]}


class TagChange(NamedTuple):
    """What becomes of tags: some are added, some removed, some renamed (old, new)."""

    add: Sequence[str] = ()
    remove: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()


class _TagEdit(NamedTuple):
    """One edit of a person's tags: its number from 1, by whom and when (aware), and which edit it undoes."""

    number: int
    who: str
    at: "datetime"
    before: list[str]
    after: list[str]
    undoes: int | None

    def document(self) -> dict[str, Any]:
        """Return the edit for programs."""
        removed = [tag for tag in self.before if tag not in self.after]
        added = [tag for tag in self.after if tag not in self.before]
        return {**self._asdict(), "added": added, "removed": removed}


@dataclass(frozen=True)
class PersonTags:
    """The tags of one person in a state that an edit can name, and every edit, oldest first."""

    item_id: str
    username: str
    tags: list[str]
    findability_score: float | None
    edits: list[_TagEdit]

    @property
    def state(self) -> str:
        """Return the state: other tags, another score, or an edit more, are another one."""
        told = json.dumps([self.item_id, len(self.edits), self.tags, self.findability_score])
        return hashlib.sha256(told.encode()).hexdigest()[:STATE]

    def document(self) -> dict[str, Any]:
        """Return the tags for programs."""
        names = ("username", "tags", "findability_score", "state")
        return {**{name: getattr(self, name) for name in names}, "edits": [one.document() for one in self.edits]}


class Edited(NamedTuple):
    """A person's tags after an edit, and its number; None where nothing had to be changed."""

    person: PersonTags
    number: int | None

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**self.person.document(), "edit": self.number}


def count_tags(store: "Store") -> TagsReport:
    """Return all tags that people have."""
    used: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    people = 0
    with store.read() as tx:
        for name, cell in table.people(tx).cells(tx, ("username", "tags"), table.tagged()):
            people += 1
            for tag in set(list_of(cell) or ()):
                used[tag] += 1
                if used[tag] <= EXAMPLES:
                    examples.setdefault(tag, []).append(text_of(name))
        done = by_hand.list_merges(tx, table.TASK)
    often = sorted(used, key=lambda tag: (-used[tag], tag))
    return TagsReport(people, [_TagUse(tag, used[tag], examples[tag]) for tag in often], done)


def merge(store: "Store", pairs: Sequence[tuple[str, str]], who: str, *, at: "datetime") -> MergeReport:
    """Merge tags into others, for all people who have them and for answers to come, all or nothing.

    Raises:
        InputError: a tag is none, no person has it, or it would go round in a circle; nothing was changed.
    """
    from pipeline.experts.declaration import checked_tag

    with store.write() as tx:
        before, rules = by_hand.rules_in_force(tx, table.TASK), _rules(tx)
        wanted = dict.fromkeys((checked_tag(old), checked_tag(new)) for old, new in pairs)
        same = [(old, new) for old, new in wanted if rules.get(old) == new]
        fresh = [pair for pair in wanted if pair not in same]
        _check_merges(tx, rules, fresh)
        numbers = {by_hand.add_merge(tx, table.TASK, old, new, who=_who(who), at=at) for old, new in fresh}
        return _rewritten(tx, before, numbers, same)


def undo_merge(store: "Store", number: int, who: str, *, at: "datetime") -> MergeReport:
    """Undo a merge by its number: people have again what was answered about them; all or nothing.

    Tags that another program wrote stay merged, for what they were is not known.

    Raises:
        InputError: there is no such merge in force; nothing was changed.
    """
    with store.write() as tx:
        before = by_hand.rules_in_force(tx, table.TASK)
        if not by_hand.undo_merge(tx, table.TASK, number, who=_who(who), at=at):
            raise InputError(f"no merge {number} is in force; {NOTHING}", hint="`make tags` lists the merges")
        return _rewritten(tx, before, {number})


def read_tags(store: "Store", username: str) -> PersonTags:
    """Return the tags of the person of that username, with the state to edit them from.

    Raises:
        InputError: there is no such person.
    """
    with store.read() as tx:
        return tags_of_person(tx, table.by_username(tx, username))


def tags_of_person(tx: "Connection", row: Mapping[Any, Any]) -> PersonTags:
    """Return the tags that a row of a person holds, with what was ever edited."""
    key = str(row["id"])
    found = [
        _TagEdit(one.number, one.who, one.at, json.loads(one.before)["tags"], json.loads(one.after)["tags"], one.undoes)
        for one in by_hand.list_edits(tx, table.TASK, key)
    ]
    return PersonTags(
        key, text_of(row["username"]), list_of(row["tags"]) or [], number_of(row["findability_score"]), found
    )


def edit_tags(
    store: "Store", username: str, change: TagChange, who: str, *, of_state: str | None = None, at: "datetime"
) -> Edited:
    """Change the tags of one person, and the score with them; all or nothing.

    Raises:
        ChangedMeanwhileError: they are not in the state that the editor was shown.
        InputError: there is no such person, a tag is none, or not there, or none would be left.
        ConfigurationError: another program's database keeps the row as it is.
    """
    with store.write() as tx:
        row, now = _held(tx, username, of_state)
        tags = _changed(now, change)
        if not tags and now.tags:
            raise InputError(
                f"{username!r} would be left without tags, and be asked about again; {NOTHING}",
                hint="add or rename one in the same edit",
            )
        return _written(tx, row, now, tags, who, at=at)


def undo_edit(
    store: "Store", username: str, number: int, who: str, *, of_state: str | None = None, at: "datetime"
) -> Edited:
    """Take back what one edit changed, by its number, and leave what others changed since; that is an edit, too.

    A person who had no tags before, and has none then, is asked about again.

    Raises:
        ChangedMeanwhileError: as of `edit_tags`.
        InputError: there is no such person, or no edit of that number.
        ConfigurationError: as of `edit_tags`.
    """
    with store.write() as tx:
        row, now = _held(tx, username, of_state)
        if not 1 <= number <= len(now.edits):
            said = f"`make tags EXPERT={username}` lists the edits"
            raise InputError(f"there is no edit {number} of {username!r}; {NOTHING}", hint=said)
        return _written(tx, row, now, _reverted(now.tags, now.edits[number - 1]), who, undoes=number, at=at)


def listed(text: str | None) -> list[str]:
    """Return the tags of `ml; water law`."""
    return [one.strip() for one in (text or "").split(";") if one.strip()]


def typed(text: str) -> list[tuple[str, str]]:
    """Return the merges of `ml=machine learning; ai=artificial intelligence`.

    Raises:
        InputError: it is not written so.
    """
    parts = [one.partition("=") for one in text.split(";") if one.strip()]
    if not parts or not all(old.strip() and new.strip() for old, _, new in parts):
        raise InputError(f"{text!r} names no two tags; {NOTHING}", hint='write it like MERGE="ml=machine learning"')
    return [(old, new) for old, _, new in parts]


def _rules(tx: "Connection") -> dict[str, str]:
    return {one.old: one.new for one in by_hand.list_merges(tx, table.TASK) if one.undone_at is None}


def _check_merges(tx: "Connection", rules: dict[str, str], fresh: Sequence[tuple[str, str]]) -> None:
    """Pass where fresh rules can stand beside those in force."""
    used = {tag for (cell,) in table.people(tx).cells(tx, ("tags",), table.tagged()) for tag in list_of(cell) or ()}
    for old, new in fresh:
        if old in rules:
            raise InputError(f"{old!r} goes into {rules[old]!r}; {NOTHING}", hint="undo that merge first: make tags")
        if old not in used:
            raise InputError(f"no person has the tag {old!r}; {NOTHING}", hint="`make tags FIND=…` finds tags")
        rules[old] = new
    circles = rules.keys() - by_hand.resolved(rules).keys()
    if circles:
        raise InputError(
            f"{min(circles)!r} would go round in a circle; {NOTHING}", hint="leave one of these merges out"
        )


def _rewritten(
    tx: "Connection", before: Mapping[str, str], numbers: Collection[int], same: Sequence[tuple[str, str]] = ()
) -> MergeReport:
    """Write what follows for people from the rules of now, where those of before held."""
    changed = _changes(tx, before, by_hand.rules_in_force(tx, table.TASK)) if numbers else {}
    written: set[str] = set()
    for page in pages(list(changed)):
        rows = table.by_ids(tx, page, ("id", "tags"), locked=True)
        due = {key: changed[key][1] for key, row in rows.items() if list_of(row["tags"]) == changed[key][0]}
        written |= table.replace_tags(tx, {key: table.as_json(tags) for key, tags in due.items()}, rows=rows)
    if written:
        workspace.touch_revision(tx, table.TASK)
    done = [one for one in by_hand.list_merges(tx, table.TASK) if one.number in numbers]
    return MergeReport(done, len(written), len(changed) - len(written), list(same))


def _changes(
    tx: "Connection", before: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, tuple[list[str], list[str]]]:
    """Return the people who have other tags under the rules of now, by id: their tags, and those.

    They follow from the last answer, where the tags do; else from the tags as another program wrote them.
    """
    found = {}
    cells = table.people(tx).cells(tx, ("id", "tags"), table.tagged())
    for page in pages([(str(key), list_of(cell) or []) for key, cell in cells]):
        given = answers.last_applied(tx, table.TASK, [key for key, _ in page])
        for key, tags in page:
            said = json.loads(given[key][1]).get("tags", []) if key in given else tags
            wanted = by_hand.merged(said if by_hand.merged(said, before) == tags else tags, now)
            if wanted != tags:
                found[key] = tags, wanted
    return found


def _held(tx: "Connection", username: str, of_state: str | None) -> tuple[Mapping[Any, Any], PersonTags]:
    """Return a person's row, which stays as it is until the transaction ends, and its tags."""
    key = str(table.by_username(tx, username)["id"])
    row = table.by_ids(tx, [key], locked=True)[key]
    if asks.parked_reason(tx, table.TASK, key) == asks.BEING_FORGOTTEN:
        raise InputError(f"{username!r} is being forgotten; {NOTHING}")
    if list_of(row["tags"]) is None:
        raise InputError(f"the tags of {username!r} are text of another program, no JSON list; {NOTHING}")
    now = tags_of_person(tx, row)
    if of_state not in {None, now.state}:
        by = f", last by {now.edits[-1].who!r} (edit {now.edits[-1].number})" if now.edits else ""
        raise ChangedMeanwhileError(
            f"the tags of {username!r} were changed meanwhile{by}: they are {_named(now.tags)} now; {NOTHING}",
            hint="look at what is there now, and say again what is to be changed",
            now=now.document(),
        )
    return row, now


def _named(tags: Sequence[str]) -> str:
    return ", ".join(map(repr, tags)) or "none"


def _changed(now: PersonTags, change: TagChange) -> list[str]:
    """Return tags as a change has them: renamed in their places, new ones at the end, each once."""
    from pipeline.experts.declaration import checked_tag

    gone = [_meant(now, tag) for tag in change.remove]
    renamed = {_meant(now, old): checked_tag(new) for old, new in change.rename}
    if len({*gone, *renamed}) < len(change.remove) + len(change.rename):
        raise InputError(f"a tag of {now.username!r} is to be changed in two ways at once; {NOTHING}")
    kept = [renamed.get(tag, tag) for tag in now.tags if tag not in gone]
    return list(dict.fromkeys([*kept, *map(checked_tag, change.add)]))


def _meant(now: PersonTags, tag: str) -> str:
    """Return the tag of a person that is meant, which another program may have written in its own way."""
    from pipeline.experts.declaration import clean_tag

    for one in (tag, clean_tag(tag)):
        if one in now.tags:
            return one
    raise InputError(f"{now.username!r} has no tag {tag!r}; {NOTHING}", hint=f"the tags are {_named(now.tags)}")


def _reverted(tags: Sequence[str], edit: _TagEdit) -> list[str]:
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
    editor: str,
    *,
    undoes: int | None = None,
    at: "datetime",
) -> Edited:
    """Write tags as the merges in force have them, with the score, and keep them as a person's answer."""
    who, key = _who(editor), now.item_id
    wanted = by_hand.merged(tags, by_hand.rules_in_force(tx, table.TASK))
    if wanted == now.tags:
        return Edited(now, None)
    if wanted:
        table.replace_tags(tx, {key: table.as_json(wanted)}, rows={key: row})
        table.refresh_scores(tx, experts.c.id == row["id"])
        asks.unpark(tx, table.TASK, ids=[key])
    else:
        table.clear_tags(tx, [key])
    done = table.by_ids(tx, [key])[key]
    if list_of(done["tags"]) != wanted:
        raise ConfigurationError(f"a trigger or a rule of the database keeps {now.username!r} as it is; {NOTHING}")
    said, before = json.dumps({"tags": tags}, ensure_ascii=False), json.dumps({"tags": now.tags}, ensure_ascii=False)
    by_hand.add_edit(tx, table.TASK, key, said, before=before, who=who, undoes=undoes, at=at)
    workspace.touch_revision(tx, table.TASK)
    return Edited(tags_of_person(tx, done), len(now.edits) + 1)


def _who(name: str) -> str:
    """Return the name of an editor on one line."""
    who = " ".join(name.split())
    if not who or len(who) > MAX_RAW or not who.isprintable():
        raise InputError(f"{name[:MAX_RAW]!r} is no name of who edits; {NOTHING}", hint="give it by WHO=")
    return who
