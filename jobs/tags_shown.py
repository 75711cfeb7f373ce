"""Print the tags of people, what may be merged, and what was."""

from pathlib import Path

from jobs.output import Terminal, plural, print_json, print_line, print_table
from pipeline.core import files
from pipeline.experts import tags
from pipeline.experts.edits import TagsSet
from pipeline.experts.tags import MergeReport, TagsReport

FEW = 10  # merges, and tags that may say the same, that are shown


def show_tags(report: TagsReport, *, find: str, most: int, to: Path | None, as_json: bool) -> None:
    """Print what there is, or write the plan."""
    if to is not None:
        files.seal_bytes(to, tags.plan_text(report.near).encode())
        Terminal().say(f"{plural(len(report.near), 'merge')} proposed in {to}: edit it, then `make tags MERGE={to}`")
    found = [one for one in report.tags if find.lower() in one.tag.lower()]
    if as_json:
        print_json({**tags.document(report), "tags": [one._asdict() for one in found]})
        return
    different, once = plural(len(report.tags), "different tag"), plural(report.used_once, "tag")
    print_line(f"{plural(report.people, 'person', 'people')} with {different}; {once} of one person alone")
    rows = [(one.tag, f"{one.people:,}", ", ".join(one.examples)) for one in found[:most]]
    print_table(("tag", "people", "such as"), rows)
    if report.near and to is None:
        more = f"; all {len(report.near):,}: make tags TO=plan.txt" if len(report.near) > FEW else ""
        print_line(f"These may say the same{more}")
        cells = [(one.old, one.new, f"{one.people[0]:,} and {one.people[1]:,}", one.why) for one in report.near[:FEW]]
        print_table(tags.HEADER, cells)
    if report.merges:
        print_table(("merge", "from", "into", "who", "when", "undone"), [one.cells() for one in report.merges[-FEW:]])


def tell_set(done: TagsSet) -> None:
    """Print of how many people a file set the tags."""
    verb, then = ("would be", "; nothing was changed") if done.dry else ("were", ". Next: make index")
    people = plural(done.changed, "person", "people")
    print_line(f"the tags of {people} {verb} set by hand, of {done.unchanged:,} they are as the file says{then}")


def tell_merged(done: MergeReport, *, dry: bool) -> None:
    """Print what was merged or undone."""
    for old, new in done.same:
        Terminal().say(f"{old!r} goes into {new!r} already")
    if dry:
        print_line(f"{plural(done.people, 'person', 'people')} would have other tags; nothing was changed")
        return
    for one in done.merges:
        print_line(f"merge {one.number}: {one.old!r} into {one.new!r}" + (", undone" if one.undone_at else ""))
    if done.kept:
        Terminal().warn(f"{plural(done.kept, 'row')} did not take other tags: a trigger or a rule of the database")
    print_line(f"{plural(done.people, 'person', 'people')} with other tags now. Next: make index")
