"""How the rows of a shipped task are imported from a file."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.core.declaration import ReadOptions
from pipeline.engine.session import WorkspaceSession
from pipeline.experts import import_ as people
from pipeline.passages import import_ as passages
from pipeline.tables.row_import import ImportOptions, ImportReport


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


def make_import_options(
    column_map: str,
    read_options: ReadOptions,
    *,
    strict: bool,
    report: Path | None,
    dry: bool,
) -> ImportOptions:
    """Return the options of an import from a file.

    Args:
        column_map: The setting MAP.
        read_options: How the file is read.
        strict: Import nothing if a row is rejected.
        report: Path of a file for all findings, or None.
        dry: Only report what the import would do.
    """
    return ImportOptions(column_map, read_options, strict, report, dry)
