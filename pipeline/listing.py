"""A list of what was found in a file, as CSV: whole under its name, or not there."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline import spreadsheet
from pipeline.errors import InputError
from pipeline.files import SealedWriter, sweep_abandoned, target_of


class Listing:
    """A list being written, or none at all; no cell of it is a formula."""

    def __init__(self, writer: SealedWriter | None, *, columns: Sequence[str]) -> None:
        """Write the header."""
        self._writer = writer
        self.add(columns)

    def add(self, cells: Sequence[str]) -> None:
        """Append a line."""
        if self._writer is not None:
            self._writer.write(spreadsheet.line(cells))

    def seal(self) -> None:
        """Make the list durable under its name."""
        if self._writer is not None:
            self._writer.seal()


@contextlib.contextmanager
def listing(path: Path | None, *, columns: Sequence[str], source: Path) -> Iterator[Listing]:
    """Open a list for the length of a block, or none without a path; what is not sealed by then is gone.

    Raises:
        InputError: the list would replace the file that is read, or cannot be written there.
    """
    if path is None:
        yield Listing(None, columns=columns)
        return
    target = target_of(path)
    if target == source.resolve():
        raise InputError(f"the report would replace {source}; nothing was changed", hint="give it another name")
    try:
        sweep_abandoned(target)
        writer = SealedWriter(target)
    except OSError as error:
        raise InputError(f"the report {path} cannot be written: {error.strerror}; nothing was changed") from None
    with writer:
        yield Listing(writer, columns=columns)
