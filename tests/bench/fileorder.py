"""Results in the order of the file: the product's own judging and writing, 2,000 lines a transaction, unsorted.

What is measured against it is the order alone: requests and lines are matched in memory, and each chunk touches rows
that lie anywhere in the database.
"""

from itertools import islice
from pathlib import Path

from tests.bench import grounds
from tests.bench.measure import Said, Timed, held, loads

CHUNK = 2000


def ready(data: Path) -> Timed:
    """Open the workspace."""
    from pipeline import apply, files, garbage
    from pipeline.apply import Asked, Missing, judge, source_of
    from pipeline.gemini.requests import key_of
    from pipeline.gemini.results import key_in
    from pipeline.states import BatchState, Outcome
    from pipeline.store import answers, batches, claims

    loads("pipeline.experts.answer")
    rt = held(grounds.opened(data))
    rt.model.prices(batch=True, on=rt.now().date())  # the first one imports the list of prices

    def run() -> Said:
        with rt.store.read() as tx:
            (batch,) = batches.in_states(tx, BatchState.DOWNLOADED)
            asked = claims.page(tx, batch.number, after=0, limit=batch.requests)
        by_key = {key_of(batch.task, one.item_id): one for one in asked}
        source, missing = source_of(batch, models_file=None), Missing("no line in the result", charged=True)
        path = files.verify(data / str(batch.result_file), sha256=str(batch.result_sha256), what="the result")
        seen: set[str] = set()
        duplicates = 0
        lines = files.read_lines(path)
        with garbage.kept_small():
            while chunk := list(islice(lines, CHUNK)):
                judged = []
                for _, line in chunk:
                    key = key_in(line)
                    assert key is not None
                    if key in seen:
                        duplicates += 1
                        continue
                    seen.add(key)
                    request = by_key[key]
                    found = judge(rt.task, Asked(request.item_id, request.input_hash), [line], missing=missing)
                    judged.append((request, found))
                with rt.store.write() as tx:
                    claims.account(tx, [(request, one.outcome, one.reason) for request, one in judged])
                    apply.write(tx, rt.task, [one for _, one in judged], source=source, at=rt.now())
        with rt.store.write() as tx:
            outcomes = claims.outcomes(tx, batch.number)
            tokens_in, tokens_out, cost = answers.usage_of_batch(tx, batch.number)
            batches.mark_ingested(
                tx,
                batch,
                at=rt.now(),
                **{outcome.value: outcomes.get(outcome, 0) for outcome in Outcome},
                not_applied=answers.not_applied(tx, batch.number)[0],
                unknown=0,
                duplicates=duplicates,
                unreadable=0,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                cost=cost,
            )
        return {"rows": len(seen)}

    return run
