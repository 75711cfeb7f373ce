"""The outside server answers a batch at the end of its running time."""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.outside.answers import Answerer, Json, RefusedLine, member, reply, vector
from tests.outside.keeping import Keeping, Line, error_line
from tests.outside.telling import Manner

# A function from the keys of a batch to the bytes of its result file.
Results = Callable[[Sequence[str]], bytes]


def settle(
    keeping: Keeping, name: str, answerer: Answerer, manner: Manner, results: Results | None
) -> None:
    """Store the results of a batch if its time is over.

    The results come from the answerer, or from `results` if it is set.
    """
    with keeping.transaction():
        row = keeping.row(
            "SELECT * FROM batches WHERE id = ? AND over = '' AND ends <= ?", name, time.time()
        )
        if row is None:
            return

        if results is None:
            result_lines = [
                _result(keeping, row, line, answerer, manner)
                for line in keeping.lines_of(row["number"])
            ]
            lines = [json.dumps(line, ensure_ascii=False) for line in result_lines]
            content = manner.line_end.join(lines).encode()
            failed_count = sum("error" in line for line in result_lines)
        else:
            content = results([line.key for line in keeping.lines_of(row["number"])])
            failed_count = 0

        keeping.keep_file(
            f"batch-{name}",
            row["owner"],
            content,
            label="",
            mime="application/jsonl",
            generated=True,
        )
        keeping.rows(
            "UPDATE batches SET over = ?, ended = ends, failed = ? WHERE id = ?",
            manner.ending,
            failed_count,
            name,
        )


def _result(keeping: Keeping, row: Any, line: Line, answerer: Answerer, manner: Manner) -> Json:
    """Return the result line of a request and record its answer."""
    try:
        reply_document = reply(line.request, answerer(line.request), model=row["model"])
    except RefusedLine as refusal:
        keeping.note_answer(line.key, line.question, row["id"], refused=True)
        return error_line(line.key, refusal)
    keeping.note_answer(line.key, line.question, row["id"])
    result_line = {"response": reply_document, "key": line.key}
    return dict(reversed(result_line.items())) if manner.key_first else result_line


def vector_of(request: Json) -> list[float]:
    """Return the vector of a request; its parts are joined into a text."""
    parts = (member(request, "content") or {}).get("parts", ())
    text = " ".join(part.get("text", "") for part in parts)
    return vector(text, member(request, "outputDimensionality") or 3072)
