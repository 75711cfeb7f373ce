"""List the tags of people, those that may say the same, and merge them as a person says; any merge can be undone."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.files import why_not_readable
from pipeline.experts import merging, table
from pipeline.experts.answer import checked_tag
from pipeline.experts.near_tags import COMPARED, NearTags, near_tags
from pipeline.store import merges
from pipeline.store.merges import Merge
from pipeline.tables.cells import list_of, text_of

if TYPE_CHECKING:
    from datetime import datetime

    from pipeline.store.database import Connection, Store

EXAMPLES = 3  # usernames of a tag
HEADER = ("merge", "into", "people", "why")
NOTHING = "nothing was changed"


class TagUse(NamedTuple):
    """A tag: how many people have it, and the usernames of the first."""

    tag: str
    people: int
    examples: list[str]


@dataclass(frozen=True)
class TagsReport:
    """How many people have tags, the different tags, the most used first, what may be merged, and what was."""

    people: int
    tags: list[TagUse]
    near: list[NearTags]
    merges: list[Merge]

    @property
    def used_once(self) -> int:
        """Return how many tags one person alone has."""
        return sum(one.people == 1 for one in self.tags)


class Merging(NamedTuple):
    """Who merges or undoes; where it is `dry`, nothing is written, and only told how many people it concerns."""

    who: str
    dry: bool = False


@dataclass
class MergeReport:
    """What was merged or undone: the merges, how many people have other tags now, whose rows did not take them.

    `same` are merges that were asked for and are in force already.
    """

    merges: list[Merge] = field(default_factory=list)
    people: int = 0
    kept: int = 0
    same: list[tuple[str, str]] = field(default_factory=list)


def run(store: "Store", *, alike: Callable[[Sequence[str]], Iterable[tuple[str, str, float]]] | None) -> TagsReport:
    """Return all tags that people have, and those that may say the same.

    `alike` yields the pairs that mean the same of the most used tags; without it only their form tells.
    """
    used: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    with store.read() as tx:
        people = 0
        for name, cell in table.people(tx).cells(tx, ("username", "tags"), table.tagged()):
            people += 1
            for tag in set(list_of(cell) or ()):
                used[tag] += 1
                if used[tag] <= EXAMPLES:
                    examples.setdefault(tag, []).append(text_of(name))
        done = merges.list_merges(tx, table.TASK)
    often = sorted(used, key=lambda tag: (-used[tag], tag))
    near = near_tags(used, [] if alike is None else alike(often[:COMPARED]))
    return TagsReport(people, [TagUse(tag, used[tag], examples[tag]) for tag in often], near, done)


def merge(store: "Store", pairs: Sequence[tuple[str, str]], how: Merging, *, at: "datetime") -> MergeReport:
    """Merge tags into others, for all people who have them and for answers to come, all or nothing.

    Raises:
        InputError: a tag is none, no person has it, or it would go round in a circle; nothing was changed.
    """
    with store.write() as tx:
        merges.hold_merges(tx)
        rules = _rules(tx)
        wanted = dict.fromkeys((checked_tag(old), checked_tag(new)) for old, new in pairs)
        same = [(old, new) for old, new in wanted if rules.get(old) == new]
        fresh = [pair for pair in wanted if pair not in same]
        rules = _with(tx, rules, fresh)
        if how.dry:
            return MergeReport(people=_count_changes(tx, rules), same=same)
        numbers = {merges.add_merge(tx, table.TASK, old, new, who=how.who, at=at) for old, new in fresh}
        return _rewritten(tx, numbers, same)


def undo(store: "Store", number: int, how: Merging, *, at: "datetime") -> MergeReport:
    """Undo a merge by its number: people have the tags again that they had, but for other merges; all or nothing.

    Raises:
        InputError: there is no such merge in force; nothing was changed.
    """
    with store.write() as tx:
        merges.hold_merges(tx)
        if how.dry:
            return MergeReport(people=_count_changes(tx, _rules(tx, without=number)))
        if not merges.undo_merge(tx, table.TASK, number, who=how.who, at=at):
            raise InputError(f"no merge {number} is in force; {NOTHING}", hint="`make tags` lists the merges")
        return _rewritten(tx, {number})


def document(report: TagsReport, *, most: int | None = None) -> dict[str, Any]:
    """Return the report for programs, with the `most` used tags."""
    return {
        "people": report.people,
        "different": len(report.tags),
        "used_once": report.used_once,
        "tags": [one._asdict() for one in report.tags[:most]],
        "near": [one._asdict() for one in report.near],
        "merges": [merge_document(one) for one in report.merges],
    }


def merge_document(one: Merge) -> dict[str, Any]:
    """Return a merge for programs."""
    times = {name: None if (at := getattr(one, name)) is None else at.isoformat() for name in ("at", "undone_at")}
    return {**one._asdict(), **times}


def merged_document(report: MergeReport) -> dict[str, Any]:
    """Return for programs what was merged or undone."""
    return {**asdict(report), "merges": [merge_document(one) for one in report.merges]}


def plan_text(near: Sequence[NearTags]) -> str:
    """Return a plan that a person edits: a line a merge, its cells separated by tabs."""
    lines = ["# delete what is not to be merged, then: make tags MERGE=this-file", "\t".join(HEADER)]
    for one in near:
        why = one.why if one.similarity is None else f"{one.why} {one.similarity:.2f}"
        lines.append("\t".join((one.old, one.new, f"{one.people[0]:,} and {one.people[1]:,}", why)))
    return "\n".join([*lines, ""])


def asked_merges(text: str) -> list[tuple[str, str]]:
    """Return the merges that a text means: they themselves where there is a `=` in it, else those of a plan's file.

    Raises:
        InputError: it is neither, or not written as it should be.
    """
    if "=" in text:
        return typed(text)
    path = Path(text)
    if why := why_not_readable(path):
        raise InputError(f"{path} {why}; {NOTHING}", hint='MERGE="ml=machine learning", or a plan by TO=')
    return planned(path.read_text(encoding="utf-8", errors="replace"))


def planned(text: str) -> list[tuple[str, str]]:
    """Return the merges of a plan.

    Raises:
        InputError: a line has no two tags; the message names it.
    """
    pairs = []
    for number, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not line.strip() or line.startswith("#") or tuple(cells[:2]) == HEADER[:2]:
            continue
        if len(cells) < 2 or not all(cells[:2]):  # noqa: PLR2004 - from and to
            raise InputError(
                f"line {number} of the plan has no two tags with a tab between; {NOTHING}",
                hint="begin it with # to pass it over",
            )
        pairs.append((cells[0], cells[1]))
    return pairs


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


def _rules(tx: "Connection", *, without: int | None = None) -> dict[str, str]:
    """Return what goes into what at once, by the merges in force, or those in force but one."""
    done = merges.list_merges(tx, table.TASK)
    return {one.old: one.new for one in done if one.undone_at is None and one.number != without}


def _with(tx: "Connection", rules: Mapping[str, str], fresh: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return rules with fresh ones beside them.

    Raises:
        InputError: no person has a tag, it goes elsewhere already, or round in a circle.
    """
    rules = dict(rules)
    used = {tag for (cell,) in table.people(tx).cells(tx, ("tags",), table.tagged()) for tag in list_of(cell) or ()}
    for old, new in fresh:
        if old in rules:
            raise InputError(f"{old!r} goes into {rules[old]!r}; {NOTHING}", hint="undo that merge first: make tags")
        if old not in used:
            raise InputError(f"no person has the tag {old!r}; {NOTHING}", hint="`make tags FIND=…` finds tags")
        rules[old] = new
    circles = rules.keys() - merges.resolved(rules).keys()
    if circles:
        raise InputError(
            f"{min(circles)!r} would go round in a circle; {NOTHING}", hint="leave one of these merges out"
        )
    return rules


def _count_changes(tx: "Connection", rules: Mapping[str, str]) -> int:
    return sum(1 for _ in merging.changes(tx, merges.resolved(rules)))


def _rewritten(tx: "Connection", numbers: Collection[int], same: Sequence[tuple[str, str]] = ()) -> MergeReport:
    """Write what follows for people from what is in force now."""
    people, kept = merging.rewrite(tx, merges.resolved(_rules(tx))) if numbers else (0, 0)
    done = [one for one in merges.list_merges(tx, table.TASK) if one.number in numbers]
    return MergeReport(done, people, kept, list(same))
