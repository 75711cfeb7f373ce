"""Do the rows agree with each other? The database, states, claims, counts, leases, live calls and their answers."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from pipeline.core.states import OVER, BatchState, Outcome
from pipeline.ops.checks.finding import CheckFinding, Mend, notice
from pipeline.store import batches, claims, erase, integrity, leases, live_calls, versions
from pipeline.store.batches import Batch
from pipeline.store.database import Connection, Store

Now = Callable[[], datetime]
KINDS = {"findable_requests": "claims", "findable_answers": "answers", "findable_attempts": "attempts"}
LIVE = frozenset({BatchState.PREPARED, BatchState.SUBMITTING, BatchState.SUBMITTED})
CLOCKS_S = 60  # by which the clocks of two machines may differ
RESTORE = "restore a backup (make restore FROM=…)"
NAMED = frozenset({BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED})


def check_database(store: Store) -> Iterator[CheckFinding]:
    """Is the file sound, and is every state one of ours?"""
    with store.read() as tx:
        broken = integrity.damage(tx)
        unknown = integrity.unknown_states(tx)
    for line in broken:
        yield CheckFinding("database", line, "rows may be lost or read wrongly", next=RESTORE)
    for number, word in unknown.items():
        said = f"batch {number} is in a state that does not exist: {word!r}"
        yield CheckFinding("database", said, "no command knows what to do with it", next=RESTORE)


def check_batches(store: Store) -> Iterator[CheckFinding]:
    """Does each batch's row agree with its state, its requests, and what was written for them?"""
    with store.read() as tx:
        everyone = batches.batches_in_states(tx)
        asked = integrity.count_requests(tx)
        written = integrity.count_written(tx)
        taken_back = versions.rolled_back_batches(tx)
    nothing: dict[str, int] = {"all": 0, "shared": 0, "open": 0, "closed": 0, **dict.fromkeys(Outcome, 0)}
    for batch in everyone:
        why = "what was asked, answered and paid for it cannot be told any more"
        there = None if batch.number in taken_back else written.get(batch.number, (0, 0))
        for said in _wrong(batch, asked.get(batch.number, nothing), there):
            yield CheckFinding("batches", f"batch {batch.number} is {batch.state}, {said}", why, next=RESTORE)


def check_claims(store: Store, mend: Mend, *, now: Now) -> Iterator[CheckFinding]:
    """Has every claim a batch that is not over, or a living process?"""
    with store.read() as tx:
        over = {batch.number for batch in batches.batches_in_states(tx, *OVER)}
        stuck = sum(counts["open"] for number, counts in integrity.count_requests(tx).items() if number in over)
        dead = sum(one.is_dead for one in claims.live_claims(tx, now=now()))
    if stuck:
        mended = mend.rows(store, lambda tx: f"closed {integrity.close_claims_of_ended(tx)} claims")
        said = f"{stuck} items are claimed by batches that are over"
        yield CheckFinding("claims", said, "they would never be asked again", mendable=True, mended=mended)
    if dead:
        mended = mend.rows(store, lambda tx: f"freed {claims.free_dead_claims(tx, now=now())}")
        said = f"{dead} items are claimed by processes that are gone"
        why = "the next command that asks frees them"
        yield notice("claims", said, why, mendable=True, mended=mended)


def check_loose(store: Store, mend: Mend) -> Iterator[CheckFinding]:
    """Is every row of ours about a batch that is there?"""
    with store.read() as tx:
        loose = integrity.count_orphans(tx)
    for table, (count, numbers) in loose.items():
        kind = KINDS.get(table, f"rows of {table}")
        named = ", ".join(map(str, numbers))
        said = f"{count} {kind} without a batch: they name batch {named}, which does not exist"
        mended = ""
        if mend.may(f"Delete {count} {kind} that name a batch which does not exist ({named})?"):
            with store.write() as tx:
                mended = f"deleted {integrity.drop_orphans(tx, table)}"
        why = "items would stay claimed for ever, and accounts cannot add up"
        yield CheckFinding("claims", said, why, mendable=True, mended=mended, next=RESTORE)


