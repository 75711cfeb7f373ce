"""Look at items: list and count them, their tags, where everything stands; write them to a file."""

import contextlib
import getpass
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import click

from jobs.command import wants_json
from jobs.options import (
    COUNT,
    MAX_NUMBER,
    PATH,
    STREAM,
    TEXT,
    VERSION,
    CommandReport,
    CountParam,
    MaxScore,
    MinScore,
    Overwrite,
    Parameter,
    Tag,
    Version,
    Where,
)
from jobs.output import Terminal, TextTable, print_fields, raw_writer
from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import shown_value
from pipeline.core.row_listing import RowFilter
from pipeline.core.states import fate_of
from pipeline.core.text import first_few, plural, usd
from pipeline.engine import corrections
from pipeline.engine.task import ExportOptions
from pipeline.engine.workspace import WorkspaceSession
from pipeline.experts import tags as editing
from pipeline.experts.tags import Document
from pipeline.ops import export as exporting
from pipeline.ops import items as listing
from pipeline.ops import status as standing

SHOWN = 60  # characters of a text on a terminal
SHORTER = {"job_title": "title", "findability_score": "score"}  # as in the table of a search
PAGE = 20
FEW = 10  # merges that are shown
DUE = 5  # people that are shown; --json has more
# The output of `status --more` fits one page: at most this many lines of open batches, of reasons, and of twins.
MAX_OPEN_BATCH_LINES = 10
MAX_REASON_LINES = 20
MAX_TWIN_LINES = 5
WORDS = {  # of counts, whose keys programs read
    "no_bio": "without a bio",
    "foreign": "whose tags are no JSON list",
    "with_concepts": "with concepts",
    "untagged": "not asked yet",
    "open": "not asked yet",
    "unusable": "that cannot be asked",
    "claimed": "under way",
}


def items(
    ws: WorkspaceSession,
    *,
    find: Annotated[tuple[str, ...], Parameter("Words that it holds.", TEXT)] = (),
    state: Annotated[
        str | None, Parameter("Only those in this state, such as untagged or parked.")
    ] = None,
    tag: Tag = "",
    extractor: Annotated[str | None, Parameter("Only what one version answered.", VERSION)] = None,
    min_score: MinScore = None,
    max_score: MaxScore = None,
    where: Where = "",
    sort: Annotated[str | None, Parameter("By this column; -COLUMN has the largest first.")] = None,
    fields: Annotated[str, Parameter("Show these columns.", metavar="NAME,…")] = "",
    after: Annotated[
        str | None, Parameter("Go on behind this id, as the page before says.", TEXT)
    ] = None,
    limit: Annotated[int, Parameter("Show at most this many.", COUNT)] = PAGE,
    counts: Annotated[bool, Parameter("Count them by state, tag and version instead.")] = False,
    to: Annotated[Path | None, Parameter("Write them all to this file, as CSV.", PATH)] = None,
    overwrite: Overwrite = False,
) -> CommandReport:
    """List items that hold all words of FIND, or all items, whatever their state; those of TASK=.

    People are looked for in username, name, title, company and tags, passages in id, source and text, rows of your own
    task in all columns and answers, in any case; --where names these. A page ends by saying how to get the next one.
    With --to all of them are written to a CSV file; with --counts they are counted, by tags and versions up to 100,000
    rows.
    """
    which = RowFilter(find, state, _names(tag), extractor, min_score, max_score, where)
    told: Any = {"sort": sort, "fields": _names(fields) or None}
    if to is not None:
        done = listing.write_csv(ws, to, which, overwrite=overwrite, **told)
        return CommandReport(
            asdict(done), f"{plural(done.count, done.word)} written to {done.path}"
        )
    if counts:
        counted = listing.counts(ws, which, within_s=None)
        rows = [("all", "", counted.total)]
        for name in ("states", "tags", "versions"):
            rows += [
                (name.removesuffix("s"), *one) for one in (getattr(counted, name) or {}).items()
            ]
        return CommandReport(counted.document, TextTable(("by", "what", "items"), rows))
    page = listing.page(ws, which, limit=limit, after=after, within_s=None, **told)
    more = (
        []
        if page.after is None
        else [lambda: Terminal().say(f"more: the same with {OptionHint(after=page.after)}")]
    )
    headers = [SHORTER.get(name, name) for name in (*page.names, "state")]
    listed = TextTable(
        headers, [[*map(_cell, one.values.values()), one.state] for one in page.items]
    )
    return CommandReport(
        page.document, [listed, *more] if page.items else f"no {ws.task.words.one} was found"
    )


