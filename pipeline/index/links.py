"""Links that change in one rename, and directories that go as a whole: what promotion is made of.

A link is replaced by renaming another one over it, so whoever follows it finds the old target or the new one. The one
thing to know: a link that was being made when a process died ends in `BESIDE`, and `Builds.sweep` removes it.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline import files

BESIDE = ".link-part"  # the ending of a link that has not taken its place yet


def replace_link(path: Path, target: Path) -> None:
    """Make `path` a link to `target` in one rename, on disk when this returns."""
    beside = path.with_name(f"{path.name}.{os.getpid()}{BESIDE}")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # where it could not take its place
    files.sync_directory(path.parent)


def move_aside(path: Path) -> str | None:
    """Rename what stands at `path` to the first free `<name>.bak-<n>` and return that; None where nothing stands."""
    if not os.path.lexists(path):
        return None
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.bak-{number}")):
        number += 1
    path.rename(aside)
    return aside.name


def remove(path: Path) -> None:
    """Remove a directory with all that is in it, or a file or link; nothing there is no harm."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def removed_on_error(directory: Path) -> Iterator[None]:
    """Leave nothing of `directory` when the block fails, is interrupted included."""
    try:
        yield
    except BaseException:
        remove(directory)
        raise
