"""Follow every batch at the API until it is over and its result is sealed on disk: submitted -> downloaded | failed.

Whether a batch is alive is decided by `get` alone, never by its absence from a list. While this only waits it holds
nothing: a poll of a day blocks no other process. What an unclear create left behind is for `batch-submit`. What is
wrong with one batch does not keep it from the others. One that expired, failed or was cancelled gives up what result it
has; one without any lets its items go uncharged, but what failed so too often in a row is parked.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from pipeline.batch.batch_files import lock_of, result_path, sealed_result
from pipeline.batch.send import (
    BY_HAND,
    cancel_duplicates,
    drop_upload,
    give_up_batch,
    write_failures,
)
from pipeline.core import errors, files
from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import ProgressBar
from pipeline.core.states import BatchState, Outcome, RemoteState, is_known_state
from pipeline.engine.record import JudgedReply, source_of
from pipeline.engine.task import TaskLabels
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.remote import RemoteBatch
from pipeline.gemini.requests import request_key
from pipeline.gemini.responses import ResultFile
from pipeline.gemini.result_lines import EMPTY_BODY, describe_body, rewrite_as_lines, write_inlined
from pipeline.store import batches, claims
from pipeline.store.batches import BatchRow
from pipeline.store.database import PAGE
from pipeline.store.locks import LockLostError

LOCAL_LOOK_S = 5.0  # how long a single look lets the local engine work
GROWTH = 1.5  # from one wait to the next
MAY_PASS = (errors.UnavailableError, errors.NotSentError, errors.ThrottledError)
DOWNLOADS = (
    3  # a result with fewer lines than the API counted is fetched twice more, then sealed as it is
)
UNNAMED_RESULT_WAIT = timedelta(hours=48)  # ours: as long as the API lets a batch run
LATEST = timedelta(
    days=2
)  # ours: so long after a create whose reply was lost a batch of it is looked for
CREATED = (BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED, BatchState.FAILED)


class Download(NamedTuple):
    """One download of a result: what it is, in the order of how much it is worth."""

    # False if the file provably ends inside a line.
    is_whole: bool = False
    # Requests of the batch that have a line in it.
    keys: int = -1
    # What came, in words.
    body: str = ""


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
    stopped: errors.RemoteError | None = None

    def errors(self, words: TaskLabels) -> list[errors.FindableError]:
        """Return what needs a person or another time: batches that are gone or unclear, an API that was not reached."""
        gone = [
            errors.ConfigurationError(
                f"batch {number}: {why}; it was left as it is, claims kept",
                hint=f"check the key, or give it up: {CommandHint('batch-cancel', batch=number)}",
            )
            for number, why in self.gone.items()
        ]
        stopped = [self.stopped] if self.stopped else []
        finds_out = f"`{words.step('batch-submit')}` finds out"
        said = "it is unclear whether it was created"
        return [
            *gone,
            *stopped,
            *(errors.RemoteError(f"batch {one}: {said}", hint=finds_out) for one in self.unclear),
        ]

    def document(self) -> dict[str, object]:
        """Return the report for programs."""
        return vars(self) | {"stopped": self.stopped.message if self.stopped else None}


def run(
    ws: WorkspaceSession,
    *,
    wait: bool,
    first: bool = False,
    number: int | None = None,
    fetches: bool = True,
) -> PollReport:
    """Look at every submitted batch, or that `number`, once or until all are over, or the first; returns what was seen.

    Where it `fetches` none, one that is over stays as it is, and what the API said of it is kept.

    Where no look succeeds for `poll_patience` seconds, or a daily quota is used up, it ends early and says so in
    `stopped`; what could not be looked at is as it was.
    """
    poll = _Poll(ws, number, fetches)
    for one in (batch.number for batch in poll.in_state(BatchState.SUBMITTING)):
        if ws.locks.is_free(lock_of(one)):
            poll.report.unclear.append(one)
        else:
            ws.display.say(f"batch {one}: {ws.locks.holder(lock_of(one))}")
    poll.check_duplicates()
    poll.fetch_lost()
    poll.follow_new()
    if not poll.done:
        return poll.report
    label = f"batch {next(iter(poll.done))}" if len(poll.done) == 1 else f"{len(poll.done)} batches"
    with ws.display.bar(label, sum(poll.requests.values())) as shown:
        poll.follow(wait=wait, first=first, bar=shown)
    poll.sum_up()
    if poll.report.downloaded or poll.report.failed:
        poll.check_duplicates()
    return poll.report


@dataclass
class _Poll:
    ws: WorkspaceSession
    only: int | None
    fetches: bool
    report: PollReport = field(default_factory=PollReport)
    requests: dict[int, int] = field(default_factory=dict)  # of each batch, by number
    done: dict[int, int] = field(default_factory=dict)  # of these
    troubled: dict[int, errors.RemoteError] = field(
        default_factory=dict
    )  # the last look failed, for now or for good
    # When a look failed after which none succeeded, in seconds of the monotonic clock.
    silent_since: float | None = None
    odd_words: set[str] = field(default_factory=set)

    def follow_new(self) -> None:
        for batch in self.in_state(BatchState.SUBMITTED):
            self.requests[batch.number] = batch.requests
            self.done.setdefault(batch.number, 0)

    def _is_followed(self, number: int) -> bool:
        trouble = self.troubled.get(number)
        return number not in self.report.gone and (trouble is None or isinstance(trouble, MAY_PASS))

    def follow(self, *, wait: bool, first: bool, bar: ProgressBar) -> None:
        """Look, wait longer and longer, and look again, until every batch, or the first, is over or `wait` is false."""
        ws = self.ws
        pause = self.ws.settings.poll_first
        began = ws.monotonic()
        while True:
            self._look_at_all(bar)
            at_api = [
                batch.number
                for batch in self.in_state(BatchState.SUBMITTED)
                if batch.number in self.done
            ]
            waiting = [number for number in at_api if self._is_followed(number)]
            self.report.stopped = self._stopping(waiting, wait=wait)
            if (
                not waiting
                or self.report.stopped is not None
                or (first and len(at_api) < len(self.done))
            ):
                return
            works = ws.backend == "local" and ws.monotonic() - began < LOCAL_LOOK_S
            if not wait and not (works and self.fetches):
                return
            ws.sleep(pause)
            pause = min(pause * GROWTH, ws.settings.poll_most)
            self.follow_new()

    def _look_at_all(self, bar: ProgressBar) -> None:
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
            bar.show(sum(self.done.values()), total=sum(self.requests.values()), note=note)

    def _look_patiently(self, batch: BatchRow) -> str:
        try:
            note = self._look_at(batch)
        except errors.KeyRefusedError:
            raise
        except errors.MissingError as error:
            self.report.gone[batch.number] = error.message
        except errors.RemoteError as error:
            if isinstance(error, MAY_PASS):
                if batch.number not in self.troubled:
                    self.ws.display.warn(f"batch {batch.number}: {error.message}")
                if self.silent_since is None:
                    self.silent_since = self.ws.monotonic()
            self.troubled[batch.number] = error
        else:
            self.troubled.pop(batch.number, None)
            self.silent_since = None
            return note
        return ""

    def _look_at(self, batch: BatchRow) -> str:
        ws = self.ws
        number = batch.number
        remote = ws.client.get_batch(batch.remote_name or "")
        self.done[number] = min(remote.done, batch.requests)
        if (remote.word, remote.done) != (batch.remote_word, batch.remote_done):
            with ws.store.write() as tx:
                batches.note_submitted(tx, batch, remote_word=remote.word, remote_done=remote.done)
        if not is_known_state(remote.word) and str(remote.word) not in self.odd_words:
            self.odd_words.add(str(remote.word))
            ws.display.warn(
                f"batch {number}: a state never seen before, {remote.word!r}; taken as not over"
            )
        if remote.state.is_over and not self._may_get_its_file(batch, remote) and self.fetches:
            self._download_result(number, remote)
        said = (remote.word or "no state").lower().rpartition("state_")[2]
        return said if len(self.done) == 1 else f"batch {number}: {said}"

    def _may_get_its_file(self, batch: BatchRow, remote: RemoteBatch) -> bool:
        """Return whether a batch that succeeded without naming its result may still name it; when it began is kept."""
        if (
            remote.state is not RemoteState.SUCCEEDED
            or remote.has_result
            or batch.cancel_asked_at is not None
        ):
            return False

        now = self.ws.now()
        # A time in the future was recorded by a wrong clock, and counts as just now.
        if batch.over_at is None or batch.over_at > now:
            with self.ws.store.write() as tx:
                batches.note_submitted(tx, batch, over_at=now)
            until = now + UNNAMED_RESULT_WAIT
            self.ws.display.warn(
                f"batch {batch.number} succeeded, but Gemini does not name its result yet; it stays open and is looked "
                f"at again until {until:%Y-%m-%d %H:%M} UTC"
            )
            return True
        return now - batch.over_at < UNNAMED_RESULT_WAIT

    def _stopping(self, waiting: list[int], *, wait: bool) -> errors.RemoteError | None:
        """Return what ends this run now, if anything: a daily quota, no sign of life, or a single look that failed."""
        troubles = [self.troubled[number] for number in waiting if number in self.troubled]
        for error in troubles:
            if isinstance(error, errors.ThrottledError) and error.resets_at is not None:
                return error
        if troubles and (not wait or self._is_out_of_patience()):
            return troubles[-1]
        lasting = (one for one in self.troubled.values() if not isinstance(one, MAY_PASS))
        return next(lasting, None) if not waiting else None

    def _is_out_of_patience(self) -> bool:
        since = self.silent_since
        patience_s = self.ws.settings.poll_patience
        return since is not None and self.ws.monotonic() - since > patience_s

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
        report.gone = {
            number: why for number, why in report.gone.items() if number not in report.downloaded
        }

    def in_state(self, state: BatchState) -> list[BatchRow]:
        with self.ws.store.read() as tx:
            found = batches.batches_in_states(tx, state, task=self.ws.task.name)
        return [one for one in found if self.only in (None, one.number)]

    def _download_result(self, number: int, remote: RemoteBatch) -> None:
        """Seal the result of a batch that is over, or fail it; nothing where another process is at it or was first."""
        upload = None
        path = result_path(self.ws.data, number)
        with (
            contextlib.suppress(LockLostError, errors.StateConflictError),
            self.ws.locks.hold(lock_of(number)) as lock,
        ):
            if lock is None:
                return  # another process downloads it; the next look reads its state again
            with self.ws.store.read() as tx:
                batch = batches.get_batch(tx, number)
            files.sweep_parts(path)
            if batch.state is BatchState.SUBMITTED:
                path.parent.mkdir(parents=True, exist_ok=True)
                best = files.part_of(path)
                part = files.part_of(path)
                try:
                    has_result = remote.has_result and self._fetch(
                        batch, remote, part=part, best=best
                    )
                    part.unlink(missing_ok=True)  # nobody looks for it once the state has moved
                    self._keep(batch, remote, files.sync_part(best)) if has_result else self._fail(
                        batch, remote
                    )
                finally:
                    for one in (best, part):
                        one.unlink(missing_ok=True)
                upload = batch.upload
        drop_upload(self.ws.client, upload, warn=self.ws.display.warn)

    def _keep(self, batch: BatchRow, remote: RemoteBatch, draft: files.SealedFile) -> None:
        """Record a result and give it its name; how the batch ended is kept as its reason where it did not succeed.

        The name is given inside the transaction that moves the state: a process that was overtaken cannot put other
        bytes in its place, and the state is committed when the file is on disk.
        """
        ending = _ending(remote)
        path = result_path(self.ws.data, batch.number)
        facts = {"remote_word": remote.word} | (
            {} if remote.state is RemoteState.SUCCEEDED else {"reason": ending}
        )
        with self.ws.store.write() as tx:
            batches.mark_downloaded(tx, batch, path, draft, why=ending, at=self.ws.now(), **facts)
            files.rename(draft, path)

    def _fail(self, batch: BatchRow, remote: RemoteBatch) -> None:
        """End a batch without a result: its items go back uncharged, and what failed so too often is parked."""
        forgiven = batch.cancel_asked_at is not None
        why = (
            BY_HAND
            if forgiven and remote.state is RemoteState.CANCELLED
            else _ending(remote, had=False)
        )
        source = source_of(batch, settings=self.ws.settings)
        with self.ws.store.write() as tx:
            batches.note_submitted(tx, batch, remote_word=remote.word)
            while page := claims.claimed(tx, batch.number, limit=PAGE):
                judged = [
                    JudgedReply(one, Outcome.MISSING, why, charged=False, forgiven=forgiven)
                    for one in page
                ]
                write_failures(tx, self.ws, judged, source=source)
            give_up_batch(tx, batch, why=why, at=self.ws.now())

    def _fetch(self, batch: BatchRow, remote: RemoteBatch, *, part: Path, best: Path) -> bool:
        """Fetch the result to the one path, keep the fullest at the other; false where it is not there or not wanted.

        Fewer requests than the API counted, or without its counts than were asked, are fetched again: a body that was
        cut looks whole where it came without a length, and by its lines where some stand in it twice.

        Raises:
            MissingError: the batch succeeded, and its result is not there.
            UnavailableError: what comes is no result each time: no request of the batch can be read in it, or it is
                provably cut. To take it would charge rows for answers that wait at the API.
        """
        ws = self.ws
        is_given_up = batch.cancel_asked_at is not None
        expected = (
            remote.done
            if remote.done or remote.state is not RemoteState.SUCCEEDED
            else batch.requests
        )
        try:
            fullest, latest = self._download_fullest(
                batch, remote, part=part, best=best, expected=expected
            )
        except errors.MissingError as error:
            if remote.state is RemoteState.SUCCEEDED and not is_given_up:
                raise
            ws.display.warn(f"batch {batch.number}: its result cannot be had: {error.message}")
            return False

        # A batch that did not succeed may have nothing to give, and says so with an empty file.
        is_empty_result = remote.state is not RemoteState.SUCCEEDED and fullest.body == EMPTY_BODY
        if (fullest.keys > 0 and (fullest.is_whole or is_given_up)) or is_empty_result:
            if fullest.keys < expected:
                came = f"lines for {fullest.keys} requests came and {expected} are expected"
                ws.display.warn(f"batch {batch.number}: {came}; the fullest is taken")
            return True

        message = f"Gemini sent {latest.body} in the place of the result of batch {batch.number}"
        if is_given_up:
            ws.display.warn(f"{message}; it is given up")
            return False
        again = ws.task.words.step("batch-poll")
        give_up = CommandHint("batch-cancel", batch=batch.number)
        hint = f"run `{again}` again later, or give it up: {give_up}"
        raise errors.UnavailableError(f"{message}; the batch was left as it is", hint=hint)

    def _download_fullest(
        self, batch: BatchRow, remote: RemoteBatch, *, part: Path, best: Path, expected: int
    ) -> tuple[Download, Download]:
        """Download until all that is expected came, or three times; return the fullest, which is kept, and the last."""
        fullest = latest = Download()
        for left in reversed(range(DOWNLOADS)):
            try:
                latest = self._download_once(batch, remote, part)
            except errors.MissingError:
                if fullest.keys < 0:
                    raise
                break
            if latest[:2] > fullest[:2]:
                fullest = latest
                part.replace(best)
            if (latest.is_whole and latest.keys >= expected) or remote.inlined:
                break
            if left and latest.keys > 0:
                came = f"lines for {latest.keys} requests came and {expected} are expected"
                self.ws.display.warn(f"batch {batch.number}: {came}; fetching again")
            self.ws.sleep(self.ws.settings.poll_first if left else 0)
        return fullest, latest

    def _download_once(self, batch: BatchRow, remote: RemoteBatch, part: Path) -> Download:
        """Download the result to a path and return what came; of one that is incomplete nothing may be there."""
        try:
            body = self._write_result(batch, remote, part)
        except errors.IncompleteError as error:
            return Download(body=f"a part ({error.message})")
        with ResultFile(part) as results:
            keys = results.count_keys(self._request_keys(batch))
            return Download(
                not results.is_cut,
                keys,
                "a file that ends inside a line" if results.is_cut else body,
            )

    def _write_result(self, batch: BatchRow, remote: RemoteBatch, part: Path) -> str:
        """Write the result of a batch to a path, in lines with the keys of requests, and return in words what came."""
        if remote.inlined:
            write_inlined(part, remote.inlined)
        else:
            self.ws.client.download(remote.result_file or "", part)
        body = describe_body(part)
        rewrite_as_lines(part, task_name=batch.task)
        return body

    def _request_keys(self, batch: BatchRow) -> Iterator[str]:
        line = 0
        while True:
            with self.ws.store.read() as tx:
                page = claims.claimed(tx, batch.number, after=line, limit=PAGE)
            if not page:
                return
            yield from (request_key(batch.task, asked.item_id) for asked in page)
            line = page[-1].line or 0

    def fetch_lost(self) -> None:
        """Download once more what was lost or damaged before its ingest; only the bytes that were recorded count."""
        for batch in self.in_state(BatchState.DOWNLOADED):
            ws = self.ws
            path = sealed_result(ws.data, batch)
            if files.is_sealed(path, batch.result_sha256):
                continue
            number = batch.number
            part = files.part_of(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with ws.locks.hold(lock_of(number)) as lock:
                    if lock is None:
                        continue
                    self._write_result(batch, ws.client.get_batch(batch.remote_name or ""), part)
                    if files.sha256_of(part) != batch.result_sha256:
                        raise errors.MissingError("the API has other bytes")
                    files.rename(files.sync_part(part), path)
                    ws.display.say(
                        f"batch {number}: its lost result was fetched again, byte for byte"
                    )
            except errors.RemoteError as error:
                said = (
                    f"batch {number}: its result is lost and cannot be had again ({error.message})"
                )
                give_up = CommandHint("batch-cancel", batch=number)
                ws.display.warn(f"{said}; `{give_up}` gives it up, and its items are asked again")
            finally:
                part.unlink(missing_ok=True)

    def check_duplicates(self) -> None:
        """Record and cancel duplicates, while a batch is at the API or may be double; one may have been made late."""
        with self.ws.store.read() as tx:
            known = batches.all_duplicates(tx)
            created = {one.number: one for one in batches.batches_in_states(tx, *CREATED)}
            numbers = batches.numbers_by_prefix(tx)
        left = {one["batch"] for one in known if one["cancelled_at"] is None}
        suspects = {
            one.number
            for one in created.values()
            if one.number in left
            or (one.tries > (1 if one.remote_name else 0) and not one.twins_checked)
        }
        if not suspects and all(one.state is not BatchState.SUBMITTED for one in created.values()):
            return
        try:
            listing = self.ws.client.list_batches()
        except errors.RemoteError as error:
            if suspects:
                self.ws.display.warn(f"could not look for duplicates: {error.message}")
            return
        told = {one["remote_name"] for one in known} | {one.remote_name for one in created.values()}
        late = {
            numbers.get(batches.name_prefix(one.display_name))
            for one in listing
            if one.name not in told
        }
        for batch in (created[number] for number in sorted(created.keys() & (suspects | late))):
            cancel_duplicates(self.ws, batch.number, listing)
            with self.ws.store.write() as tx:
                is_late = self.ws.now() - (batch.create_sent_at or self.ws.now()) > LATEST
                if (
                    is_late
                    and batch.state is not BatchState.SUBMITTED
                    and not batches.open_duplicates(tx, batch.number)
                ):
                    batches.note(tx, batch.number, twins_checked=True)


def _ending(remote: RemoteBatch, *, had: bool = True) -> str:
    """Return how a batch ended, in words, with what the API said of it; `had` is false where its result was not."""
    ending = str(remote.state)
    if remote.state is RemoteState.SUCCEEDED and not had:
        ending = (
            "succeeded, but its result could not be had"
            if remote.has_result
            else "succeeded without a result"
        )
    return f"{ending}: {remote.error}" if remote.error else ending