def _cell(value: object) -> str:
    text = (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else ""
        if value is None
        else str(value)
    )
    return f"{text[:SHOWN]}…" if sys.stdout.isatty() and len(text) > SHOWN else text


def _names(text: str) -> list[str]:
    return [name for one in text.split(",") if (name := one.strip())]


def export(
    ws: WorkspaceSession,
    *,
    to: Annotated[Path, Parameter("", STREAM)],
    format_: Annotated[
        str | None,
        Parameter(
            "The format, if the ending of TO does not say it.",
            click.Choice(["csv", "json", "jsonl", "xlsx", "parquet"]),
        ),
    ] = None,
    best: Annotated[bool, Parameter("Only the preferred concepts.")] = False,
    extractor: Version = None,
    rows: Annotated[
        str | None,
        Parameter("A row for each member of this list; LIST.INNER is one within.", metavar="FIELD"),
    ] = None,
    cost: Annotated[bool, Parameter("What each answer took: tokens and USD.")] = False,
    full: Annotated[
        bool, Parameter("The text of its passage and the context with each concept.")
    ] = False,
    gone: Annotated[bool, Parameter("Rows that left their source, too.")] = False,
    raw: Annotated[
        bool, Parameter("Leave cells of CSV that begin like a formula unchanged.")
    ] = False,
    overwrite: Overwrite = False,
) -> CommandReport | None:
    """Write all experts with tags and scores to TO (.csv, .xlsx, .json, .jsonl, .parquet; `-` is standard output).

    What their files said beside comes back behind that. With TASK=passages: the concepts with their evidence (.jsonl,
    .parquet). With a task of your own: every row of its source, in its order, with its answer, its state and the reason
    of that, or with --rows a row for each member of a list that the answers hold. They are of one version: the one that
    --extractor or VERSION= names, else the preferred one; how many rows have which is said. Rows that left the source
    are written with --gone alone.

    Cells of CSV that a spreadsheet would run as formulas get an apostrophe in front, unless there is --raw. The file is
    written completely or not at all; one that is there is replaced with --overwrite alone, and without a row no file is
    written. With --json, standard output gets experts as one JSON list.
    """
    path = None if str(to) == "-" else to
    if path is None and wants_json():
        if format_ not in (None, "json"):
            said = f"{OptionHint(json=True)} is for one JSON document, and {format_} is none; nothing was written"
            raise InputError(said, hint="leave out either")
        format_ = "json"
    wanted = ExportOptions(best, extractor or None, rows or None, cost, full, gone=gone)
    done = exporting.run(
        ws, path, format_=format_, wanted=wanted, overwrite=overwrite, raw=raw, write=raw_writer()
    )
    if path is None:
        ws.display.say(f"{plural(done.count, done.word)} written")
        return None
    if done.path is None:
        return CommandReport(asdict(done), f"no {done.word} to export: no file was written")
    return CommandReport(asdict(done), f"{plural(done.count, done.word)} written to {done.path}")


