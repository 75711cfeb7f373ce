"""Look at items: list and count them, their tags, where everything stands; write them to a file."""

import contextlib
import getpass
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import click

from jobs.command import (
    COUNT,
    LARGEST,
    NAME,
    NUMBER,
    PATH,
    VERSION,
    Count,
    MinScore,
    Report,
    Tag,
    Taken,
    Version,
    command,
    open_workspace,
    read_workspace,
    wants_json,
)
from jobs.output import Terminal, plural, print_fields, print_line, print_table, raw_writer, usd
from jobs.show import edit_cells
from jobs.variables import as_typed, is_by_make, read_settings
from pipeline.core.errors import InputError
from pipeline.core.listed import ItemCounts, ItemFilter, ItemsPage
from pipeline.core.settings import BUILT_IN
from pipeline.core.states import fate_of
from pipeline.engine.task import ExportWanted
from pipeline.experts import tags
from pipeline.experts.tags import Document, TagChange
from pipeline.ops import export, items, status

SHOWN = 60  # characters of a text on a terminal
SHORTER = {"job_title": "title", "findability_score": "score"}  # as in the table of a search
PAGE = 20
FEW = 10  # merges that are shown
DUE = 5  # people that are shown; --json has more
WORDS = {"no_bio": "without a bio (cannot be searched)", "with_concepts": "with concepts"}  # programs read the keys

Find = Annotated[tuple[str, ...], Taken(None, NAME)]
State = Annotated[str | None, Taken("Only those in this state, such as untagged or parked.")]
MaxScore = Annotated[float | None, Taken("Only with this score or a lower one.", NUMBER)]
Where = Annotated[
    str, Taken("Only those of which it holds: stars < 3 AND NOT verdict = 'praise'.", metavar="CONDITION")
]
Sort = Annotated[str | None, Taken("By this column; -COLUMN has the largest first.")]
Fields = Annotated[str, Taken("Show these columns.", metavar="NAME,…")]
After = Annotated[str | None, Taken("Go on behind this id, as the page before says.", NAME)]
PageLimit = Annotated[int, Taken("Show at most this many.", COUNT)]
Counts = Annotated[bool, Taken("Count them by state, tag and version instead.")]
To = Annotated[Path | None, Taken("Write them all to this file, as CSV.", PATH)]
Overwrite = Annotated[bool, Taken("Replace the file TO, if it is there.")]
Of = Annotated[str | None, Taken("Only what one version answered.", VERSION)]


@command("items")
def main(
    find: Find = (),
    *,
    state: State = None,
    tag: Tag = "",
    extractor: Of = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    where: Where = "",
    sort: Sort = None,
    fields: Fields = "",
    after: After = None,
    limit: PageLimit = PAGE,
    counts: Counts = False,
    to: To = None,
    overwrite: Overwrite = False,
) -> Report:
    """List items that hold all words of FIND, or all items, whatever their state; those of TASK=.

    People are looked for in username, name, title, company and tags, passages in id, source and text, rows of your own
    task in all columns and answers, in any case; --where names these. A page ends by saying how to get the next one.
    With --to all of them are written to a CSV file; with --counts they are counted, by tags and versions up to 100,000
    rows.
    """
    which = ItemFilter(find, state, _names(tag), extractor, min_score, max_score, where)
    told: Any = {"sort": sort, "fields": _names(fields) or None}
    with read_workspace() as ws:
        found, word = items.run(ws), ws.task.words.one
        if to is not None:
            done = found.export(to, which, overwrite=overwrite, **told)
            return Report(asdict(done), f"{plural(done.count, done.word)} written to {done.path}")
        if counts:
            counted = found.counts(which)
            return Report(counted.document, lambda: _show_counts(counted))
        page = found.page(which, limit=limit, after=after, **told)
    return Report(page.document, (lambda: _show_page(page)) if page.items else f"no {word} was found")


def _show_page(page: ItemsPage) -> None:
    headers = [SHORTER.get(name, name) for name in (*page.names, "state")]
    print_table(headers, [[*map(_cell, one.values.values()), one.state] for one in page.items])
    if page.after is not None:
        step = f"AFTER={page.after}" if is_by_make() else f"--after {page.after}"
        Terminal().say(f"there are more: the same with {step}")


def _show_counts(found: ItemCounts) -> None:
    rows = [("all", "", f"{found.total:,}")]
    for name in ("states", "tags", "versions"):
        rows += [(name.removesuffix("s"), value, f"{count:,}") for value, count in (getattr(found, name) or {}).items()]
    print_table(("by", "what", "items"), rows)


def _cell(value: object) -> str:
    """Return a value as a cell of the table; on a terminal a long text is cut."""
    text = ", ".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return f"{text[:SHOWN]}…" if sys.stdout.isatty() and len(text) > SHOWN else text


def _names(text: str) -> list[str]:
    return [name for one in text.split(",") if (name := one.strip())]


