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
    from pipeline.core import files
    from pipeline.core.states import BatchState, Outcome
    from pipeline.engine import record
    from pipeline.engine.record import MissingLine, judge_lines, source_of
    from pipeline.gemini.requests import request_key
    from pipeline.gemini.result_file import key_of_line
    from pipeline.store import answers, batches, claims

    loads("pipeline.experts.answer")
    ws = held(grounds.opened(data))
    ws.model.prices(batch=True, on=ws.now().date())  # the first one imports the list of prices

    def run() -> Said:
        with ws.store.read() as tx:
            (batch,) = batches.batches_in_states(tx, BatchState.DOWNLOADED)
            asked = claims.request_page(tx, batch.number, after=None, limit=batch.requests)
        by_key = {request_key(batch.task, one.item_id): one for one in asked}
        source, missing = source_of(batch, models_file=None), MissingLine("no line in the result", charged=True)
        path = files.verify(data / str(batch.result_file), sha256=str(batch.result_sha256), what="the result")
        seen: set[str] = set()
        duplicates = 0
        lines = files.read_lines(path)
        while chunk := list(islice(lines, CHUNK)):
            judged = []
            for key, line in ((key_of_line(line) or "", line) for _, line in chunk):
                if key in seen:
                    duplicates += 1
                    continue
                seen.add(key)
                request = by_key[key]
                found = judge_lines(ws.task, request, [line], missing=missing)
                judged.append((request, found))
            with ws.store.write() as tx:
                claims.record_outcomes(tx, [(request, one.outcome, one.reason) for request, one in judged])
                record.write_judgements(tx, ws.task, [one for _, one in judged], source=source, at=ws.now())
        with ws.store.write() as tx:
            outcomes, _, _ = claims.outcome_counts(tx, batch.number)
            used = dict(zip(("tokens_in", "tokens_out", "cost"), answers.usage_of_batch(tx, batch.number), strict=True))
            counts = {outcome.value: outcomes.get(outcome, 0) for outcome in Outcome}
            counts |= {"unknown": 0, "duplicates": duplicates, "unreadable": 0}
            kept = len(answers.unusual(tx, batch.number, model=batch.model)[0])
            batches.mark_ingested(tx, batch, at=ws.now(), not_applied=kept, **counts, **used)
        return {"rows": len(seen)}

    return run