def tags(
    ws: WorkspaceSession,
    *,
    k: Annotated[int, Parameter("How many to show.", COUNT)] = 20,
    find: Annotated[str, Parameter("Only tags with this in them.")] = "",
    merge: Annotated[str | None, Parameter('"old=new; old=new".', TEXT)] = None,
    undo: Annotated[
        int | None, Parameter("The merge or edit to undo.", CountParam(1, MAX_NUMBER))
    ] = None,
    who: Annotated[str | None, Parameter("Who says so; else the user of the system.", TEXT)] = None,
    expert: Annotated[
        str | None, Parameter("The tags of this person alone.", TEXT, other_name="--person")
    ] = None,
    add: Annotated[
        str | None, Parameter('Tags that the person gets: "ml; law".', TEXT, metavar="TAGS")
    ] = None,
    remove: Annotated[
        str | None, Parameter("Tags that the person loses.", TEXT, metavar="TAGS")
    ] = None,
) -> CommandReport:
    """List the tags of people, with examples, and what was merged.

    A merge holds for all who have the tag and for answers to come, until --undo takes it back by its number. With
    --expert the tags of one, and every edit; --add and --remove correct them, as `correct` does, --undo takes back an
    edit by its number.
    """
    edit = add or remove
    if (merge, undo, edit).count(None) < 2 or (edit and not expert) or (merge and expert):  # noqa: PLR2004 - of three
        said = f"a merge, an edit of {OptionHint(expert='…')} and an undoing exclude each other; nothing was changed"
        raise InputError(said)
    if expert is not None and edit:
        now = corrections.history(ws, expert)
        tags_now = editing.edited(expert, now["answer"].get("tags", []), add or "", remove or "")
        found = corrections.correct(
            ws, expert, {"tags": tags_now}, who=who or _this_person(), of_state=now["state"]
        )
        return CommandReport(found, _corrected(expert, found, ws))
    if expert is not None:
        return correct(ws, expert, undo=undo, who=who)
    if merge is not None:
        done = editing.merge(ws.store, editing.typed(merge), who or _this_person(), at=ws.now())
    elif undo is not None:
        done = editing.undo_merge(ws.store, undo, who or _this_person(), at=ws.now())
    else:
        return _all_tags(editing.count_tags(ws.store), find, k)
    shown: list[Any] = [
        partial(Terminal().say, f"{old!r} goes into {new!r} already") for old, new in done["same"]
    ]
    for one in done["merges"]:
        undone = ", undone" if one["undone_at"] else ""
        shown.append(f"merge {one['number']}: {one['old']!r} into {one['new']!r}{undone}")
    if done["kept"]:
        said = f"{plural(done['kept'], 'row')} did not take other tags: a trigger or a rule of the database"
        shown.append(partial(Terminal().warn, said))
    shown.append(
        f"{plural(done['people'], 'person', 'people')} with other tags now. Next: {CommandHint('index')}"
    )
    return CommandReport(done, shown)


def correct(
    ws: WorkspaceSession,
    item: Annotated[str, Parameter("Whose answer: a key, or a username.", TEXT)],
    *,
    set_: Annotated[
        str | None,
        Parameter('Fields of the answer: "tone=praise; stars=4".', TEXT, metavar="FIELDS"),
    ] = None,
    undo: Annotated[int | None, Parameter("The edit to undo.", CountParam(1, MAX_NUMBER))] = None,
    who: Annotated[str | None, Parameter("Who says so; else the user of the system.", TEXT)] = None,
) -> CommandReport:
    """Correct the answer about one row by hand, or undo that; without either, list what was corrected.

    What a person says counts before every model's answer, and stays. A list has commas, a value in quotation marks or
    brackets is JSON, and a quotation must stand in the row's text.
    """
    if set_ is not None and undo is not None:
        raise InputError(
            f"{OptionHint('set')} and {OptionHint('undo')} exclude each other; nothing was changed"
        )
    if set_ is not None:
        done = corrections.correct(
            ws, item, corrections.typed(ws.task, set_), who=who or _this_person()
        )
    elif undo is not None:
        done = corrections.correct(ws, item, undo, who=who or _this_person())
    else:
        done = corrections.history(ws, item)
    return CommandReport(done, _corrected(item, done, ws))


def _corrected(item: str, done: Document, ws: WorkspaceSession) -> list[Any]:
    shown: list[Any] = [
        partial(
            print_fields, [(name, shown_value(value)) for name, value in done["answer"].items()]
        )
    ]
    if "edit" in done:
        said = (
            "there is nothing to change" if done["edit"] is None else f"edit {done['edit']} is kept"
        )
        again = (
            f". Next: {CommandHint('index', task=ws.task.subject)}"
            if done["edit"] and ws.is_indexed
            else ""
        )
        shown.insert(0, f"{item}: {said}{again}")
    if done["edits"]:
        shown.append(
            TextTable(("edit", "who", "when", "what"), [_edit_cells(one) for one in done["edits"]])
        )
    return shown


