"""Find the subjects: a subject is a room of the pipeline that has a module `subject`, and its name is the room's.

No room below the subjects names one. A new subject is a new room; nothing here changes. Tasks that users declare in
files of their own are subjects too, found in the workspace; what carries them out is loaded where there are some.
"""

from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipeline.core.settings import BUILT_IN, Settings
from pipeline.core.task import DeclaredRoom, Subject, SubjectRoom, SubjectTables
from pipeline.store import tasks

if TYPE_CHECKING:
    from pipeline.store.database import Connection

PIPELINE = Path(__file__).parents[1]


@cache
def rooms() -> tuple[SubjectRoom, ...]:
    """Return the module `subject` of every room that has one, by the rooms' names."""
    found = sorted(path.parent.name for path in PIPELINE.glob("*/subject.py"))
    return tuple(cast(SubjectRoom, import_module(f"pipeline.{name}.subject")) for name in found)


def room_in_use(settings: Settings) -> SubjectRoom | None:
    """Return the room of the task that TASK= names; None where it is a user's own."""
    return next((room for room in rooms() if room.__package__ == f"pipeline.{settings.task}"), None)


def tables_of(room: SubjectRoom) -> SubjectTables:
    """Return the module `adopt` of a subject's room."""
    return cast(SubjectTables, import_module(f"{room.__package__}.adopt"))


def declared() -> Any:
    """Return the module that carries out declared tasks."""
    return import_module("pipeline.engine.declared.subjects")


def is_declared(settings: Settings) -> bool:
    """Return whether TASK= names a task of a user's own."""
    return settings.task not in BUILT_IN


def of_people(settings: Settings) -> Settings:
    """Return the settings with people in the place of their task."""
    return replace(settings, task=BUILT_IN[0])


def declared_subjects(tx: "Connection", settings: Settings) -> tuple[Subject, ...]:
    """Return every task of a user's own that was used in this workspace."""
    if not tasks.any_tasks(tx):
        return ()
    found: tuple[Subject, ...] = declared().declared_subjects(tx, settings)
    return tuple(_with_room(tx, settings, one) for one in found)


def _with_room(tx: "Connection", settings: Settings, found: Subject) -> Subject:
    if not (PIPELINE / found.name / "subject.py").is_file():
        return found
    return cast(DeclaredRoom, import_module(f"pipeline.{found.name}.subject")).of_declared(tx, settings, found)
