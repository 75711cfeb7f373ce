"""Put results into the database: downloaded -> ingested, every request accounted for exactly once.

Requests are taken in the order of their lines, which is the order of rows, and each one's result lines are looked up by
key; so what is written lies together on disk, memory stays flat, and a run that was killed goes on where it stopped.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline import files
from pipeline.apply import Asked, Judgement, Source, judge, write
from pipeline.errors import InconsistentError
from pipeline.gemini import catalogue
from pipeline.gemini.requests import key_of
from pipeline.gemini.results import Results
from pipeline.runtime import Runtime
from pipeline.states import BatchState, Outcome, RemoteState, remote_state
from pipeline.store import answers, batches, claims
from pipeline.store.batches import Batch

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.gemini.catalogue import Model
    from pipeline.store.claims import Request
    from pipeline.store.leases import Lease

CHUNK = 500  # requests in one transaction; small ones cost nothing when rows are taken in order (measured)
EXAMPLES = 3


@dataclass(frozen=True)
class Oddity:
    """One kind of thing that went wrong in a batch, how often, and up to three examples (name, excerpt)."""

    outcome: str
    reason: str
    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass
class Account:
    """What became of one batch: the four outcomes add up to its requests; the rest is about lines nobody asked for."""

    batch: Batch
    oddities: list[Oddity] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    other_versions: list[str] = field(default_factory=list)


def run(rt: Runtime) -> list[Account]:
    """Ingest every downloaded batch, oldest first; nothing to ingest is an empty list.

    Raises:
        InconsistentError: a sealed result was changed, or requests cannot be accounted for; nothing more was written.
    """
    with rt.store.read() as tx:
        waiting = [batch.number for batch in batches.in_states(tx, BatchState.DOWNLOADED)]
    accounts = []
    for number in waiting:
        with rt.waited_lease(f"batch:{number}", waiting=f"another process ingests batch {number}; waiting") as lease:
            with rt.store.read() as tx:
                batch = batches.get(tx, number)
            if batch.state is BatchState.DOWNLOADED:
                accounts.append(_ingest(rt, batch, lease))
    return accounts


def _ingest(rt: Runtime, batch: Batch, lease: "Lease") -> Account:
    """Account for every request of one batch, chunk by chunk, then for the batch."""
    path = files.verify(
        rt.data / (batch.result_file or ""),
        sha256=batch.result_sha256 or "",
        what=f"the result of batch {batch.number}",
    )
    model = catalogue.load(rt.settings.models_file)[batch.model]
    with Results(path) as results, rt.display.bar(f"ingesting batch {batch.number}", batch.requests) as bar:
        _apply_all(rt, batch, lease, results=results, model=model, bar=bar)
        oddities = _odd_lines(results)
        _finish(rt, batch, lease, results=results)
    return _account(rt, batch.number, oddities)


def _apply_all(rt: Runtime, batch: Batch, lease: "Lease", *, results: Results, model: "Model", bar: "Bar") -> None:
    """Judge and write every request that has no outcome yet; those that have one are only looked up."""
    source = Source(batch=batch.number, extractor=batch.extractor, model=model)
    succeeded = remote_state(batch.remote_word) is RemoteState.SUCCEEDED
    after = 0
    while True:
        with rt.store.read() as tx:
            page = claims.page(tx, batch.number, after=after, limit=CHUNK)
        if not page:
            return
        after = page[-1].line
        found = {request.id: results.lines(key_of(batch.task, request.item_id)) for request in page}
        open_requests = [request for request in page if request.outcome is None]
        judged = [
            judge(rt.task, Asked(one.item_id, one.input_hash), found[one.id], missing_is_charged=succeeded)
            for one in open_requests
        ]
        _write_chunk(rt, lease, list(zip(open_requests, judged, strict=True)), source=source)
        bar.show(after)


def _write_chunk(rt: Runtime, lease: "Lease", chunk: "list[tuple[Request, Judgement]]", *, source: Source) -> None:
    """Write one chunk of judgements and close their claims, in one transaction."""
    if not chunk:
        return
    with rt.store.write() as tx:
        lease.check(tx)
        claims.account(tx, [(request, one.outcome, one.reason) for request, one in chunk])
        write(tx, rt.task, [one for _, one in chunk], source=source, at=rt.now())


def _finish(rt: Runtime, batch: Batch, lease: "Lease", *, results: Results) -> None:
    """Hold the account against the requests, and end the batch."""
    with rt.store.write() as tx:
        lease.check(tx)
        outcomes = claims.outcomes(tx, batch.number)
        if sum(outcomes.values()) != batch.requests:
            raise InconsistentError(
                f"batch {batch.number} asked {batch.requests} times and {sum(outcomes.values())} are accounted for; "
                "it stays downloaded",
                hint="run `make doctor`",
            )
        tokens_in, tokens_out, cost = answers.usage_of_batch(tx, batch.number)
        not_applied, _ = answers.not_applied(tx, batch.number)
        batches.mark_ingested(
            tx,
            batch,
            at=rt.now(),
            **{outcome.value: outcomes.get(outcome, 0) for outcome in Outcome},
            not_applied=not_applied,
            unknown=results.unknown,
            duplicates=results.duplicates,
            unreadable=results.unreadable_count,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            cost=cost,
        )


def _odd_lines(results: Results) -> list[Oddity]:
    """Return what stood in the result file and belongs to no request."""
    odd = []
    if results.unknown:
        examples = tuple(("", key) for key in results.unknown_examples[:EXAMPLES])
        odd.append(Oddity("unknown", "a key that was never asked for", results.unknown, examples))
    if results.duplicates:
        odd.append(Oddity("duplicate", "a second line for the same key", results.duplicates, ()))
    if results.unreadable_count:
        examples = tuple((f"line {number}", excerpt) for number, excerpt in results.unreadable[:EXAMPLES])
        odd.append(Oddity("unreadable", "no JSON, and no key to be seen", results.unreadable_count, examples))
    return odd


def _account(rt: Runtime, number: int, oddities: list[Oddity]) -> Account:
    """Return what became of a batch, with the reasons and up to three examples of each."""
    with rt.store.read() as tx:
        batch = batches.get(tx, number)
        failed: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for row in answers.examples(tx, number):
            failed.setdefault((row["outcome"], row["reason"]), []).append((row["item_id"], row["excerpt"] or ""))
        shown = [item_id for rows in failed.values() for item_id, _ in rows[:EXAMPLES]]
        outdated = answers.not_applied(tx, number)[1]
        names = rt.task.names(tx, [*shown, *outdated])
        other = answers.other_versions(tx, number, model=batch.model)
    for (outcome, reason), rows in failed.items():
        examples = tuple((names.get(item_id, item_id), excerpt) for item_id, excerpt in rows[:EXAMPLES])
        oddities.append(Oddity(outcome, reason, len(rows), examples))
    return Account(batch, oddities, [names.get(one, one) for one in outdated], other)