def _edit_cells(edit: Mapping[str, Any]) -> tuple[object, ...]:
    undone = "" if edit["undoes"] is None else f" (undoes {edit['undoes']})"
    told = list[str]()
    for name, (before, after) in edit["changes"].items():
        if isinstance(after, list) and isinstance(before or [], list):
            some = [("-", one) for one in before or () if one not in after]
            some += [("+", one) for one in after if one not in (before or ())]
            told += [f"{sign}{shown_value(one)}" for sign, one in some]
        else:
            told.append(f"{name}: {shown_value(before)} → {shown_value(after)}")
    return (edit["number"], edit["who"], edit["at"], ", ".join(told) + undone)


def _this_person() -> str:
    with contextlib.suppress(Exception):  # a system without accounts raises what it likes
        return getpass.getuser()
    return "unknown"


def _all_tags(report: Document, find: str, most: int) -> CommandReport:
    found = [one for one in report["tags"] if find.lower() in one["tag"].lower()]

    different = plural(report["different"], "different tag")
    once = plural(report["used_once"], "tag")
    said = f"{plural(report['people'], 'person', 'people')} with {different}; {once} of one person alone"
    rows = [(one["tag"], one["people"], ", ".join(one["examples"])) for one in found[:most]]
    merges = [
        (
            one["number"],
            one["old"],
            one["new"],
            one["who"],
            one["at"],
            one["undone_at"],
            one["undone_by"],
        )
        for one in report["merges"][-FEW:]
    ]
    headers = ("merge", "from", "into", "who", "when", "undone", "by")
    shown = [
        said,
        TextTable(("tag", "people", "such as"), rows),
        *([TextTable(headers, merges)] if merges else []),
    ]
    return CommandReport({**report, "tags": found}, shown)


def score(ws: WorkspaceSession) -> CommandReport:
    """Compute anew what follows from rows: the scores of people, or of your own task its tables of answers.

    Only what changed is written.
    """
    with ws.store.write() as tx:
        changed = ws.task.refresh_derived(tx)
        total = ws.task.table(tx).total(tx)
    line = f"{plural(total, 'score' if ws.task.derives else 'row')} checked, {changed:,} changed"
    return CommandReport({"total": total, "changed": changed}, line)


def status(
    ws: WorkspaceSession,
    *,
    exact: Annotated[
        bool, Parameter("Compare the index with all rows, whatever was changed.")
    ] = False,
    more: Annotated[
        bool, Parameter("Batches, estimates, versions, and what is behind it.")
    ] = False,
) -> CommandReport:
    """Show where everything stands, and the next command.

    The index is held against what commands changed; what other programs changed is seen by --exact, and by `index`
    and `run`. A large table of another program is counted now and then, with the time shown.
    """
    report = standing.run(ws, exact=exact)
    return CommandReport(
        report.document, [f"{name:<11}{said}" for name, said in _standing(report, more=more)]
    )


def _standing(report: standing.StatusReport, *, more: bool) -> list[tuple[str, Any]]:
    document: dict[str, Any] = report.document
    engine = "local engine" if document["backend"] == "local" else document["model"]
    lines: list[tuple[str, Any]] = [
        ("workspace", f"{document['workspace']}, {engine}"),
        (report.subject, _counted(document, report.subject)),
        *_stale(document.get("stale")),
        *_first_lines(
            "under way", report.under_way, MAX_OPEN_BATCH_LINES, more=CommandHint("batches")
        ),
        ("spent", _spent(**document["spent"], unpriced=document.get("unpriced", {}))),
    ]
    if document["index"] is not None:
        lines.append(("index", _index(document["index"], report.entry)))
    lines += _behind_it(document) if more else []
    for one in document.get("twins", ())[-MAX_TWIN_LINES:]:
        how = (
            "cancelled or over"
            if one["is_over"]
            else f"not cancelled yet: `{CommandHint('batch-poll')}` does"
        )
        lines.append(
            (
                "twice",
                f"{one['remote_name']} was a second remote batch of batch {one['batch']}, {how}",
            )
        )
    if others := document["others"]:
        lines.append(("others", f"{', '.join(others)}: `{CommandHint('status', task=others[0])}`"))
    if failures := document.get("failures"):
        lines.append(("failed", _failed_line(failures)))
    return [*lines, ("next", document["next"] or "nothing to do")]


def _first_lines(
    name: str, lines: Sequence[str], count: int, *, more: CommandHint
) -> list[tuple[str, str]]:
    """Return at most `count` lines under a name, and if there are more, how many and what lists them."""
    rest = [f"{len(lines) - count:,} more: `{more}`"] if len(lines) > count else []
    return [(name, line) for line in (*lines[:count], *rest)]


