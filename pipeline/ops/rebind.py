"""Let a workspace go that is bound to the local engine, so that it can move to Gemini; local answers go with it.

What the local engine answered looks like real data and is not. The database is cleared in one transaction; the files
go afterwards, and where a run dies between the two, running it again removes the rest.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.batch import prepare
from pipeline.core import links
from pipeline.core.errors import InputError
from pipeline.core.states import OVER
from pipeline.core.task import Subject, Task
from pipeline.engine.taken_back import take_back
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build
from pipeline.ops.forget_files import ENGINE
from pipeline.quality import report_files
from pipeline.store import answers, batches, clear, marker, versions, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store
    from pipeline.store.leases import Lease


WAITING = "another process works here; waiting for it"


@dataclass(frozen=True)
class RebindReport:
    """What was cleared: answers taken back, batches forgotten (those given up among them), and files and folders."""

    answers: int = 0
    batches: int = 0
    given_up: int = 0
    files: int = 0

    @property
    def nothing(self) -> bool:
        """True when there was nothing to clear."""
        return not (self.answers or self.batches or self.files)


def run(ws: OpenWorkspace, *, give_up: bool, confirm: Callable[[str], bool]) -> RebindReport:
    """Clear the local answers and unbind the workspace; `confirm` is asked before anything is changed.

    Raises:
        InputError: the workspace is bound to Gemini, batches are under way and not given up, or it was not confirmed.
    """
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(ws.waited_lease(name, waiting=WAITING)) for name in (prepare.LEASE, build.LEASE)]
        with ws.store.read() as tx:
            found, numbers = _found(tx, ws.subjects, ws.data, give_up=give_up)
            bound = workspace.get_workspace(tx).backend
        if found.nothing and bound is None:
            return found
        if not confirm(_question(found)):
            raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
        held += [stack.enter_context(ws.waited_lease(f"batch:{one}", waiting=WAITING)) for one in numbers]
        if bound is not None:
            _clear_database(ws, held)
        with _fenced(ws.store, held):  # after standing still, this must not remove what another process wrote since
            for path in _files(ws.data, ws.subjects):
                links.remove_link(path)
        with contextlib.suppress(OSError):  # not there, or a user's own files stand in it
            (ws.data / report_files.FOLDER).rmdir()
    return found


def _found(
    tx: "Connection", subjects: Sequence[Subject], data: Path, *, give_up: bool
) -> tuple[RebindReport, list[int]]:
    """Return what there is to clear, and the numbers of the batches that are not over."""
    bound = workspace.get_workspace(tx).backend
    if bound == "gemini":
        raise InputError(
            "this workspace is bound to Gemini, and its answers were paid for; nothing was changed",
            hint="take another DATA= directory to try something on the local engine",
        )
    everyone = batches.batches_in_states(tx)
    under_way = [batch.number for batch in everyone if batch.state not in OVER]
    if under_way and not give_up:
        raise InputError(
            f"batches are under way ({', '.join(map(str, under_way))}); nothing was changed",
            hint="finish them (`make status` says how), or give them up with `findable rebind --give-up`",
        )
    given = sum(answers.count_current(tx, one.task.name) for one in subjects)
    return RebindReport(given, len(everyone), len(under_way), len(_files(data, subjects))), under_way


@contextlib.contextmanager
def _fenced(store: "Store", held: "list[Lease]") -> "Iterator[Connection]":
    """Keep other processes from taking any of the leases for the length of a transaction.

    Raises:
        LeaseLostError: another process has one already.
    """
    with store.write() as tx:
        for lease in held:
            lease.check(tx)
        yield tx


def _clear_database(ws: OpenWorkspace, held: "list[Lease]") -> None:
    """Take the local answers back and forget the batches, in one transaction."""
    with _fenced(ws.store, held) as tx:
        for one in ws.subjects:
            for page in answers.current_pages(tx, one.task.name):
                one.task.rows.remove(tx, page)
            _take_back(tx, one.task)
        clear.clear_answers(tx, why="rebind: the local answers were cleared", at=ws.now())
        marker.remove_marker(ws.data)


def _take_back(tx: "Connection", task: Task) -> None:
    """Take back what a killed rollback left; without its version's row it would be in sight again."""
    for one in versions.list_versions(tx, task.name):
        going = one.withdrawn_at is not None
        after = None
        while going:
            after = take_back(tx, task, one.label, model=one.model, after=after).after
            going = after is not None


def _files(data: Path, subjects: Sequence[Subject]) -> list[Path]:
    """Return the files and folders that hold nothing but the local engine's work: state, batches, index, reports."""
    stable = [data / name for name in ("faiss.index", "metadata.json")]
    ours = [path for path in stable if path.is_symlink() and path.readlink().parts[:2] == ("index", "current")]
    ours += [data / name for name in (*ENGINE, prepare.FOLDER, "index")]
    written = [path for one in subjects for path in report_files.reports_of_task(data, one.task.name)]
    return [path for path in ours if path.is_symlink() or path.exists()] + written


def _question(found: RebindReport) -> str:
    given_up = f", {found.given_up} of them not over" if found.given_up else ""
    return (
        f"Take back {found.answers} answers of the local engine, and remove {found.batches} batches{given_up}, "
        "index and reports? What was imported stays."
    )
