"""How the rows of a shipped task are imported from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.engine.session import WorkspaceSession
from pipeline.experts import import_ as people
from pipeline.passages import import_ as passages
from pipeline.tables.row_import import ImportOptions, ImportReport

__all__ = ["ROW_IMPORTERS", "ImportOptions", "RowImporter"]


class RowImporter(NamedTuple):
    """The functions that import the rows of a task."""

    # Raises an error if the file cannot be imported; writes nothing.
    check_file: Callable[[Path, ImportOptions], None]
    import_rows: Callable[[WorkspaceSession, Path, ImportOptions], ImportReport]


# By the value of TASK=.
ROW_IMPORTERS = {
    "experts": RowImporter(people.check_file, people.import_people_file),
    "passages": RowImporter(passages.check_file, passages.import_passages),
}
