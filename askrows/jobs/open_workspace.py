"""Open a workspace from Python: `askrows.open`."""

import os

from askrows.jobs.output import Terminal
from askrows.jobs.variables import read_settings, set_hint_form
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.settings import override_settings
from askrows.pipeline.passages import PASSAGES_TASK
from askrows.pipeline.tasks.shipped_task import register_shipped_tasks
from askrows.pipeline.workflows.python_api import Workspace

register_shipped_tasks([PASSAGES_TASK])


class WarningOutput(NoProgress):
    """Output of a quiet workspace. It prints only warnings, such as why rows were refused."""

    warn = Terminal.warn


def open(  # noqa: A001 - other libraries have an `open`, too
    data: str | os.PathLike[str] | None = None,
    *,
    quiet: bool = False,
    yes: bool = False,
    **settings: object,
) -> Workspace:
    """Return the workspace in a folder; open and create nothing yet.

    Settings come from the keyword arguments, the environment and `.env`, as for commands.

    Args:
        data: The folder, or None for the folder of the setting DATA.
        quiet: Print only warnings.
        yes: Agree to create askrows' tables in another program's database.
        settings: Settings by their lower-case names, which override the others: `backend="local"`.

    Raises:
        InputError, ConfigurationError: A setting is unknown or invalid.
    """
    set_hint_form("")
    overrides = dict(settings)
    if data is not None:
        overrides["data"] = os.fspath(data)
    display = WarningOutput() if quiet else Terminal()
    return Workspace(override_settings(read_settings(), overrides), display, agrees=yes)