@command("export")
def export_all(
    to: Annotated[Path, Taken(None, click.Path(path_type=Path, allow_dash=True))],
    *,
    format_: Annotated[
        str | None,
        Taken(
            "The format, if the ending of TO does not say it.",
            click.Choice(["csv", "json", "jsonl", "xlsx", "parquet"]),
        ),
    ] = None,
    best: Annotated[bool, Taken("Only the concepts of best-concepts.")] = False,
    extractor: Version = None,
    rows: Annotated[
        str | None, Taken("A row for each member of this list; LIST.INNER is one within.", metavar="FIELD")
    ] = None,
    cost: Annotated[bool, Taken("What each answer took: tokens and USD.")] = False,
    overwrite: Overwrite = False,
) -> Report | None:
    """Write all experts with tags and scores to TO (.csv, .xlsx, .json, .jsonl, .parquet; `-` is standard output).

    What their files said beside comes back behind that. With TASK=passages: the concepts with their evidence (.jsonl,
    .parquet). With a task of your own: every row as its source has it, with its answer, or with --rows a row for each
    member of a list that the answers hold. They are of one version: the one that --extractor or VERSION= names, else
    the preferred one; how many rows have which is said.

    Cells that a spreadsheet would run as formulas are written as text. The file is written completely or not at all;
    one that is there is replaced with --overwrite alone. With --json, standard output gets experts as one JSON list.
    """
    path = None if str(to) == "-" else to
    if path is None and wants_json():
        if format_ not in (None, "json"):
            said = f"JSON=1 is for one JSON document, and {format_} is none; nothing was written"
            raise InputError(said, hint="leave out either")
        format_ = "json"
    wanted = ExportWanted(best, extractor or None, rows or None, cost)
    with read_workspace() as ws:
        done = export.run(ws, path, format_=format_, wanted=wanted, overwrite=overwrite, write=raw_writer())
    if path is None:
        Terminal().say(f"{plural(done.count, done.word)} written")
        return None
    return Report(asdict(done), f"{plural(done.count, done.word)} written to {done.path}")


@command("tags")
def edit_tags(
    *,
    k: Annotated[int, Taken("How many to show.", COUNT, "-k --most")] = 20,
    find: Annotated[str, Taken("Only tags with this in them.")] = "",
    merge: Annotated[str | None, Taken('"old=new; old=new".', NAME)] = None,
    undo: Annotated[int | None, Taken("The merge or edit to undo.", Count(1, LARGEST))] = None,
    who: Annotated[str | None, Taken("Who says so; else the user of the system.", NAME)] = None,
    person: Annotated[str | None, Taken("The tags of this person alone.", NAME, env="EXPERT")] = None,
    add: Annotated[str | None, Taken('Tags that the person gets: "ml; law".', NAME, metavar="TAGS")] = None,
    remove: Annotated[str | None, Taken("Tags that the person loses.", NAME, metavar="TAGS")] = None,
    rename: Annotated[str | None, Taken('Of the person: "old=new; …".', NAME, metavar="TAGS")] = None,
) -> Report:
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
    if merge is None and not any(change):
        with read_workspace(task="experts") as ws:
            return (
                _tags_of(tags.read_tags(ws.store, person)) if person else _all_tags(tags.count_tags(ws.store), find, k)
            )
    with open_workspace(task="experts") as ws:
        store, editor, at = ws.store, who or _this_person(), ws.now()
        if person is not None:
            done = tags.edit_tags(store, person, change, editor, at=at)
        elif merge is not None:
            done = tags.merge(store, tags.typed(merge), editor, at=at)
        else:
            done = tags.undo_merge(store, undo or 0, editor, at=at)
    return Report(done, (lambda: _show_merged(done)) if person is None else (lambda: _show_edited(done)))


def _this_person() -> str:
    """Return the name of the user who runs this process, as the system has it."""
    with contextlib.suppress(Exception):  # a system without accounts raises what it likes
        return getpass.getuser()
    return "unknown"


def _all_tags(report: Document, find: str, most: int) -> Report:
    found = [one for one in report["tags"] if find.lower() in one["tag"].lower()]

    def show() -> None:
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

    return Report({**report, "tags": found}, show)


def _show_merged(done: Document) -> None:
    for old, new in done["same"]:
        Terminal().say(f"{old!r} goes into {new!r} already")
    for one in done["merges"]:
        undone = ", undone" if one["undone_at"] else ""
        print_line(f"merge {one['number']}: {one['old']!r} into {one['new']!r}{undone}")
    if done["kept"]:
        Terminal().warn(f"{plural(done['kept'], 'row')} did not take other tags: a trigger or a rule of the database")
    print_line(f"{plural(done['people'], 'person', 'people')} with other tags now. Next: make index")


