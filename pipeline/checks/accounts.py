"""Do the rows agree with each other? Database, states, claims, counts, leases."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.checks.finding import Finding, Mend
from pipeline.states import OVER, BatchState, Outcome
from pipeline.store import batches, checks, claims, erasing, rollbacks
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.runtime import Runtime

KINDS = {"findable_requests": "claims", "findable_answers": "answers", "findable_attempts": "attempts"}
LIVE = frozenset({BatchState.PREPARED, BatchState.SUBMITTING, BatchState.SUBMITTED})
RESTORE = "restore a backup (make restore FROM=…)"
NAMED = frozenset({BatchState.SUBMITTED, BatchState.DOWNLOADED, BatchState.INGESTED})


def check_database(rt: "Runtime") -> Iterator[Finding]:
    """Is the file sound, and is every state one of ours?"""
    with rt.store.read() as tx:
        broken = checks.damage(tx)
        unknown = checks.unknown_states(tx)
    for line in broken:
        yield Finding("database", line, "rows may be lost or read wrongly", next=RESTORE)
    for number, word in unknown.items():
        said = f"batch {number} is in a state that does not exist: {word!r}"
        yield Finding("database", said, "no command knows what to do with it", next=RESTORE)


def check_batches(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:  # noqa: ARG001 - the shape of every check
    """Does each batch's row agree with its state, its requests, and what was written for them?"""
    with rt.store.read() as tx:
        everyone = batches.in_states(tx)
        asked = checks.requests_of(tx)
        written = checks.written_of(tx)
        taken_back = rollbacks.marked(tx)
    nothing: dict[str, int] = {"all": 0, "open": 0, "closed": 0, **dict.fromkeys(Outcome, 0)}
    for batch in everyone:
        why = "what was asked, answered and paid for it cannot be told any more"
        there = None if batch.number in taken_back else written.get(batch.number, (0, 0))
        for said in _wrong(batch, asked.get(batch.number, nothing), there):
            yield Finding("batches", f"batch {batch.number} is {batch.state}, {said}", why, next=RESTORE)


def check_claims(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Has every claim a batch that is not over, or a living process?"""
    with rt.store.read() as tx:
        over = {batch.number for batch in batches.in_states(tx, *OVER)}
        stuck = sum(counts["open"] for number, counts in checks.requests_of(tx).items() if number in over)
        dead = checks.dead_claims(tx, now=rt.now())
    if stuck:
        mended = ""
        if mend.on:
            with rt.store.write() as tx:
                mended = f"closed {checks.close_claims_of_ended(tx)} claims"
        said = f"{stuck} items are claimed by batches that are over"
        yield Finding("claims", said, "they would never be asked again", mendable=True, mended=mended)
    if dead:
        mended = ""
        if mend.on:
            with rt.store.write() as tx:
                mended = f"freed {claims.free_dead(tx, now=rt.now())}"
        said = f"{dead} items are claimed by processes that are gone"
        why = "they are not asked until the next batch-submit frees them"
        yield Finding("claims", said, why, contradiction=False, mendable=True, mended=mended)


def check_loose(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Is every row of ours about a batch that is there?"""
    with rt.store.read() as tx:
        loose = checks.loose_rows(tx)
    for table, (count, numbers) in loose.items():
        kind = KINDS.get(table, f"rows of {table}")
        named = ", ".join(map(str, numbers))
        said = f"{count} {kind} without a batch: they name batch {named}, which does not exist"
        mended = ""
        if mend.may(f"Delete {count} {kind} that name a batch which does not exist ({named})?"):
            with rt.store.write() as tx:
                mended = f"deleted {checks.drop_loose(tx, table)}"
        why = "items would stay claimed for ever, and accounts cannot add up"
        yield Finding("claims", said, why, mendable=True, mended=mended, next=RESTORE)


def check_forgotten(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:  # noqa: ARG001 - the shape of every check
    """Was everything that was begun to be forgotten forgotten to the end?"""
    with rt.store.read() as tx:
        left = erasing.unfinished(tx)
    for item_id in left:
        said = f"item {item_id} was begun to be forgotten, and the run died over it"
        yield Finding(
            "forgotten", said, "traces of it may be left", contradiction=False, next="the same make forget again"
        )


def check_leases(rt: "Runtime", *, mend: Mend) -> Iterator[Finding]:
    """Has every lease a living owner?"""
    with rt.store.read() as tx:
        dead = checks.dead_leases(tx, now=rt.now())
    if not dead:
        return
    mended = ""
    if mend.on:
        with rt.store.write() as tx:
            mended = f"dropped {len(checks.drop_dead_leases(tx, now=rt.now()))}"
    said = f"leases of processes that are gone: {', '.join(dead)}"
    why = "a run died there; whoever needs them takes them over"
    yield Finding("leases", said, why, contradiction=False, mendable=True, mended=mended)


def _wrong(batch: Batch, asked: dict[str, int], written: tuple[int, int] | None) -> Iterator[str]:
    """Yield what is wrong with one batch, as the end of a sentence; nothing is `written` where it was taken back."""
    if asked["all"] != batch.requests:
        yield f"has {batch.requests} requests, and {asked['all']} of them are kept"
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
    if sum(account.values()) != batch.requests:
        yield f"and its account adds up to {sum(account.values())} of {batch.requests} requests"
    for outcome, count in account.items():
        if count != asked[outcome]:
            yield f"counts {count} {outcome}, and {asked[outcome]} of its requests are"
    if written is None:
        return
    if written[0] != account[Outcome.ANSWERED]:
        yield f"counts {account[Outcome.ANSWERED]} answers, and {written[0]} are stored"
    failed = batch.requests - account[Outcome.ANSWERED]
    if written[1] != failed:
        yield f"counts {failed} requests without an answer, and {written[1]} attempts are stored"