def check_forgotten(store: Store) -> Iterator[CheckFinding]:
    """Was everything that was begun to be forgotten forgotten to the end?"""
    with store.read() as tx:
        left = erase.open_erasures(tx)
    for item_id in left:
        said = f"item {item_id} was begun to be forgotten, and that is not over"
        yield notice("forgotten", said, "traces of it may be left", next="the same make forget again")


def check_leases(store: Store, mend: Mend, *, now: Now, longest_s: float) -> Iterator[CheckFinding]:
    """Has every lease a living owner, and is no lease or claim held for longer than `longest_s`?"""
    until = now() + timedelta(seconds=longest_s + CLOCKS_S)
    with store.read() as tx:
        _, dead = leases.leases_by_life(tx, now=now())
        claimed, leased = integrity.held_after(tx, until)
    if dead:
        mended = mend.rows(store, lambda tx: _drop_dead_leases(tx, now=now()))
        said = f"leases of processes that are gone: {', '.join(dead)}"
        why = "a run died there; the next process that needs them takes them over"
        yield notice("leases", said, why, mendable=True, mended=mended)
    if claimed or leased:
        mended, said = "", f"{len(claimed)} items and {len(leased)} leases are held from elsewhere for too long"
        if mend.may(f"{said}: is no process at work there any more, and are they to be freed?"):
            with store.write() as tx:
                mended = f"freed {integrity.free_held_after(tx, until)}"
        why = "a clock ran ahead there, or LEASE was longer; until then no other process takes them"
        yield notice("leases", said, why, mendable=True, mended=mended)


def _drop_dead_leases(tx: Connection, *, now: datetime) -> str:
    _, dead = leases.leases_by_life(tx, now=now)
    leases.drop_leases(tx, dead)
    return f"dropped {len(dead)}"


def _wrong(batch: Batch, asked: dict[str, int], written: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with one batch, as the end of a sentence; nothing is `written` where it was taken back."""
    if asked["all"] - asked["shared"] != batch.requests:
        yield f"has {batch.requests} requests, and {asked['all'] - asked['shared']} of them are kept"
    if batch.state in NAMED and not batch.remote_name:
        yield "and has no remote name"
    if batch.state in {BatchState.DOWNLOADED, BatchState.INGESTED} and not batch.result_file:
        yield "and names no result file"
    if batch.state in LIVE and asked["closed"]:
        yield f"and {asked['closed']} of its items are not claimed any more"
    if batch.state is BatchState.INGESTED:
        yield from _wrong_account(batch, asked, written)


def _wrong_account(batch: Batch, asked: dict[str, int], written: tuple[int, int] | None) -> Iterator[str]:
    """Yield where the account of an ingested batch does not add up."""
    account = {outcome: getattr(batch, outcome.value) or 0 for outcome in Outcome}
    if sum(account.values()) != asked["all"]:
        yield f"and its account adds up to {sum(account.values())} of {asked['all']} items that were asked about"
    for outcome, count in account.items():
        if count != asked[outcome]:
            yield f"counts {count} {outcome}, and {asked[outcome]} of its requests are"
    if written is None:
        return
    if written[0] != account[Outcome.ANSWERED]:
        yield f"counts {account[Outcome.ANSWERED]} answers, and {written[0]} are stored"
    failed = asked["all"] - account[Outcome.ANSWERED]
    if written[1] != failed:
        yield f"counts {failed} items without an answer, and {written[1]} attempts are stored"


def check_calls(store: Store, mend: Mend, *, now: Now) -> Iterator[CheckFinding]:
    """Has every live call that is under way a living process, and every answered one its answer?"""
    with store.read() as tx:
        dead = len(live_calls.dead_calls(tx, now=now()))
        answers, marks = integrity.live_answers(tx)
    if dead:
        mended = mend.rows(store, lambda tx: f"ended {live_calls.end_dead_calls(tx, now=now())} as lost")
        said = f"{dead} live calls are under way in processes that are gone"
        why = "they count as money that may yet be spent; the next run ends them"
        yield notice("calls", said, why, mendable=True, mended=mended)
    if marks > answers:  # the other way round is no fault: calls were not always marked
        said = f"{marks} live calls were answered, and {answers} live answers are stored"
        yield CheckFinding("calls", said, "what was answered and paid for is not there any more", next=RESTORE)
