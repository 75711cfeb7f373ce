"""Follow every batch at the API until it is over and its result is sealed on disk: submitted -> downloaded | failed.

Whether a batch is alive is decided by `get` alone, never by its absence from a list. While this only waits it holds
nothing: a poll of a day blocks nobody. It adopts what an unclear create left behind, and never creates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline import creating, files, preparing
from pipeline.apply import Asked, Judgement, Source, write
from pipeline.errors import (
    KeyRefusedError,
    MissingError,
    NotSentError,
    RemoteError,
    ThrottledError,
    UnavailableError,
)
from pipeline.gemini import catalogue
from pipeline.runtime import Runtime
from pipeline.states import BatchState, Outcome, RemoteState, is_known_state
from pipeline.store import batches, claims
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.gemini.client import RemoteBatch
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease

LOCAL_LOOK_S = 5.0  # how long a single look lets the local engine work
DOWNLOADS = 3  # a result with fewer lines than the API counted is fetched twice more, then sealed as it is
LOOKS_WITHOUT_FILE = 5  # looks at a batch that succeeded without naming its result, before it counts as failed
GROWTH = 1.5  # from one wait to the next


@dataclass
class Report:
    """What a poll saw: batches brought home, failed, still waiting, gone from the API, and unclear creates."""

    downloaded: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)
    gone: dict[int, str] = field(default_factory=dict)
    unclear: list[int] = field(default_factory=list)
    unreachable: str = ""


@dataclass
class _Watch:
    """What one run remembers between looks: batches that are gone, odd states seen, looks without a result file."""

    gone: dict[int, str] = field(default_factory=dict)
    odd: set[str] = field(default_factory=set)
    without_file: dict[int, int] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)


def run(rt: Runtime, *, wait: bool) -> Report:
    """Look at every submitted batch, once or until all are over; returns what was seen.

    Raises:
        KeyRefusedError: the key is not accepted any more.
        RemoteError: no look succeeded for `poll_patience` seconds; everything was left as it was.
    """
    report, watch = Report(), _Watch()
    _adopt_unclear(rt, report)
    with rt.store.read() as tx:
        numbers = [batch.number for batch in batches.in_states(tx, BatchState.SUBMITTED)]
    if not numbers:
        return report
    _check_twins(rt, numbers)
    total = _requests(rt, numbers)
    with rt.display.bar(f"batch {numbers[0]}" if len(numbers) == 1 else f"{len(numbers)} batches", total) as bar:
        _follow(rt, report, watch, numbers=numbers, wait=wait, bar=bar)
    report.gone = watch.gone
    return report


def _follow(rt: Runtime, report: Report, watch: _Watch, *, numbers: Sequence[int], wait: bool, bar: "Bar") -> None:
    """Look, wait longer and longer, and look again, until every batch is over or `wait` is false."""
    pause, began, last_success = rt.settings.poll_first, rt.now(), rt.now()
    while True:
        try:
            _look_at_all(rt, report, watch, numbers=numbers, bar=bar)
            last_success, report.unreachable = rt.now(), ""
        except (UnavailableError, NotSentError, ThrottledError) as error:
            report.unreachable = error.message
            if not wait or rt.now() - last_success > timedelta(seconds=rt.settings.poll_patience):
                raise
            rt.display.warn(f"{error.message}; looking again")
        report.waiting = _still_waiting(rt, numbers, watch)
        if not report.waiting:
            return
        if not wait:
            working = rt.backend == "local" and rt.now() - began < timedelta(seconds=LOCAL_LOOK_S)
            if not working:
                return
        rt.sleep(pause)
        pause = min(pause * GROWTH, rt.settings.poll_most)


def _look_at_all(rt: Runtime, report: Report, watch: _Watch, *, numbers: Sequence[int], bar: "Bar") -> None:
    """Look once at each batch that is not over, and bring home what is."""
    done = 0
    for number in numbers:
        with rt.store.read() as tx:
            batch = batches.get(tx, number)
        if batch.state is not BatchState.SUBMITTED or number in watch.gone:
            done += batch.requests
            continue
        try:
            remote = rt.client.get_batch(batch.remote_name or "")
        except MissingError as error:
            watch.gone[number] = error.message
            continue
        done += _note_look(rt, batch, remote, watch)
        bar.show(done, note=f"batch {number}: {(remote.word or 'no state').lower()}")
        _act_on(rt, report, batch, remote, watch)
    bar.show(done)


def _note_look(rt: Runtime, batch: Batch, remote: "RemoteBatch", watch: _Watch) -> int:
    """Keep what the API says of a batch and return how many of its requests are done."""
    done = (remote.succeeded or 0) + (remote.failed or 0)
    with rt.store.write() as tx:
        batches.note_look(tx, batch, word=remote.word, done=done)
    if not is_known_state(remote.word) and str(remote.word) not in watch.odd:
        watch.odd.add(str(remote.word))
        rt.display.warn(f"batch {batch.number}: a state never seen before, {remote.word!r}; taken as not over")
    return min(done, batch.requests)


def _act_on(rt: Runtime, report: Report, batch: Batch, remote: "RemoteBatch", watch: _Watch) -> None:
    """Bring home a batch that is over, cancel one that is too old, and leave the others."""
    if not remote.state.is_over:
        _cancel_if_too_old(rt, batch)
        return
    if remote.state is RemoteState.SUCCEEDED and not remote.result_file:
        looks = watch.without_file[batch.number] = watch.without_file.get(batch.number, 0) + 1
        if looks < LOOKS_WITHOUT_FILE:
            return
    with rt.lease(f"batch:{batch.number}") as lease:
        if lease is None:
            return  # another process brings it home; the next look reads its state again
        with rt.store.read() as tx:
            batch = batches.get(tx, batch.number)
        if batch.state is BatchState.SUBMITTED:
            _bring_home(rt, report, batch, remote, lease)


def _bring_home(rt: Runtime, report: Report, batch: Batch, remote: "RemoteBatch", lease: "Lease") -> None:
    """Seal what result there is, or fail the batch and let its items go; then look for twins and tidy up."""
    sealed = _download(rt, batch, remote) if remote.result_file else None
    with rt.store.write() as tx:
        lease.check(tx)
        batches.note_look(tx, batch, word=remote.word, done=batch.remote_done)
        if sealed is not None:
            facts = {
                "result_file": str(sealed.path.relative_to(rt.data)),
                "result_sha256": sealed.sha256,
                "result_size": sealed.size,
            }
            why = _ending(remote)
            batches.mark_downloaded(tx, batch, why=why, at=rt.now(), remote_word=remote.word, **facts)
        else:
            _fail(rt, tx, batch, why=_ending(remote), counted=batch.cancel_asked_at is None)
    if sealed is not None:
        report.downloaded.append(batch.number)
    else:
        report.failed[batch.number] = _ending(remote)
    _check_twins(rt, [batch.number])
    if batch.upload:
        _delete_upload(rt, batch.upload)


def _fail(rt: Runtime, tx: "Connection", batch: Batch, *, why: str, counted: bool) -> None:
    """End a batch without a result: its items go back uncharged; but see `answers.MAX_SERVICE_FAILURES`."""
    model = catalogue.load(rt.settings.models_file)[batch.model]
    open_requests = claims.open_requests(tx, batch.number)
    batches.mark_failed(tx, batch, why=why, at=rt.now())
    claims.release(tx, batch.number, reason=why)
    if counted:
        judged = [
            Judgement(Asked(one.item_id, one.input_hash), Outcome.MISSING, why, charged=False) for one in open_requests
        ]
        source = Source(batch=batch.number, extractor=batch.extractor, model=model)
        write(tx, rt.task, judged, source=source, at=rt.now())


def _download(rt: Runtime, batch: Batch, remote: "RemoteBatch") -> files.Sealed | None:
    """Fetch the result and seal it; fewer lines than the API counted are fetched again. None when it is not there."""
    path = preparing.result_path(rt, batch.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + files.PART)
    expected = (remote.succeeded or 0) + (remote.failed or 0)
    for _ in range(DOWNLOADS):
        try:
            rt.client.download(remote.result_file or "", part)
        except MissingError as error:
            if remote.state is RemoteState.SUCCEEDED:
                raise
            rt.display.warn(f"batch {batch.number}: its partial result cannot be had: {error.message}")
            return None
        lines = files.count_lines(part)
        if lines >= expected:
            break
        rt.display.warn(f"batch {batch.number}: {lines} lines came and the API counts {expected}; fetching again")
    return files.seal_part(part, path)


def _cancel_if_too_old(rt: Runtime, batch: Batch) -> None:
    """Ask the API to cancel a batch that should have been over long ago; its items go out again once it is over."""
    age = rt.now() - (batch.submitted_at or rt.now())
    if batch.cancel_asked_at is not None or age < timedelta(hours=rt.settings.batch_hours):
        return
    why = f"not over after {age.total_seconds() / 3600:.0f} h"
    rt.client.cancel_batch(batch.remote_name or "")
    with rt.store.write() as tx:
        batches.note_cancel(tx, batch, why=why, at=rt.now())
    rt.display.warn(f"batch {batch.number}: {why}; asked the API to cancel it, its items go out again")


def _adopt_unclear(rt: Runtime, report: Report) -> None:
    """Look for batches whose create is unclear; what is found is adopted, the rest is for `batch-submit`."""
    with rt.store.read() as tx:
        unclear = batches.in_states(tx, BatchState.SUBMITTING)
    if not unclear:
        return
    listing = rt.client.list_batches()
    for batch in unclear:
        with rt.lease(f"batch:{batch.number}") as lease:
            if lease is None:
                continue
            with rt.store.read() as tx:
                current = batches.get(tx, batch.number)
            is_unclear = current.state is BatchState.SUBMITTING
            if is_unclear and not creating.look_for(rt, current, lease, listing).adopted:
                report.unclear.append(batch.number)


def _check_twins(rt: Runtime, numbers: Sequence[int]) -> None:
    """Look for twins of every batch with more than one try; once more when it is over."""
    with rt.store.read() as tx:
        found = [batches.get(tx, number) for number in numbers]
    suspects = [batch for batch in found if batch.tries > 1 and not batch.twins_checked]
    if not suspects:
        return
    try:
        listing = rt.client.list_batches()
    except RemoteError as error:
        rt.display.warn(f"could not look for twins: {error.message}")
        return
    for batch in suspects:
        creating.cancel_twins(rt, batch, listing)
        if batch.state is not BatchState.SUBMITTED:
            with rt.store.write() as tx:
                batches.note_twins_checked(tx, batch)


def _delete_upload(rt: Runtime, upload: str) -> None:
    """Delete an upload that is not needed any more; the API forgets it after 48 h in any case."""
    try:
        rt.client.delete_upload(upload)
    except KeyRefusedError:
        raise
    except RemoteError as error:
        rt.display.warn(f"the upload {upload} could not be deleted: {error.message}")


def _still_waiting(rt: Runtime, numbers: Sequence[int], watch: _Watch) -> list[int]:
    with rt.store.read() as tx:
        states = {number: batches.get(tx, number).state for number in numbers}
    return [number for number in numbers if states[number] is BatchState.SUBMITTED and number not in watch.gone]


def _requests(rt: Runtime, numbers: Sequence[int]) -> int:
    with rt.store.read() as tx:
        return sum(batches.get(tx, number).requests for number in numbers)


def _ending(remote: "RemoteBatch") -> str:
    """Return how a batch ended, in words, with what the API said of it."""
    return f"{remote.state}: {remote.error}" if remote.error else str(remote.state)
