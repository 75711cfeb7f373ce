"""Open a workspace to see what a command would write, which it does not: an import, or a submit that is dry."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.core.progress import Progress
from pipeline.core.settings import BUILT_IN, Settings
from pipeline.engine import registry
from pipeline.engine.access import Access, check_access
from pipeline.engine.folder import is_free
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.store.database import Store
from pipeline.store.schema import is_workspace, other_tables


@contextlib.contextmanager
def open_to_look(settings: Settings, display: Progress, *, agrees: Callable[[str], bool]) -> Iterator[OpenWorkspace]:
    """Open the workspace for the length of a block; where nothing is yet, an empty one that is gone afterwards.

    For a built-in task people are what it is opened with, so that no table is made; for a task of one's own its rows
    are brought up to date, in a workspace that is there; that may make its tables, which is asked in another program's
    database.

    Raises:
        ConfigurationError: there is something and no workspace, or writing would add to a table of another program.
    """
    is_declared = registry.is_declared(settings)
    people = replace(settings, task=BUILT_IN[0])
    with contextlib.closing(Store(settings.url.reveal())) as store:
        with store.read_unchanged() as tx:
            is_new = is_free(settings.data) and (tx is None or not (is_workspace(tx) or other_tables(tx)))
        if not is_new:
            check_access(people if is_declared else settings, store, Access.READ, agrees)
        elif is_declared:
            check_access(settings, store, Access.WRITE, agrees)
    if not is_new:
        opens, access = (settings, Access.WRITE) if is_declared else (people, Access.READ)
        with open_workspace(opens, display, access=access, agrees=agrees) as ws:
            yield ws
        return
    display.say(f"{settings.data} holds no workspace, and gets none: this looks at a temporary one")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_workspace(replace(settings, data=Path(folder), database_url=None), display) as ws,
    ):
        yield ws
