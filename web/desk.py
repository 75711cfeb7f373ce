"""What the page works with: the workspace, opened as commands open it, what tags new people, and what runs for long."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import BUILT_IN, Settings
from pipeline.engine.access import Access
from pipeline.engine.workspace import OpenWorkspace, open_workspace
from pipeline.live.due_tagger import DueTagger
from web.running import Running

PEOPLE = "experts"  # the task that people are of


@dataclass
class Desk:
    """One page on one workspace: each request opens it anew, so that what other processes do is seen at once."""

    settings: Settings
    token: str
    csrf: str
    readonly: bool = False
    tagger: DueTagger = field(init=False)
    running: Running = field(init=False)

    def __post_init__(self) -> None:
        """Make what works in the background; nothing is begun."""
        self.tagger = DueTagger(partial(self.to_write, PEOPLE))
        self.running = Running()

    @contextlib.contextmanager
    def to_read(self, task: str | None = None) -> Iterator[OpenWorkspace]:
        """Open the workspace to be read, for the length of a block; `task` is meant in the place of that which is set."""
        with self._opened(task, Access.READ, NoProgress()) as ws:
            yield ws

    @contextlib.contextmanager
    def to_write(self, task: str | None = None, display: Progress | None = None) -> Iterator[OpenWorkspace]:
        """Open the workspace to be written; `display` gets what a command would print."""
        with self._opened(task, Access.CREATE, display or NoProgress()) as ws:
            yield ws

    def _opened(
        self, task: str | None, access: Access, display: Progress
    ) -> "contextlib.AbstractContextManager[OpenWorkspace]":
        settings = replace(self.settings, task=task or self.settings.task)
        return open_workspace(settings, display, access=access, whole=settings.task not in BUILT_IN)

    def start(self) -> None:
        """Begin the work in the background."""
        if not self.readonly:
            self.tagger.start()

    def stop(self, *, within_s: float) -> None:
        """End the work in the background; what is under way may finish within so many seconds."""
        if not self.readonly:
            self.tagger.stop(within_s=within_s)
        self.running.stop(within_s=within_s)
