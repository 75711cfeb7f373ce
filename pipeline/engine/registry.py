"""Find the subjects: a subject is a room of the pipeline that has a module `subject`, and its name is the room's.

No room below the subjects names one. A new subject is a new room; nothing here changes.
"""

from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline.core.task import SubjectRoom

PIPELINE = Path(__file__).parents[1]


def rooms() -> list[SubjectRoom]:
    """Return the module `subject` of every room that has one, by the rooms' names."""
    found = sorted(path.parent.name for path in PIPELINE.glob("*/subject.py"))
    return [cast(SubjectRoom, import_module(f"pipeline.{name}.subject")) for name in found]
