"""Bring rows in: import a file of people or of passages, a folder of images, add a person, declare a task."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from jobs.command import (
    COUNT,
    NAME,
    PATH,
    Dry,
    Map,
    Report,
    Taken,
    command,
    goes_on,
    look_at_workspace,
    make_workspace,
    wants_json,
)
from jobs.output import Terminal, plural, print_line, print_table, spinning, usd
from jobs.variables import read_settings
from pipeline.core.errors import InputError
from pipeline.core.files import why_not_readable
from pipeline.core.quotes import shown_value
from pipeline.core.states import Way
from pipeline.images import import_ as images
from pipeline.ops import status
from pipeline.workflows import add_expert, new_task
from pipeline.workflows import ask as asking
from pipeline.workflows.preflight import format_duration

if TYPE_CHECKING:
    from pipeline.tables.findings import Finding, FindingGroup, ImportReport
    from pipeline.workflows.ask import AskReport

Strict = Annotated[bool, Taken("Import nothing unless all rows are valid.")]
List = Annotated[
    Path | None,
    Taken("List every rejected row and changed value in this CSV file.", click.Path(path_type=Path, dir_okay=False)),
]
BROKEN = 10  # files that are named


@command("import")
def main(
    file: Annotated[Path, Taken(None, PATH, env="EXPERTS")],
    *,
    map_: Map = "",
    strict: Strict = False,
    report: List = None,
    dry: Dry = False,
) -> Report:
    """Import the people in FILE: CSV with a header, JSON, JSON lines, or Parquet.

    One transaction; repeating it changes nothing. Columns are known by their names and by aliases in several languages;
    what only looks alike is named with the MAP= that takes it. Rejected rows and changed values are shown by reason,
    and listed in --report. Exit code 2 if no row was imported.
    """
    from pipeline.experts import import_ as people

    _check_there(file, "imported")
    with (look_at_workspace if dry else make_workspace)(task="experts") as ws:
        done = people.run(ws, file, mapping=map_, strict=strict, report=report, dry=dry)
        return _imported(ws, done, words=("person", "people"), released="with a new biography")


@command("import-passages")
def import_passages(
    file: Annotated[Path, Taken(None, PATH, env="PASSAGES")],
    *,
    map_: Map = "",
    strict: Strict = False,
    report: List = None,
    dry: Dry = False,
) -> Report:
    """Import the passages in FILE: JSON lines with id, text, and optionally source and metadata; or CSV, or Parquet.

    Texts are kept exactly as given. One transaction; repeating it changes nothing. Of duplicate ids the first one
    counts. A passage with concepts keeps its text; a different one is rejected and listed.
    Exit code 2 if no passage was imported.
    """
    from pipeline.passages import import_ as texts

    _check_there(file, "imported")
    with (look_at_workspace if dry else make_workspace)(task="passages") as ws:
        done = texts.run(ws, file, mapping=map_, strict=strict, report=report, dry=dry)
        described = f", {done.described:,} with other metadata" if done.described else ""
        return _imported(ws, done, words=("passage", "passages"), released="with another text", more=described)


def _check_there(file: Path, what: str) -> None:
    """Refuse a file that cannot be read, before a workspace is made for it.

    Raises:
        InputError: it cannot; the message says why.
    """
    if why := why_not_readable(file):
        raise InputError(f"{file} {why}; nothing was {what}", hint="check the path")


def _imported(ws: Any, done: "ImportReport", **told: Any) -> Report:
    then = "" if wants_json() or done.dry else status.run(ws).document["next"]
    return Report(done.document, lambda: _show_import(done, **told), done.check, then)


def _show_import(done: "ImportReport", *, words: tuple[str, str], released: str, more: str = "") -> None:
    terminal = Terminal()
    for group in done.groups.values():
        terminal.warn(_group_line(group) if group.count > 1 else _finding_line(group.examples[0]))
    if done.report is None and any(group.count > len(group.examples) for group in done.groups.values()):
        terminal.say("note: REPORT=rejects.csv lists all of them (--report)")
    for note in done.notes:
        terminal.say(f"note: {note}")
    if done.rows_in:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in done.counts.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged{more}"
        would, untouched = (" would go", "; nothing was written") if done.dry else ("", "")
        print_line(f"{plural(done.rows_in, *words)}{would} in: {counts}{'; ' + found if found else ''}{untouched}")
    if done.released:
        would = "would be " if done.dry else ""
        print_line(f"{plural(done.released, *words)} {would}unparked, to be asked again {released}")


def _group_line(group: "FindingGroup") -> str:
    """Return the findings of one reason as one line: how many, and the first three."""
    shown = [f"line {one.line}" + (f" ({one.value})" if one.value else "") for one in group.examples]
    column = f" in {group.column}" if group.column else ""
    more = ", …" if group.count > len(shown) else ""
    return f"{group.kind.value}: {group.count:,} times{column}: {group.reason}: {', '.join(shown)}{more}"


def _finding_line(finding: "Finding") -> str:
    where = f"line {finding.line}" + (f", {finding.column}" if finding.column else "")
    whose = f" [{finding.key}]" if finding.key else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{whose}"


@command("import-images")
def import_images(folder: Annotated[Path, Taken(None, PATH)]) -> Report:
    """Import the images below FOLDER: paths, sizes, when they were taken.

    Repeating it changes nothing; a file that was moved is known again by its bytes, and a changed one is looked at
    anew. Links are not followed. A broken file is kept with the reason, and is not tried again until its bytes change.
    Exit code 2 if there is no image.
    """
    images.check_folder(folder)
    with make_workspace(task="images") as ws:
        done = images.run(ws, folder)
        ws.bring_items()
        then = "" if wants_json() else status.run(ws).document["next"]
    return Report(done.document, lambda: _show_images(done), done.check, then)


def _show_images(done: images.ImagesImportReport) -> None:
    terminal = Terminal()
    for one in done.broken_files[:BROKEN]:
        terminal.warn(f"broken: {one['path']}: {one['reason']}")
    if done.broken > BROKEN:
        terminal.say(f"note: {done.broken - BROKEN:,} more are broken; JSON=1 and `assets.problem` tell of them")
    if done.gone:
        terminal.say(f"note: {plural(done.gone, 'image is', 'images are')} not there any more, and not asked about")
    for why, count in done.left_out.items():
        terminal.say(f"note: {count:,} left out: {why}")
    if done.total:
        counts = f"{done.added:,} added, {done.updated:,} changed, {done.moved:,} moved, {done.unchanged:,} unchanged"
        print_line(f"{plural(done.total, 'image')} in: {counts}{f'; {done.broken:,} broken' * bool(done.broken)}")
    if done.released:
        print_line(f"{plural(done.released, 'image')} unparked, to be asked again with other bytes")


@command("add-expert")
def add_one(
    file: Annotated[Path, Taken(None, click.Path(path_type=Path, allow_dash=True), env="EXPERT")],
    *,
    map_: Map = "",
    mode: Annotated[str, Taken("", click.Choice(("live", "priority")))] = "live",
) -> Report:
    """Add the person in FILE (JSON; `-` reads standard input; a list adds several) and tag them now.

    With --mode priority the call goes before others, at up to twice the price.

    Fields are known by the names that `make import` knows; what only looks alike is named with the MAP= that takes it.
    If Gemini fails, the person is saved untagged and due: the next `make run`, `make tag`, `make tag-live` or
    `make batch-submit` asks about them, and `make status` shows the outcome.
    """
    if str(file) != "-":
        _check_there(file, "stored")
    data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    with make_workspace(task="experts") as ws, spinning() as spin:
        added = add_expert.run(
            ws,
            data,
            name=str(file),
            mapping=map_,
            way=Way(mode),
            on_tagging=lambda name: spin(f"Generating tags… {name}"),
        )
    return Report([asdict(one) for one in added], lambda: _show_added(added))


def _show_added(added: list[add_expert.AddedExpert]) -> None:
    rows = [(one.username, one.name, ", ".join(one.tags) or "-", one.findability_score) for one in added]
    print_table(("username", "name", "tags", "score"), rows)
    for one in added:
        if one.parked:
            Terminal().warn(f"{one.username} is saved without tags and parked: {one.parked}")
        elif one.problem:
            Terminal().warn(f"{one.username} is saved without tags ({one.problem}) and is due again: `make tag-live`")
        elif one.took_s is not None:
            Terminal().say(f"{one.username} tagged in {one.took_s:.1f} s")
    if any(one.tags for one in added):
        print_line("Not searchable until the next build. Next: make index")
    else:
        print_line("People without tags cannot be searched. Next: make status")


@command("ask")
def ask_some(
    from_: Annotated[str, Taken(None, NAME, metavar="FROM")],
    *,
    q: Annotated[str, Taken("What is asked about each row.", NAME, "-q", metavar="QUESTION")],
    fields: Annotated[str, Taken("What an answer is of, such as 'tone: praise|blame; reason: quote; year: int'.")] = "",
    name: Annotated[str, Taken("Keep the question as tasks/NAME.py.")] = "",
    n: Annotated[int, Taken("How many rows are asked about.", COUNT, "-n")] = asking.FEW,
) -> Report:
    """Ask about the first rows of FROM, a table of your own, and say what all of them would cost.

    FROM is a CSV, JSON, JSON lines or Parquet file, or a SELECT on the workspace's database. The columns of key and
    text are found and told. An answer is one text, or has the fields that --fields lists: text, quote, number, int,
    bool, date, list, or choices. Nothing is kept but what the calls cost; with --name the question is, as the file that
    new-task would have written.
    """
    wanted = asking.prepared(from_, q, fields=fields, name=name, data=read_settings().data)
    with make_workspace(task="experts") as ws:

        def announce(count: int, cost: float) -> None:
            ws.display.say(f"{ws.model.name}: {plural(count, 'row')}, estimated {usd(cost)}")

        report = asking.run(ws, wanted, size=n, announce=announce, confirm=goes_on)
    given = {"FROM": from_, "Q": q, "FIELDS": fields, "NAME": new_task.name_for(from_)}
    again = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items() if value)
    after = f"make tag TASK={name}" if report.is_kept else f"make ask {again}"
    return Report(report.document, lambda: _show_asked(report), report.tried.check, hint=after)


def _show_asked(report: "AskReport") -> None:
    found = report.answers
    names = list(dict.fromkeys([report.draft.guess.key, *report.fields, *(name for one in found for name in one)]))
    print_table(names, [[shown_value(one.get(name)) for name in names] for one in found])
    if (both := report.estimate) is not None:
        ways = {name if name == "live" else f"by {name}": one for name, one in both.ways.items() if not one.absent}
        told = (f"{usd(one.cost)} {way} in {format_duration(one.seconds)}" for way, one in ways.items())
        print_line(f"all {plural(report.rows, 'row')} would cost about {', '.join(told)}")
        for way, warning in ((way, warning) for way, one in ways.items() for warning in one.warnings):
            Terminal().warn(f"{way}: {warning}")
    kept = f"{report.draft.path} is written: all in it is yours to change" if report.is_kept else "no answer was stored"
    print_line(f"{len(found):,} of {plural(report.rows, 'row')} asked, {usd(report.tried.cost)}; {kept}")


@command("new-task")
def write_task(
    name: Annotated[str, Taken()],
    *,
    from_: Annotated[
        str,
        Taken(
            "The rows to ask about: a CSV, JSON, JSON lines or Parquet file, or a SELECT on the workspace's database."
        ),
    ],
) -> Report:
    """Write `tasks/NAME.py`, which asks about the rows of a table of your own and runs as it is.

    The columns of the key and of the text are guessed by their names and what stands in them, and the guess is told;
    edit the file where it is wrong. Nothing is overwritten. A workspace is made where there is none.
    """
    new = new_task.prepared(name, from_, data=read_settings().data)
    with make_workspace(task="experts") as ws:
        written = new_task.run(ws, new)

    def show() -> None:
        for note in written.guess.notes:
            print_line(note)
        print_line(f"{written.path} is written: the question, the answer and the prompt are yours to change")

    return Report(written.document, show, hint=f"make try TASK={name}")
