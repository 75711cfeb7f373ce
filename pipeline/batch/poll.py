"""Follow every batch at the API until it is over and its result is sealed on disk: submitted -> downloaded | failed.

Whether a batch is alive is decided by `get` alone, never by its absence from a list. While this only waits it holds
nothing: a poll of a day blocks no other process. It adopts what an unclear create left behind, and never creates. What
is wrong with one batch does not keep it from the others.
"""

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from pipeline.batch.download import check_duplicates, download_result, fetch_lost
from pipeline.batch.reconcile import lock_of, reconcile
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
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
from pipeline.store.locks import LockLostError

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.engine.task import Words
    from pipeline.gemini.remote import RemoteBatch


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

    def errors(self, words: "Words") -> list[FindableError]:
        """Return what needs a person or another time: batches that are gone or unclear, an API that was not reached."""
        gone = [
            ConfigurationError(
                f"batch {number}: {why}; it was left as it is, claims kept",
                hint=f"check the key, or give it up: make batch-cancel BATCH={number}",
            )
            for number, why in self.gone.items()
        ]
        stopped, finds_out = [self.stopped] if self.stopped else [], f"`{words.make('batch-submit')}` finds out"
        said = "it is unclear whether it was created"
        return [*gone, *stopped, *(RemoteError(f"batch {one}: {said}", hint=finds_out) for one in self.unclear)]

    def document(self) -> dict[str, object]:
        """Return the report for programs."""
        return vars(self) | {"stopped": self.stopped.message if self.stopped else None}


def run(ws: OpenWorkspace, *, wait: bool, first: bool = False) -> PollReport:
    """Look at every submitted batch, once or until all are over, or the first; returns what was seen.

    Where no look succeeds for `poll_patience` seconds, or a daily quota is used up, it ends early and says so in
    `stopped`; everything else was done, and what could not be looked at is as it was.

    Raises:
        KeyRefusedError: the key is not accepted any more.
    """
    poll = _Poll(ws)
    poll.adopt_unclear()
    check_duplicates(ws)
    fetch_lost(ws)
    poll.follow_new()
    if not poll.done:
        return poll.report
    label = f"batch {next(iter(poll.done))}" if len(poll.done) == 1 else f"{len(poll.done)} batches"
    with ws.display.bar(label, poll.total) as bar:
        poll.follow(wait=wait, first=first, bar=bar)
    poll.sum_up()
    if poll.report.downloaded or poll.report.failed:
        check_duplicates(ws)
    return poll.report


