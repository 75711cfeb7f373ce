"""findable for Python: declare a task of your own, and use a workspace.

Only the names in `__all__` are stable.

```python
import findable

ws = findable.open("data")
report = ws.tag("reviews", budget=5)
for row in ws.answers("reviews"):
    print(row.key, row.answer)
```
"""

import os
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

_PACKAGES = ("pipeline", "jobs", "web", "emulator")


def _check_not_hidden() -> None:
    """Check that Python finds findable's packages, and not others with the same names.

    These are `pipeline`, `jobs`, `web` and `emulator`, which must be beside this file.

    Raises:
        ImportError: Another package of such a name comes first, or the package is missing; the
            message has the path that Python found.
    """
    home = Path(__file__).resolve().parent
    for name in _PACKAGES:
        spec = find_spec(name)
        folders = _package_folders(spec)
        if spec is not None and folders[:1] == [home / name]:
            continue

        found_path: object = "nothing"
        if folders:
            found_path = folders[0]
        elif spec is not None:
            found_path = spec.origin
        raise ImportError(
            f"findable needs its package `{name}` in {home}, but Python finds {found_path} first. "
            "Rename that package, or run Python in another folder. "
            "The command `findable` works in any folder",
        )


def _package_folders(spec: ModuleSpec | None) -> list[Path]:
    """Return the folders in which Python finds a package, absolute; empty without a package."""
    locations = spec.submodule_search_locations if spec else None
    return [Path(location).resolve() for location in locations or ()]


_check_not_hidden()

from jobs.output import Terminal  # noqa: E402
from jobs.variables import read_settings, set_hint_form  # noqa: E402 - after the check
from pipeline.core.declaration import Declaration as Task  # noqa: E402
from pipeline.core.errors import FindableError  # noqa: E402
from pipeline.core.progress import NoProgress  # noqa: E402
from pipeline.core.quotes import Quote  # noqa: E402
from pipeline.core.settings import override_settings  # noqa: E402
from pipeline.core.vocabulary import Vocabulary  # noqa: E402
from pipeline.workflows import shipped_tasks  # noqa: E402

shipped_tasks.register()

if TYPE_CHECKING:
    from pipeline.workflows.answered_row import AnsweredRow
    from pipeline.workflows.ask import AskReport
    from pipeline.workflows.preflight import Preflight
    from pipeline.workflows.python_api import Answers, Workspace
    from pipeline.workflows.tag_report import TagReport
    from pipeline.workflows.try_out import TryReport

__all__ = [
    "AnsweredRow",
    "Answers",
    "AskReport",
    "FindableError",
    "Preflight",
    "Quote",
    "TagReport",
    "Task",
    "TryReport",
    "Vocabulary",
    "Workspace",
    "open",
]


class WarningOutput(NoProgress):
    """Output of a quiet workspace. It prints only warnings, such as why rows were refused."""

    warn = Terminal.warn


def open(  # noqa: A001 - other libraries have an `open`, too
    data: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
    yes: bool = False,
    **settings: object,
) -> "Workspace":
    """Return the workspace in a folder; open and create nothing yet.

    Settings come from the keyword arguments, the environment and `.env`, as for commands.

    Args:
        data: The folder, or None for the folder of the setting DATA.
        quiet: Print only warnings.
        yes: Agree to create findable's tables in another program's database.
        settings: Settings by their lower-case names, which override the others: `backend="local"`.

    Raises:
        InputError, ConfigurationError: A setting is unknown or invalid.
    """
    from pipeline.workflows.python_api import Workspace

    set_hint_form("")
    overrides = dict(settings)
    if data is not None:
        overrides["data"] = os.fspath(data)
    display = WarningOutput() if quiet else Terminal()
    return Workspace(override_settings(read_settings(), overrides), display, agrees=yes)


def __getattr__(name: str) -> Any:
    """Return a class of `__all__` that is imported only when it is used.

    Raises:
        AttributeError: This module has no such name.
    """
    from pipeline.workflows import python_api

    if name in __all__ and hasattr(python_api, name):
        return getattr(python_api, name)
    raise AttributeError(f"module 'findable' has no attribute {name!r}")


if __name__ == "__main__":
    from jobs.cli import main

    main()
