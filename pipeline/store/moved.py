"""The mark beside an SQLite file that its database was moved to a server: nobody writes to the file any more.

One workspace in two databases would send the same batch twice, each under the same name. So the mark is made before
the copy is committed, while everybody else is kept from writing, and is looked at inside every transaction that writes:
whoever opened the file before the move is held back as well. The file itself stays as it was, to be read.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import files
from pipeline.errors import ConfigurationError, InconsistentError

ENDING = ".moved"


@dataclass(frozen=True)
class Mark:
    """Where a database was moved to (a URL without its password), which workspace it is of, and when."""

    to: str
    workspace_id: str
    at: str


def mark_of(path: Path) -> Path:
    """Return where the mark of a database file stands: beside the file itself, by whatever name it was opened."""
    return Path(os.path.realpath(path) + ENDING)


def find(path: Path) -> Mark | None:
    """Return the mark of a database file, if there is one.

    Raises:
        InconsistentError: what stands there is no mark of ours.
    """
    try:
        document = json.loads(mark_of(path).read_bytes())
        return Mark(**document)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InconsistentError(
            f"{mark_of(path)} cannot be read, so nobody can say where this database is; nothing was changed",
            hint="if it was never moved, remove that file",
        ) from error


def make(path: Path, mark: Mark) -> None:
    """Mark a database file as moved, durable when this returns; for whoever keeps all others from writing to it."""
    files.seal_bytes(mark_of(path), json.dumps(asdict(mark), indent=1).encode() + b"\n")


def check(path: Path) -> None:
    """Let nobody write to a database that was moved; called inside every transaction that writes.

    Raises:
        ConfigurationError: it was moved.
    """
    if not mark_of(path).exists():
        return
    mark = find(path)
    if mark is not None:
        raise ConfigurationError(f"{said(path, mark)}; nothing was changed", hint=hint(path, mark))


def said(path: Path, mark: Mark) -> str:
    """Return the sentence that says what became of a database."""
    return f"the database {path} was moved to {mark.to} ({mark.at}), and is kept only to be read"


def hint(path: Path, mark: Mark) -> str:
    """Return what to do about it."""
    return (
        f"set FINDABLE_DATABASE_URL={mark.to}; did the move not end well, run it again, "
        f"or go back by removing {mark_of(path)}"
    )