def _tags_of(found: Document) -> Report:
    def show() -> None:
        score = "-" if found["findability_score"] is None else f"{found['findability_score']:g}"
        print_fields((("username", found["username"]), ("tags", ", ".join(found["tags"]) or "-"), ("score", score)))
        if found["edits"]:
            print_table(("edit", "who", "when", "what"), [edit_cells(one) for one in found["edits"]])

    return Report(found, show)


def _show_edited(done: Document) -> None:
    if done["edit"] is None:
        print_line(f"{done['username']}: there is nothing to change")
        return
    print_line(f"edit {done['edit']} of {done['username']}: {', '.join(done['tags']) or 'no tags'}")
    print_line(f"score {done['findability_score']:g}. Next: make index")


@command("score")
def score_again() -> Report:
    """Recompute all findability scores; only changed ones are written.

    With a task of your own, the rows of its tables of answers that are not as they were answered.
    """
    is_own = read_settings().task not in BUILT_IN
    with open_workspace(task=None if is_own else "experts") as ws, ws.store.write() as tx:
        changed = ws.task.refresh_derived(tx)
        total = next(iter(ws.task.table(tx).counts(tx).values()))
    line = f"{plural(total, 'row' if is_own else 'score')} checked, {changed:,} changed"
    return Report({"total": total, "changed": changed}, line)


@command("status")
def show_status(
    *, exact: Annotated[bool, Taken("Compare the index with all rows, whatever was changed.")] = False
) -> Report:
    """Show the state of the workspace, and the next command.

    The index is held against what commands changed; what other programs changed is seen by --exact, and by `index`
    and `run`. A large table of another program is counted now and then, with the time shown.
    """
    with read_workspace() as ws:
        report = status.run(ws, exact=exact)
    return Report(report.document, lambda: _show_status(report))


def _show_status(report: status.StatusReport) -> None:
    document: dict[str, Any] = report.document
    index = document["index"]
    bound = "" if document["bound"] else " (not bound yet)"
    print_line(f"workspace  {document['workspace']}, backend {document['backend']}{bound}, model {document['model']}")
    print_line(f"{report.subject:<11}{_counted(document[report.subject], document.get('stale'))}")
    for reason, count in document["parked"].items():
        print_line(f"           {fate_of(reason)} {count:,}: {reason}")
    batches = ", ".join(f"{count} {state}" for state, count in document["batches"].items() if count)
    print_line(f"batches    {batches or 'none'}")
    for one in report.open_batches:
        print_line(f"           batch {one.number} {one.state}, {one.requests:,} rows, {one.remote_word or '-'}")
    for one in document.get("twins", ()):
        how = "cancelled or over" if one["is_over"] else f"not cancelled yet: {as_typed('`make batch-poll`')} does"
        print_line(f"           {one['remote_name']} was a second remote batch of batch {one['batch']}, {how}")
    if index is not None:
        print_line(f"index      {_index(index, report.entry)}")
    print_line(f"spent      {_spent(**document['spent'])}")
    for one in [one for one in document["due"] if one["outcome"] is None][-DUE:]:
        print_line(f"due        {one['name']} since {one['since'][:16]}: {one['reason']}")
    _show_pilot(document)
    if others := document["others"]:
        print_line(f"others     {', '.join(others)}: {as_typed(f'`make status TASK={others[0]}`')}")
    print_line(f"next       {as_typed(document['next']) or 'nothing to do'}")


def _counted(counts: dict[str, int], stale: dict[str, Any] | None) -> str:
    (_, total), *parts = counts.items()
    words = WORDS | {"open": "without concepts"} if "with_concepts" in counts else WORDS
    kinds = ", ".join(f"{count:,} {words.get(name, name)}" for name, count in parts)
    return f"{total:,}: {kinds}" + (f"; {stale['count']:,} changed since" if stale and stale["count"] else "")


def _index(index: dict[str, Any], word: str) -> str:
    """Return what the index has; a `word` names its entries."""
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["count"]:
        return "none"
    behind = f"behind by {index['behind']:,}" if index["behind"] else "up to date"
    return f"{plural(index['count'], word)}, {index['model']} {index['dim']} wide, {behind}"


def _spent(*, actual: float, estimated: float, lost: float) -> str:
    spent = f"{usd(actual)}, and about {usd(max(0.0, estimated - lost))} under way"
    return f"{spent}; about {usd(lost)} more may have been spent on lost replies" if lost else spent


def _show_pilot(document: dict[str, Any]) -> None:
    if "extractor" not in document:
        return
    print_line(f"extractor  {document['extractor']}")
    if pilot := document["pilot"]:
        report = f", {pilot['report']}" if pilot["report"] else ""
        print_line(
            f"pilot      {pilot['number']}, up to {pilot['size']:,} drawn: {pilot['verdict'] or 'not over'}{report}"
        )
    if going := document["backfill"]:
        cost = usd(going["estimated_cost"])
        print_line(f"backfill   {going['extractor']} since {going['since'][:16]}: {going['items']:,}, about {cost}")
