"""The folder of a workspace: which names in it are findable's, and what makes it none that commands may write to."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.core.errors import ConfigurationError
from pipeline.core.step import Option
from pipeline.core.text import BAD_TEXT

# Where commands write: a link that leads out is refused. A user's own files may stand beside and be what they like
_WRITTEN = re.compile(r"findable\.db.*|workspace\.json.*|batches|index|locks|reports|sources|emulator|local-engine.*")


def make_directory(data: Path) -> None:
    """Make the workspace's directory where it is not there. ConfigurationError where there can be none."""
    with _refusing(data):
        data.mkdir(parents=True, exist_ok=True)


def is_free(data: Path) -> bool:
    """Return whether a workspace can begin in a folder without standing beside what is there: it is new, or empty."""
    return not data.exists() or (data.is_dir() and not any(data.iterdir()))


def check_links(data: Path) -> None:
    """Pass where no link in the workspace's directory leads out of it, so that writing would change other files.

    ConfigurationError where one does, or the directory cannot be read, or its name is no text.
    """
    with _refusing(data):
        if BAD_TEXT.search(str(data.absolute())):
            said = f"{data} cannot be the workspace: {data.absolute()} is not valid UTF-8; nothing was changed"
            raise ConfigurationError(said, hint=f"set {Option('data')} to a directory whose name is")
        link = _link_out(data)
    if link is not None:
        raise ConfigurationError(
            f"{link} is a link that leads out of the workspace, to {os.path.realpath(link)}; nothing was changed",
            hint=f"put a real file or folder there, or set {Option('data')} to the place that the link leads to",
        )


def _link_out(data: Path) -> Path | None:
    home = Path(os.path.realpath(data))
    for folder, folders, names in os.walk(home):
        if Path(folder) == home:
            folders[:] = filter(_WRITTEN.fullmatch, folders)
            names = [*filter(_WRITTEN.fullmatch, names)]  # noqa: PLW2901 - the others are not ours
        for one in (Path(folder, name) for name in (*folders, *names)):
            if one.is_symlink() and not Path(os.path.realpath(one)).is_relative_to(home):
                return data / one.relative_to(home)
    return None


@contextlib.contextmanager
def _refusing(data: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        found = "it is a file" if data.is_file() else error.strerror
        raise ConfigurationError(
            f"{data} cannot be the workspace: {found}; nothing was changed",
            hint=f"set {Option('data')} to a directory that can be written",
        ) from error
