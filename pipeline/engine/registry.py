"""Find the subjects: a subject is a room of the pipeline that has a module `subject`, and its name is the room's.

No room below the subjects names one. A new subject is a new room; nothing here changes.
"""

from importlib import import_module
from pathlib import Path
from typing import cast

import pipeline
from pipeline.core.task import SubjectRoom


def rooms() -> list[SubjectRoom]:
    """Return the module `subject` of every room that has one, by the rooms' names."""
    found = (path.parent.name for folder in pipeline.__path__ for path in Path(folder).glob("*/subject.py"))
    return [cast(SubjectRoom, import_module(f"pipeline.{name}.subject")) for name in sorted(found)]
