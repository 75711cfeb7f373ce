"""How the outside server answers a batch whose time has come."""

import json
import time

from tests.outside.answers import Answerer, Json, RefusedLine, member, reply, tokens, vector
from tests.outside.keeping import Keeping, error_line
from tests.outside.telling import Manner


def settle(kept: Keeping, name: str, answerer: Answerer, manner: Manner) -> None:
    """Answer a batch if its time has come, and seal its results; all of it or nothing."""
    with kept.whole():
        row = kept.row("SELECT * FROM batches WHERE id = ? AND over = '' AND ends <= ?", name, time.time())
        if row is None:
            return
        results: list[Json] = []
        for line in kept.lines_of(row["number"]):
            try:
                answered = _answered(line.request, answerer, model=row["model"], method=row["method"])
            except RefusedLine as refused:
                results.append(error_line(line.key, refused))
                kept.note_answer(line.key, line.question, name, refused=True)
                continue
            found = {"response": answered, "key": line.key}
            results.append(dict(reversed(found.items())) if manner.key_first else found)
            kept.note_answer(line.key, line.question, name)
        data = manner.line_end.join(json.dumps(one, ensure_ascii=False) for one in results).encode()
        kept.keep_file(f"batch-{name}", row["owner"], data, label="", mime="application/jsonl", generated=True)
        failed = sum("error" in one for one in results)
        kept.rows("UPDATE batches SET over = 'SUCCEEDED', ended = ends, failed = ? WHERE id = ?", failed, name)


def _answered(request: Json, answerer: Answerer, *, model: str, method: str) -> Json:
    """Return what one line of a batch is answered with."""
    if method == "asyncBatchEmbedContent":
        return {"embedding": {"values": vector_of(request)}, "tokenCount": str(tokens(json.dumps(request)))}
    return reply(request, answerer(request), model=model)


def vector_of(request: Json) -> list[float]:
    """Return the vector of a request; its parts are one text."""
    parts = (member(request, "content") or {}).get("parts", ())
    return vector(" ".join(part.get("text", "") for part in parts), member(request, "outputDimensionality") or 3072)