def _failed_line(failures: Mapping[str, Any]) -> str:
    """Return in one line how many rows failed, the reason that most share, the gates that failed, and the report."""
    gates = failures["gates"]
    reason, count = next(iter(failures["reasons"].items()), ("", 0))
    share = f", {count:,} of them" if count < failures["rows"] else ""
    parts = (
        f"{plural(failures['rows'], 'row')}{share}: {reason}" if count else "",
        f"{plural(len(gates), 'quality gate')}: {', '.join(gates)}" if gates else "",
        f"report {failures['report']}" if failures["report"] else "",
    )
    return "; ".join(filter(None, parts))


def _behind_it(document: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what stands behind the state: reasons, batches, what is due, the model, and the version with its pilot."""
    bound = "" if document["bound"] else " (not bound yet)"
    reasons = [
        f"failed {count:,}: {reason}"
        for reason, count in document.get("failures", {}).get("reasons", {}).items()
    ]
    parked = document["parked"].items()
    reasons += [
        f"set aside {count:,}: {reason}" for reason, count in parked if fate_of(reason) != "parked"
    ]
    lines = _first_lines("reason", reasons, MAX_REASON_LINES, more=CommandHint("parked"))
    batches = ", ".join(f"{count} {state}" for state, count in document["batches"].items() if count)
    lines.append(("batches", batches or "none"))
    due = [one for one in document["due"] if one["outcome"] is None][-DUE:]
    lines += [("due", f"{one['name']} since {one['since'][:16]}: {one['reason']}") for one in due]
    lines.append(("model", f"{document['model']}, backend {document['backend']}{bound}"))
    index = document["index"]
    if index and index["count"]:
        lines.append(("embedding", f"{index['model']} {index['dim']} wide, build {index['build']}"))
    if "extractor" in document:
        lines.append(("version", document["extractor"]))
        if pilot := document["pilot"]:
            seen = f", {pilot['report']}" if pilot["report"] else ""
            said = f"{pilot['number']}, up to {pilot['size']:,} drawn: {pilot['verdict'] or 'not over'}{seen}"
            lines.append(("pilot", said))
        if going := document["backfill"]:
            cost = f"{going['items']:,}, about {usd(going['estimated_cost'])}"
            lines.append(("backfill", f"{going['extractor']} since {going['since'][:16]}: {cost}"))
    return lines


def _stale(stale: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Return a line on rows that changed since they were answered, with what asks about them again."""
    if not stale or not stale["count"]:
        return []
    return [("stale", f"{stale['count']:,} changed since they were answered; {stale['hint']}")]


def _counted(document: dict[str, Any], subject: str) -> str:
    counts = document[subject]
    reasons = document["parked"]
    (_, total), (done, answered), *parts = counts.items()
    words = WORDS | {"open": "without concepts"} if "with_concepts" in counts else WORDS
    found = [
        (done, answered),
        *((name, count) for name, count in parts if count and name != "parked"),
    ]
    fates = Counter[str]()
    for reason, count in reasons.items():
        fates[fate_of(reason)] += count
    said = ", ".join(
        f"{count:,} {words.get(name, name)}" for name, count in (*found, *fates.items())
    )
    beside = f"; {document['gone']:,} gone from the source" if document["gone"] else ""
    return f"{total:,}: {said}{beside}"


def _index(index: dict[str, Any], word: str) -> str:
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["count"]:
        return "none"
    state = f"behind by {index['behind']:,}" if index["behind"] else "up to date"
    refused_names = [refused["name"] for refused in index.get("refused", ())]
    if refused_names:
        state += f"; the embedding model refused the texts of {first_few(refused_names)}"
    return f"{plural(index['count'], word)}, {state}"


def _spent(*, actual: float, estimated: float, lost: float, unpriced: Mapping[str, int]) -> str:
    under_way = max(0.0, estimated - lost)
    spent = usd(actual) + (f", and about {usd(under_way)} under way" if under_way else "")
    if lost:
        spent += f"; about {usd(lost)} more may have been spent on lost replies"
    for model, requests in unpriced.items():
        spent += f"; the cost of {plural(requests, 'request')} to {model} is unknown"
    return spent
