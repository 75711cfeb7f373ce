"""Write, find and remove the files of reports in the workspace's `reports/`; sealed, so that none looks whole early.

One report is `<task>-<time>-<tail>.md` with a `.json` beside it, of one name; the Markdown is sealed last, so where it
stands the other does too. `<task>-latest.md` is a copy of the newest one: a link would not
survive being sent elsewhere. The tail is random, so that two processes never write one name.
"""

import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.core import files

FOLDER = "reports"
LATEST = "latest"
WHOLE_S = 3600.0  # after which a report that has no Markdown was given up: it is written in well under a second
_NAME = r"{task}-\d{{8}}T\d{{6}}Z-[0-9a-f]{{6}}"
_OURS = r"(?:{name}|{task}-{latest})\.(?:md|json)(?:\.[0-9a-f]+-[0-9a-f]+\.part)?"


def report_name(task: str, *, at: datetime) -> str:
    """Return a name, without an ending, for a report that is not there yet."""
    return f"{task}-{at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def seal_report(data: Path, task: str, name: str, *, markdown: str, document: Mapping[str, Any]) -> Path:
    """Write a report, durable when this returns, and return the path of its Markdown; what was given up is removed."""
    folder = data / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    sweep_reports(data, task)
    whole = json.dumps(document, ensure_ascii=False, indent=2)
    files.seal_bytes(folder / f"{name}.json", whole.encode("utf-8", "replace") + b"\n")
    text = markdown.encode("utf-8", "replace")
    report = files.seal_bytes(folder / f"{name}.md", text).path
    files.seal_bytes(folder / f"{task}-{LATEST}.md", text)
    return report


def reports_of_task(data: Path, task: str) -> list[Path]:
    """Return every file of a task's reports, also of those that are not whole, in the order of their names."""
    folder = data / FOLDER
    if not folder.is_dir():
        return []
    word = re.escape(task)
    ours = re.compile(_OURS.format(name=_NAME.format(task=word), task=word, latest=LATEST))
    return sorted(path for path in folder.iterdir() if ours.fullmatch(path.name))


def report_documents(data: Path, task: str, *, limit: int) -> list[dict[str, Any]]:
    """Return the newest reports of a task as their documents, each with its `name`, the newest first."""
    whole = {report_stem(path, task) for path in reports_of_task(data, task) if path.suffix == ".md"} - {""}
    found = []
    for name in sorted(whole, reverse=True)[:limit]:
        with contextlib.suppress(OSError, ValueError):  # one that was removed, or is the user's own by now, is left out
            found.append({**json.loads((data / FOLDER / f"{name}.json").read_bytes()), "name": name})
    return found


def report_document(data: Path, place: str) -> dict[str, Any] | None:
    """Return the report whose file has this place in the workspace, with its `name`; None where it is gone."""
    path = (data / place).with_suffix(".json")
    with contextlib.suppress(OSError, ValueError):
        return {**json.loads(path.read_bytes()), "name": path.stem}
    return None


def remove_reports(data: Path, task: str, *, is_named: Callable[[Sequence[Path]], bool]) -> int:
    """Remove the reports of a task whose files `is_named` says to, durably; return how many files those were.

    The copy of the newest goes with them, and is made anew of the newest that is left. The user's own files stay.
    Reports hold samples of people's data, for which `forget` removes those that name a person.
    """
    reports: dict[str, list[Path]] = {}
    for path in reports_of_task(data, task):
        reports.setdefault(report_stem(path, task), []).append(path)
    copies = reports.pop("", [])
    named = [stem for stem, paths in reports.items() if is_named(paths)]
    gone = [path for stem in named for path in reports.pop(stem)]
    if gone or (copies and is_named(copies)):
        gone += copies
    for path in gone:
        path.unlink(missing_ok=True)
    left = [path for paths in reports.values() for path in paths if path.suffix == ".md"]
    if gone and left:
        files.seal_bytes(data / FOLDER / f"{task}-{LATEST}.md", max(left).read_bytes())
    if gone:
        files.sync_directory(data / FOLDER)
    return len(gone)


def older_reports(data: Path, task: str, before: datetime) -> list[Path]:
    """Return the files of a task's reports written before a moment, by their names; never the newest one's."""
    mine = [(stem, path) for path in reports_of_task(data, task) if (stem := report_stem(path, task))]
    newest = max((stem for stem, path in mine if path.suffix == ".md"), default="")
    moment = f"{task}-{before:%Y%m%dT%H%M%SZ}"
    return [path for stem, path in mine if stem < moment and stem != newest]


def report_stem(path: Path, task: str) -> str:
    """Return the name of the report that a file belongs to; empty for the copy of the newest."""
    found = re.match(_NAME.format(task=re.escape(task)), path.name)
    return found[0] if found else ""


def complete_reports(data: Path, task: str) -> list[Path]:
    """Return the files of all reports of a task that are not being written, the copy of the newest too."""
    mine = [path for path in reports_of_task(data, task) if path.suffix != files.PART]
    done = {path.stem for path in mine if path.suffix == ".md"}
    return [path for path in mine if (report_stem(path, task) or path.stem) in done]


def stale_parts(data: Path, task: str) -> list[Path]:
    """Return what killed processes left of a task's reports that never became whole."""
    mine = reports_of_task(data, task)
    whole = {path.stem for path in mine if path.suffix == ".md"}
    found = []
    for path in mine:
        stem = report_stem(path, task)
        if path.suffix == files.PART:
            given_up = files.is_abandoned(path)
        else:
            given_up = bool(stem) and stem not in whole and _age_s(path) > WHOLE_S
        if given_up:
            found.append(path)
    return found


def sweep_reports(data: Path, task: str) -> list[Path]:
    """Remove what killed processes left of reports that never became whole, and return it."""
    gone = stale_parts(data, task)
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # another process swept it
        return 0.0