@dataclass
class _Poll:
    ws: OpenWorkspace
    report: PollReport = field(default_factory=PollReport)
    requests: dict[int, int] = field(default_factory=dict)  # of each batch, by number
    done: dict[int, int] = field(default_factory=dict)  # of these
    refused: dict[int, RemoteError] = field(default_factory=dict)  # for good; looked at no more in this run
    troubled: dict[int, RemoteError] = field(default_factory=dict)  # the last look failed, the next one may not
    silent_since: datetime | None = None  # when a look failed after which none succeeded
    odd_words: set[str] = field(default_factory=set)

    @property
    def total(self) -> int:
        return sum(self.requests.values())

    def adopt_unclear(self) -> None:
        """Look for batches whose create is unclear; what is found is adopted, the rest is for `batch-submit`."""
        ws = self.ws
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
            self.report.unclear += [batch.number for batch in unclear]
            return
        for number in (batch.number for batch in unclear):
            # its sender may record it at any moment, having stood still: then there is nothing unclear any more
            with contextlib.suppress(StateConflictError, LockLostError), ws.locks.hold(lock_of(number)) as lock:
                if lock is None:
                    ws.display.say(f"batch {number}: {ws.locks.holder(lock_of(number))}")
                    continue
                with ws.store.read() as tx:
                    batch = batches.get_batch(tx, number)
                is_unclear = batch.state is BatchState.SUBMITTING
                if is_unclear and not reconcile(ws, batch, listing).adopted:
                    self.report.unclear.append(number)

    def follow_new(self) -> None:
        for batch in self._submitted():
            self.requests[batch.number] = batch.requests
            self.done.setdefault(batch.number, 0)

    def _submitted(self) -> list[Batch]:
        with self.ws.store.read() as tx:
            return batches.batches_in_states(tx, BatchState.SUBMITTED, task=self.ws.task.name)

    def _is_followed(self, number: int) -> bool:
        return number in self.done and number not in self.report.gone and number not in self.refused

    def follow(self, *, wait: bool, first: bool, bar: "Bar") -> None:
        """Look, wait longer and longer, and look again, until every batch, or the first, is over or `wait` is false."""
        ws, pause, began = self.ws, self.ws.settings.poll_first, self.ws.now()
        while True:
            self._look_at_all(bar)
            at_api = [batch.number for batch in self._submitted()]
            waiting = [number for number in at_api if self._is_followed(number)]
            self.report.stopped = self._stopping(waiting, wait=wait)
            if not waiting or self.report.stopped is not None or (first and not set(self.done) <= set(at_api)):
                return
            works = ws.backend == "local" and ws.now() - began < timedelta(seconds=LOCAL_LOOK_S)
            if not wait and not works:
                return
            ws.sleep(pause)
            pause = min(pause * GROWTH, ws.settings.poll_most)
            self.follow_new()

    def _look_at_all(self, bar: "Bar") -> None:
        """Look once at each batch that is not over, and download what is; one that fails does not stop the others."""
        for number in list(self.done):
            with self.ws.store.read() as tx:
                batch = batches.get_batch(tx, number)
            note = ""
            if batch.state is not BatchState.SUBMITTED:
                self.done[number] = batch.requests
            elif self._is_followed(number):
                note = self._look_patiently(batch)
                if self.troubled and self._is_out_of_patience():
                    return
            bar.show(sum(self.done.values()), total=self.total, note=note)

    def _look_patiently(self, batch: Batch) -> str:
        try:
            note = self._look_at(batch)
        except KeyRefusedError:
            raise
        except MissingError as error:
            self.report.gone[batch.number] = error.message
        except MAY_PASS as error:
            if batch.number not in self.troubled:
                self.ws.display.warn(f"batch {batch.number}: {error.message}")
            self.troubled[batch.number] = error
            self.silent_since = self.silent_since or self.ws.now()
        except RemoteError as error:
            self.refused[batch.number] = error
        else:
            self.troubled.pop(batch.number, None)
            self.silent_since = None
            return note
        return ""

    def _look_at(self, batch: Batch) -> str:
        """Look at one batch and record what the API says; download it when it is over, cancel it when it is too old."""
        ws, number = self.ws, batch.number
        remote = ws.client.get_batch(batch.remote_name or "")
        done = (remote.succeeded or 0) + (remote.failed or 0)
        self.done[number] = min(done, batch.requests)
        with ws.store.write() as tx:
            batches.note_look(tx, batch, word=remote.word, done=done)
        if not is_known_state(remote.word) and str(remote.word) not in self.odd_words:
            self.odd_words.add(str(remote.word))
            ws.display.warn(f"batch {number}: a state never seen before, {remote.word!r}; taken as not over")
        if not remote.state.is_over:
            self._cancel_if_too_old(batch)
        elif not self._may_get_its_file(batch, remote):
            download_result(ws, number, remote)
        said = (remote.word or "no state").lower().rpartition("state_")[2]
        return said if len(self.done) == 1 else f"batch {number}: {said}"

    def _may_get_its_file(self, batch: Batch, remote: "RemoteBatch") -> bool:
        """Return whether a batch that succeeded without naming its result may still name it; when it began is kept."""
        if remote.state is not RemoteState.SUCCEEDED or remote.result_file:
            return False
        if batch.over_at is None:
            with self.ws.store.write() as tx:
                batches.note_over(tx, batch, at=self.ws.now())
            return True
        return self.ws.now() - batch.over_at < timedelta(seconds=self.ws.settings.poll_patience)

    def _cancel_if_too_old(self, batch: Batch) -> None:
        """Ask the API to cancel a batch that should have been over long ago; its items go out again once it is over."""
        ws, now = self.ws, self.ws.now()
        age = now - (batch.submitted_at or now)
        if batch.cancel_asked_at is not None or age < timedelta(hours=ws.settings.batch_hours):
            return
        why = f"not over after {age.total_seconds() / 3600:.0f} h"
        ws.client.cancel_batch(batch.remote_name or "")
        with contextlib.suppress(StateConflictError), ws.store.write() as tx:  # another poll may have been first
            batches.note_cancel(tx, batch, why=why, at=ws.now())
        ws.display.warn(
            f"batch {batch.number}: {why}; asked the API to cancel it, what it did not answer goes out again"
        )

    def _stopping(self, waiting: list[int], *, wait: bool) -> RemoteError | None:
        """Return what ends this run now, if anything: a daily quota, no sign of life, or a single look that failed."""
        troubles = [self.troubled[number] for number in waiting if number in self.troubled]
        for error in troubles:
            if isinstance(error, ThrottledError) and error.resets_at is not None:
                return error
        if troubles and (not wait or self._is_out_of_patience()):
            return troubles[-1]
        return next(iter(self.refused.values()), None) if not waiting else None

    def _is_out_of_patience(self) -> bool:
        since, patience = self.silent_since, timedelta(seconds=self.ws.settings.poll_patience)
        return since is not None and self.ws.now() - since > patience

    def sum_up(self) -> None:
        """Report how each batch stands now, whichever process brought it there."""
        report = self.report
        with self.ws.store.read() as tx:
            followed = [batches.get_batch(tx, number) for number in self.done]
        for batch in followed:
            if batch.state is BatchState.FAILED:
                report.failed[batch.number] = batch.reason or ""
            elif batch.state is not BatchState.SUBMITTED:
                report.downloaded.append(batch.number)
            elif batch.number not in report.gone:
                report.waiting.append(batch.number)
        report.gone = {number: why for number, why in report.gone.items() if number not in report.downloaded}
