"""Begin in an empty directory: settings in `.env`, the people of a file, and what asking about a few will cost.

Each step is done once, however often it is run: `.env` is sealed whole before anything else, and an import that is
repeated changes nothing. A key is never written.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.core import files
from pipeline.core.errors import ConfigurationError
from pipeline.core.import_options import ImportOptions
from pipeline.core.settings import Settings
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import import_
from pipeline.experts.import_ import PeopleImportReport
from pipeline.workflows import preflight
from pipeline.workflows.preflight import Preflight

FEW = 10  # people that are asked about first
DOTENV = Path(".env")
_LINE = re.compile(r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_HEAD = """\
# Settings of findable for this directory; `findable settings` lists all of them, and their values.
# The environment goes before this file. No key stands here: export GEMINI_API_KEY=… in the shell.
"""
_SAID = {
    "FINDABLE_BACKEND": "where the work is done: gemini, which needs a key, or local, the engine on this machine",
    "FINDABLE_BUDGET_PER_DAY": "most USD a day, by all commands together",
    "FINDABLE_DATA": "the workspace: the directory that holds everything",
}


@dataclass(frozen=True)
class InitReport:
    """The import, and what asking about the first few people is estimated to cost and take."""

    imported: PeopleImportReport
    first: Preflight | None


def settle_dotenv(
    settings: Settings, *, backend: str, budget: float, confirm: Callable[[str], bool] | None, yes: bool
) -> str:
    """Write `.env`, or change in one that is there what is otherwise; return a line that says what was done.

    Other lines of a file that is there stay. `confirm` asks before it is changed; with `yes` it is changed unasked.

    Raises:
        ConfigurationError: it would have to be changed, and there is no one to ask.
    """
    wanted = {"FINDABLE_BACKEND": backend, "FINDABLE_BUDGET_PER_DAY": f"{budget:g}"}
    if settings.sources.get("data") == "environment":  # where other commands, too, must look
        wanted["FINDABLE_DATA"] = str(settings.data)
    text = DOTENV.read_text(encoding="utf-8") if DOTENV.is_file() else ""
    there = dict(_LINE.findall(text))
    changes = {name: value for name, value in wanted.items() if there.get(name, "").strip("'\"") != value}
    if not changes:
        return f"{DOTENV} is there and stays as it is"
    shown = ", ".join(f"{name}={value}" for name, value in changes.items())
    if text and not yes:
        if confirm is None:
            raise ConfigurationError(
                f"{DOTENV} is there, and {shown} would have to stand in it; nothing was written",
                hint="YES=1 changes that and keeps all other lines",
            )
        if not confirm(f"{DOTENV} is there: put {shown} into it (other lines stay)?"):
            return f"{DOTENV} stays as it is"
    _seal_private(files.target_of(DOTENV), _with(text or _HEAD, changes).encode())
    return f"{DOTENV} says {shown}"


def _seal_private(path: Path, data: bytes) -> None:
    """Write a file whole that its owner alone may read; one that is there keeps who may read it."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    files.sweep_parts(path)
    part = files.part_of(path)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
    part.chmod(mode)
    files.seal_part(part, path)


def _with(text: str, settings: Mapping[str, str]) -> str:
    """Return the text of an `.env` with these settings, each in its line or in one at the end with a comment."""
    for name, value in settings.items():
        kept = [line for line in text.splitlines() if not (found := _LINE.match(line)) or found[1] != name]
        comment = f"# {_SAID[name]}"
        text = "\n".join([*(line for line in kept if line != comment), "", comment, f"{name}={value}"])
    return f"{text}\n"


def run(
    ws: OpenWorkspace, path: Path, *, mapping: str = "", confirm: Callable[[str], bool] | None = None
) -> InitReport:
    """Import the people in a file, and estimate what asking about the first of them costs.

    Raises:
        InputError: the file cannot be read as people, or none of them could be imported.
    """
    imported = import_.run(ws, path, ImportOptions(mapping, confirm))
    if not imported.rows_in:
        return InitReport(imported, None)
    first = preflight.estimate_both(ws, limit=FEW, deadline_s=None)
    return InitReport(imported, first if first.plan.items else None)
