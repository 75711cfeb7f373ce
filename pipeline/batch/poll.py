"""Follow every batch at the API until it is over and its result is sealed on disk: submitted -> downloaded | failed.

Whether a batch is alive is decided by `get` alone, never by its absence from a list. While this only waits it holds
nothing: a poll of a day blocks nobody. It adopts what an unclear create left behind, and never creates. What is wrong
with one batch does not keep it from the others.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.batch import download, reconcile
from pipeline.core.errors import (
    KeyRefusedError,
    MissingError,
    NotSentError,
    RemoteError,
    StateConflictError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.states import BatchState, RemoteState, is_known_state
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches
from pipeline.store.batches import Batch
from pipeline.store.leases import LeaseLostError

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.gemini.operations import RemoteBatch


LOCAL_LOOK_S = 5.0  # how long a single look lets the local engine work
GROWTH = 1.5  # from one wait to the next
MAY_PASS = (UnavailableError, NotSentError, ThrottledError)


@dataclass
class PollReport:
    """What became of the batches that were followed, by number, and what stopped the run early, if anything did.

    `failed` and `gone` say why; `unclear` are creates that `batch-submit` has to clear up.
    """

    downloaded: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    gone: dict[int, str] = field(default_factory=dict)
    unclear: list[int] = field(default_factory=list)
    stopped: RemoteError | None = None


@dataclass
class _Watch:
    """What one run remembers between looks: the batches it follows, how far each is, and what went wrong."""

    only: int | None = None  # the one batch that is followed, where it is not all
    silent_since: datetime | None = None  # when a look failed after which none succeeded
    done: dict[int, int] = field(default_factory=dict)
    gone: dict[int, str] = field(default_factory=dict)
    refused: dict[int, RemoteError] = field(default_factory=dict)  # for good; looked at no more in this run
    troubled: dict[int, RemoteError] = field(default_factory=dict)  # the last look failed, the next one may not
    odd: set[str] = field(default_factory=set)

    def is_followed(self, number: int) -> bool:
        """Return whether another look at this batch makes sense."""
        return number not in self.gone and number not in self.refused


def run(ws: OpenWorkspace, *, wait: bool, only: int | None = None, first: bool = False) -> PollReport:
    """Look at every submitted batch, or at one, once or until all are over, or the first; returns what was seen.

    Where no look succeeds for `poll_patience` seconds, or a daily quota is used up, it ends early and says so in
    `stopped`; everything else was done, and what could not be looked at is as it was.

    Raises:
        KeyRefusedError: the key is not accepted any more.
    """
    report, watch = PollReport(), _Watch(only=only)
    _adopt_unclear(ws, report)
    download.check_duplicates(ws)
    _note_new(ws, watch)
    if not watch.done:
        return report
    label = f"batch {next(iter(watch.done))}" if len(watch.done) == 1 else f"{len(watch.done)} batches"
    with ws.display.bar(label, _requests(ws, watch.done)) as bar:
        _follow(ws, report, watch, wait=wait, first=first, bar=bar)
    _account(ws, report, watch)
    if report.downloaded or report.failed:
        download.check_duplicates(ws)
    return report


def _follow(ws: OpenWorkspace, report: PollReport, watch: _Watch, *, wait: bool, first: bool, bar: "Bar") -> None:
    """Look, wait longer and longer, and look again, until every batch, or the first, is over or `wait` is false."""
    pause, began = ws.settings.poll_first, ws.now()
    while True:
        _look_at_all(ws, watch, bar=bar)
        waiting = _waiting(ws, watch)
        report.stopped = _stopping(ws, watch, waiting, wait=wait)
        if not waiting or report.stopped is not None or (first and len(waiting) < len(watch.done)):
            return
        works = ws.backend == "local" and ws.now() - began < timedelta(seconds=LOCAL_LOOK_S)
        if not wait and not works:
            return
        ws.sleep(pause)
        pause = min(pause * GROWTH, ws.settings.poll_most)
        _note_new(ws, watch)


def _look_at_all(ws: OpenWorkspace, watch: _Watch, *, bar: "Bar") -> None:
    """Look once at each batch that is not over, and bring home what is; one that fails does not stop the others."""
    total = _requests(ws, watch.done)
    for number in list(watch.done):
        with ws.store.read() as tx:
            batch = batches.get_batch(tx, number)
        note = ""
        if batch.state is not BatchState.SUBMITTED:
            watch.done[number] = batch.requests
        elif watch.is_followed(number):
            note = _look_patiently(ws, batch, watch)
            if watch.troubled and _is_out_of_patience(ws, watch):
                return
        bar.show(sum(watch.done.values()), total=total, note=note)


def _look_patiently(ws: OpenWorkspace, batch: Batch, watch: _Watch) -> str:
    """Look at one batch and remember what went wrong with it; return a note for the progress display."""
    try:
        note = _look_at(ws, batch, watch)
    except KeyRefusedError:
        raise
    except MissingError as error:
        watch.gone[batch.number] = error.message
    except MAY_PASS as error:
        if batch.number not in watch.troubled:
            ws.display.warn(f"batch {batch.number}: {error.message}")
        watch.troubled[batch.number] = error
        watch.silent_since = watch.silent_since or ws.now()
    except RemoteError as error:
        watch.refused[batch.number] = error
    else:
        watch.troubled.pop(batch.number, None)
        watch.silent_since = None
        return note
    return ""


def _look_at(ws: OpenWorkspace, batch: Batch, watch: _Watch) -> str:
    """Look at one batch; bring it home when it is over, cancel it when it is too old."""
    remote = ws.client.get_batch(batch.remote_name or "")
    _note_look(ws, batch, remote, watch)
    if not remote.state.is_over:
        _cancel_if_too_old(ws, batch)
    elif not _may_get_its_file(ws, batch, remote):
        download.download_result(ws, batch.number, remote)
    return f"batch {batch.number}: {(remote.word or 'no state').lower()} {watch.done[batch.number]}/{batch.requests}"


def _note_look(ws: OpenWorkspace, batch: Batch, remote: "RemoteBatch", watch: _Watch) -> None:
    """Keep what the API says of a batch, and warn once of a word that says nothing to us."""
    done = (remote.succeeded or 0) + (remote.failed or 0)
    watch.done[batch.number] = min(done, batch.requests)
    with ws.store.write() as tx:
        batches.note_look(tx, batch, word=remote.word, done=done)
    if not is_known_state(remote.word) and str(remote.word) not in watch.odd:
        watch.odd.add(str(remote.word))
        ws.display.warn(f"batch {batch.number}: a state never seen before, {remote.word!r}; taken as not over")


def _may_get_its_file(ws: OpenWorkspace, batch: Batch, remote: "RemoteBatch") -> bool:
    """Return whether a batch that succeeded without naming its result may still name it; when it began is kept."""
    if remote.state is not RemoteState.SUCCEEDED or remote.result_file:
        return False
    if batch.over_at is None:
        with ws.store.write() as tx:
            batches.note_over(tx, batch, at=ws.now())
        return True
    return ws.now() - batch.over_at < timedelta(seconds=ws.settings.poll_patience)


def _cancel_if_too_old(ws: OpenWorkspace, batch: Batch) -> None:
    """Ask the API to cancel a batch that should have been over long ago; its items go out again once it is over."""
    age = ws.now() - (batch.submitted_at or ws.now())
    if batch.cancel_asked_at is not None or age < timedelta(hours=ws.settings.batch_hours):
        return
    why = f"not over after {age.total_seconds() / 3600:.0f} h"
    ws.client.cancel_batch(batch.remote_name or "")
    with contextlib.suppress(StateConflictError), ws.store.write() as tx:  # another poll may have brought it home
        batches.note_cancel(tx, batch, why=why, at=ws.now())
    ws.display.warn(f"batch {batch.number}: {why}; asked the API to cancel it, what it did not answer goes out again")


def _stopping(ws: OpenWorkspace, watch: _Watch, waiting: Collection[int], *, wait: bool) -> RemoteError | None:
    """Return what ends this run now, if anything does: a daily quota, no sign of life, or a single look that failed."""
    troubles = [watch.troubled[number] for number in waiting if number in watch.troubled]
    for error in troubles:
        if isinstance(error, ThrottledError) and error.resets_at is not None:
            return error
    if troubles and (not wait or _is_out_of_patience(ws, watch)):
        return troubles[-1]
    return next(iter(watch.refused.values()), None) if not waiting else None


def _is_out_of_patience(ws: OpenWorkspace, watch: _Watch) -> bool:
    """Return whether no look at any batch succeeded for too long."""
    since = watch.silent_since
    return since is not None and ws.now() - since > timedelta(seconds=ws.settings.poll_patience)


def _adopt_unclear(ws: OpenWorkspace, report: PollReport) -> None:
    """Look for batches whose create is unclear; what is found is adopted, the rest is for `batch-submit`."""
    with ws.store.read() as tx:
        unclear = batches.batches_in_states(tx, BatchState.SUBMITTING, task=ws.task.name)
    if not unclear:
        return
    try:
        listing = ws.client.list_batches()
    except KeyRefusedError:
        raise
    except RemoteError as error:
        ws.display.warn(f"could not look for batches whose create is unclear: {error.message}")
        report.unclear += [batch.number for batch in unclear]
        return
    for batch in unclear:
        # whoever sent it may record it at any moment, having stood still: then there is nothing unclear any more
        with contextlib.suppress(StateConflictError, LeaseLostError), ws.lease(f"batch:{batch.number}") as lease:
            if lease is None:
                continue
            with ws.store.read() as tx:
                current = batches.get_batch(tx, batch.number)
            is_unclear = current.state is BatchState.SUBMITTING
            if is_unclear and not reconcile.reconcile(ws, current, lease, listing).adopted:
                report.unclear.append(batch.number)


def _note_new(ws: OpenWorkspace, watch: _Watch) -> None:
    """Follow every submitted batch, also those that were submitted since the last look."""
    with ws.store.read() as tx:
        for batch in batches.batches_in_states(tx, BatchState.SUBMITTED, task=ws.task.name):
            if watch.only in (None, batch.number):
                watch.done.setdefault(batch.number, 0)


def _waiting(ws: OpenWorkspace, watch: _Watch) -> list[int]:
    """Return the batches that are worth another look."""
    with ws.store.read() as tx:
        submitted = {batch.number for batch in batches.batches_in_states(tx, BatchState.SUBMITTED, task=ws.task.name)}
    return [number for number in watch.done if number in submitted and watch.is_followed(number)]


def _account(ws: OpenWorkspace, report: PollReport, watch: _Watch) -> None:
    """Say how each batch stands now, whichever process brought it there."""
    with ws.store.read() as tx:
        followed = [batches.get_batch(tx, number) for number in watch.done]
    for batch in followed:
        if batch.state is BatchState.FAILED:
            report.failed[batch.number] = batch.reason or ""
        elif batch.state is not BatchState.SUBMITTED:
            report.downloaded.append(batch.number)
        elif batch.number not in watch.gone:
            report.waiting.append(batch.number)
    report.gone = {number: why for number, why in watch.gone.items() if number not in report.downloaded}


def _requests(ws: OpenWorkspace, numbers: Collection[int]) -> int:
    with ws.store.read() as tx:
        return sum(batches.get_batch(tx, number).requests for number in numbers)
