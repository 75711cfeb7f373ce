"""How the outside server answers a batch whose time has come."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.outside.answers import Answerer, Json, RefusedLine, member, reply, vector
from tests.outside.keeping import Keeping, Line, error_line
from tests.outside.telling import Manner

Results = Callable[
    [Sequence[str]], bytes
]  # from the keys of a batch to the very bytes of its result file


def settle(
    keeping: Keeping, name: str, answerer: Answerer, manner: Manner, results: Results | None
) -> None:
    """Answer a batch if its time has come, and seal its results, or what `results` makes of its keys; or do nothing."""
    with keeping.whole():
        row = keeping.row(
            "SELECT * FROM batches WHERE id = ? AND over = '' AND ends <= ?", name, time.time()
        )
        if row is None:
            return
        if results is None:
            answered = [
                _result(keeping, row, line, answerer, manner)
                for line in keeping.lines_of(row["number"])
            ]
            data = manner.line_end.join(
                json.dumps(one, ensure_ascii=False) for one in answered
            ).encode()
            failed = sum("error" in one for one in answered)
        else:
            data = results([line.key for line in keeping.lines_of(row["number"])])
            failed = 0
        keeping.keep_file(
            f"batch-{name}", row["owner"], data, label="", mime="application/jsonl", generated=True
        )
        keeping.rows(
            "UPDATE batches SET over = ?, ended = ends, failed = ? WHERE id = ?",
            manner.ending,
            failed,
            name,
        )


def _result(keeping: Keeping, row: Any, line: Line, answerer: Answerer, manner: Manner) -> Json:
    """Return the result line of one request, and note what was answered."""
    try:
        answered = reply(line.request, answerer(line.request), model=row["model"])
    except RefusedLine as refused:
        keeping.note_answer(line.key, line.question, row["id"], refused=True)
        return error_line(line.key, refused)
    keeping.note_answer(line.key, line.question, row["id"])
    found = {"response": answered, "key": line.key}
    return dict(reversed(found.items())) if manner.key_first else found


def vector_of(request: Json) -> list[float]:
    """Return the vector of a request; its parts are one text."""
    parts = (member(request, "content") or {}).get("parts", ())
    return vector(
        " ".join(part.get("text", "") for part in parts),
        member(request, "outputDimensionality") or 3072,
    )
