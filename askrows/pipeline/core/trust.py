"""Remember what a person confirmed for a workspace: servers, databases and files of tasks.

A stranger can write anything into a folder before handing it over, the database included. So each
confirmation is a file in the user's own state folder. Its name is the hash of the workspace's path
and of the confirmed value.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection
from pathlib import Path

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import quote_for_shell
from askrows.pipeline.core.errors import ConfigurationError

VARIABLE = "ASKROWS_TRUST"
Ask = Callable[[str], bool]
_confirmation_askers: list[Ask] = []
# Confirmations of this process, which count even if the state folder cannot be written.
_confirmed: set[str] = set()


def set_confirmation_function(ask: Ask) -> None:
    """Set the function that asks a person; without it, every answer is no."""
    _confirmation_askers[:] = [ask]


def ask_for_confirmation_or_raise(
    value: str,
    data: Path,
    *,
    trusted: Collection[str],
    fact: str,
    unchanged: str,
) -> None:
    """Check that a person confirmed a value for a workspace; ask once if not.

    A new confirmation is recorded.

    Args:
        value: An address without its password, a path, or the SHA-256 of a file.
        data: The folder of the workspace.
        trusted: The values of ASKROWS_TRUST.
        fact: The use of the value, as a sentence without its full stop.
        unchanged: Clause that says what was not done if nobody confirms.

    Raises:
        ConfigurationError: Nobody confirmed the value.
    """
    if value in trusted or _is_confirmed(value, data):
        return
    if not any(ask(f"{fact}. Confirm it once for {data}?") for ask in _confirmation_askers):
        raise ConfigurationError(
            f"{fact}; nobody confirmed this, so {unchanged}",
            hint="run a command at a terminal and confirm; "
            f"or set {VARIABLE}={quote_for_shell(value)} in the environment",
        )
    record_confirmation(value, data)


def record_confirmation(value: str, data: Path) -> None:
    """Record that a value is confirmed for a workspace, so that nobody is asked again.

    This function asks nobody: the caller asked a person, or wrote the file with this path or hash
    itself. Writes a file in the user's state folder, unless the value is confirmed already. If the
    file cannot be written, no error is raised, and the value is confirmed for this process only.

    Args:
        value: Address of a server or database, path of a task's file, or hash of a file.
        data: The workspace's folder.
    """
    if _is_confirmed(value, data):
        return
    name = _make_record_name(value, data)
    _confirmed.add(name)
    text = f"{os.path.realpath(data)}\n{value}\n"
    # Without a home, or on a full disk, the next command asks again.
    with contextlib.suppress(OSError, RuntimeError):
        files.seal_bytes(_find_trust_folder() / name, text.encode("utf-8", "surrogateescape"))


def _is_confirmed(value: str, data: Path) -> bool:
    name = _make_record_name(value, data)
    with contextlib.suppress(OSError, RuntimeError):
        return name in _confirmed or (_find_trust_folder() / name).is_file()
    return False


def _make_record_name(value: str, data: Path) -> str:
    subject = f"{os.path.realpath(data)}\0{value}"
    return hashlib.sha256(subject.encode("utf-8", "surrogateescape")).hexdigest()


def _find_trust_folder() -> Path:
    """Return the folder of confirmations.

    A relative XDG_STATE_HOME is ignored, as its standard demands.
    """
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    home = state if state.is_absolute() else Path.home() / ".local" / "state"
    return home / "askrows" / "confirmed"
