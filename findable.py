"""findable for Python: what a task of one's own is declared with, and a workspace to use it in.

Nothing but the names in `__all__` is promised.

```python
import findable

ws = findable.open("data")
report = ws.tag("reviews", budget=5)
for one in ws.answers("reviews"):
    print(one.key, one.answer)
```
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any


def _check_not_hidden() -> None:
    """Pass where the packages of findable are the ones that Python finds under their names.

    Raises:
        ImportError: another folder of that name comes before; the message names it.
    """
    home = Path(__file__).resolve().parent
    for name in ("pipeline", "jobs", "web", "emulator"):
        spec = find_spec(name)
        found = (
            [Path(one).resolve() for one in (spec.submodule_search_locations or ())] if spec else []
        )
        if spec is None or home / name not in found[:1]:
            there = found[0] if found else spec.origin if spec else "nothing"
            raise ImportError(
                f"findable needs its own package `{name}` in {home}, and Python finds {there} under that name: "
                f"rename that, or run from a folder without it. The command `findable` works there all the same"
            )


_check_not_hidden()

from jobs.output import Terminal  # noqa: E402
from jobs.variables import begin_form, read_settings  # noqa: E402 - after the check
from pipeline.core.declaration import Declaration as Task  # noqa: E402
from pipeline.core.errors import FindableError  # noqa: E402
from pipeline.core.progress import NoProgress  # noqa: E402
from pipeline.core.quotes import Quote  # noqa: E402
from pipeline.core.settings import override_settings  # noqa: E402
from pipeline.workflows import shipped_tasks  # noqa: E402

shipped_tasks.register()

if TYPE_CHECKING:
    from pipeline.workflows.answered_row import AnsweredRow
    from pipeline.workflows.ask import AskReport
    from pipeline.workflows.preflight import Preflight
    from pipeline.workflows.python_api import Answers, Workspace
    from pipeline.workflows.rounds import TagReport
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
    "Workspace",
    "open",
]


class Warnings(NoProgress):
    """The display of a quiet workspace: warnings alone, such as why rows were refused."""

    warn = Terminal.warn


def open(  # noqa: A001 - `findable.open`, as other libraries call theirs
    data: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
    yes: bool = False,
    **settings: object,
) -> "Workspace":
    """Return the workspace in a folder: the one that is set, else `data`; nothing is opened or made yet.

    Settings come from the environment and `.env`, as for commands; others may be given by their names in lower case
    (`backend="local"`). `quiet` shows warnings alone; `yes` agrees to add to another program's database.

    Raises:
        InputError, ConfigurationError: a setting is not known, or not one of its values.
    """
    from pipeline.workflows.python_api import Workspace

    begin_form("")
    given = settings if data is None else {**settings, "data": os.fspath(data)}
    display = Warnings() if quiet else Terminal()
    return Workspace(override_settings(read_settings(), given), display, agrees=yes)


def __getattr__(name: str) -> Any:
    """Return one of the classes of reports, which are loaded when they are used."""
    from pipeline.workflows import python_api

    if name in __all__ and hasattr(python_api, name):
        return getattr(python_api, name)
    raise AttributeError(f"module 'findable' has no attribute {name!r}")
