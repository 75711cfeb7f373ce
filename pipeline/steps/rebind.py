"""Let a workspace go that is bound to the local engine, so that it can move to Gemini; local answers go with it.

What the local engine answered looks like real data and is not. The database is cleared in one transaction; the files
go afterwards, and where a run dies between the two, running it again removes the rest.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import preparing
from pipeline.errors import InputError
from pipeline.index import links
from pipeline.quality import reports
from pipeline.runtime import Runtime
from pipeline.states import OVER
from pipeline.store import answers, batches, clearing, folder, versions, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease
    from pipeline.task import Task

ENGINE_FILES = ("local-engine.sqlite", "local-engine.sqlite-wal", "local-engine.sqlite-shm", "local-engine-files")
INDEX_LEASE = "index"
WAITING = "another process works here; waiting for it"


@dataclass(frozen=True)
class Report:
    """What was cleared: answers taken back, batches forgotten (those given up among them), and files and folders."""

    answers: int = 0
    batches: int = 0
    given_up: int = 0
    files: int = 0

    @property
    def nothing(self) -> bool:
        """True when there was nothing to clear."""
        return not (self.answers or self.batches or self.files)


def run(rt: Runtime, *, give_up: bool, confirm: Callable[[str], bool]) -> Report:
    """Clear the local answers and unbind the workspace; `confirm` is asked before anything is changed.

    Raises:
        InputError: the workspace is bound to Gemini, batches are under way and not given up, or it was not confirmed.
    """
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(rt.waited_lease(name, waiting=WAITING)) for name in (preparing.LEASE, INDEX_LEASE)]
        with rt.store.read() as tx:
            found, numbers, bound = *_found(rt, tx, give_up=give_up), workspace.get(tx).backend
        if found.nothing and bound is None:
            return found
        if not confirm(_question(found)):
            raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
        held += [stack.enter_context(rt.waited_lease(f"batch:{one}", waiting=WAITING)) for one in numbers]
        if bound is not None:
            _clear_database(rt, held)
        with _fenced(rt, held):  # who stood still meanwhile must not remove what somebody else wrote since
            for path in _files(rt):
                links.remove(path)
        with contextlib.suppress(OSError):  # not there, or a user's own files stand in it
            (rt.data / reports.FOLDER).rmdir()
    return found


def _found(rt: Runtime, tx: "Connection", *, give_up: bool) -> tuple[Report, list[int]]:
    """Return what there is to clear, and the numbers of the batches that are not over."""
    bound = workspace.get(tx).backend
    if bound == "gemini":
        raise InputError(
            "this workspace is bound to Gemini, and its answers were paid for; nothing was changed",
            hint="take another DATA= directory to try something on the local engine",
        )
    everyone = batches.in_states(tx)
    under_way = [batch.number for batch in everyone if batch.state not in OVER]
    if under_way and not give_up:
        raise InputError(
            f"batches are under way ({', '.join(map(str, under_way))}); nothing was changed",
            hint="finish them (`make status` says how), or give them up with `findable rebind --give-up`",
        )
    given = sum(answers.count_standing(tx, one.task.name) for one in rt.subjects)
    return Report(given, len(everyone), len(under_way), len(_files(rt))), under_way


@contextlib.contextmanager
def _fenced(rt: Runtime, held: "list[Lease]") -> "Iterator[Connection]":
    """Keep everybody else from taking any of the leases for the length of a transaction.

    Raises:
        LeaseLostError: somebody else has one already.
    """
    with rt.store.write() as tx:
        for lease in held:
            lease.check(tx)
        yield tx


def _clear_database(rt: Runtime, held: "list[Lease]") -> None:
    """Take the local answers back and forget the batches, in one transaction."""
    with _fenced(rt, held) as tx:
        for one in rt.subjects:
            for page in answers.standing_pages(tx, one.task.name):
                one.task.clear(tx, page)
            _take_back(tx, one.task)
        clearing.clear(tx, why="rebind: the local answers were cleared", at=rt.now())
        folder.forget(rt.data)


def _take_back(tx: "Connection", task: "Task") -> None:
    """Take back what a rollback that was killed left; with its version's row gone it would be in sight again."""
    for one in versions.listed(tx, task.name):
        going = one.withdrawn_at is not None
        after = None
        while going:
            after = task.take_back(tx, one.label, model=one.model, after=after).after
            going = after is not None


def _files(rt: Runtime) -> list[Path]:
    """Return the files and folders that hold nothing but the local engine's work: state, batches, index, reports."""
    stable = [rt.data / name for name in ("faiss.index", "metadata.json")]
    ours = [path for path in stable if path.is_symlink() and path.readlink().parts[:2] == ("index", "current")]
    ours += [rt.data / name for name in (*ENGINE_FILES, preparing.FOLDER, "index")]
    written = [path for one in rt.subjects for path in reports.of_task(rt.data, one.task.name)]
    return [path for path in ours if path.is_symlink() or path.exists()] + written


def _question(found: Report) -> str:
    """Return what a person is asked."""
    given_up = f", {found.given_up} of them not over" if found.given_up else ""
    return (
        f"Take back {found.answers} answers of the local engine, and remove {found.batches} batches{given_up}, the "
        "index and the reports? What was imported stays as it is."
    )
