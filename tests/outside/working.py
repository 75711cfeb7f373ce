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


# A function from the replies of a batch, in the order of its requests, to the replies under the
# same keys. A request without a reply has its error.
Mixing = Callable[[list[Json]], list[Json]]


def settle(
    keeping: Keeping,
    name: str,
    *,
    answerer: Answerer,
    manner: Manner,
    results: Results | None,
    mixing: Mixing | None = None,
) -> None:
    """Store the results of a batch if its time is over.

    The results come from the answerer, or from `results` if it is set. The keys stay in their order
    if `mixing` changes the order of the replies.
    """
    with keeping.transaction():
        row = keeping.row(
            "SELECT * FROM batches WHERE id = ? AND over = '' AND ends <= ?", name, time.time()
        )
        if row is None:
            return

        if results is None:
            result_lines = [
                _result(keeping, row, line, answerer) for line in keeping.lines_of(row["number"])
            ]
            if mixing is not None:
                keys = [line.pop("key") for line in result_lines]
                result_lines = [
                    {**reply_members, "key": key}
                    for key, reply_members in zip(keys, mixing(result_lines), strict=True)
                ]
            lines = [json.dumps(line, ensure_ascii=False) for line in result_lines]
            content = "\n".join(lines).encode()
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


def _result(keeping: Keeping, row: Any, line: Line, answerer: Answerer) -> Json:
    """Return the result line of a request and record its answer."""
    try:
        reply_document = reply(line.request, answerer(line.request), model=row["model"])
    except RefusedLine as refusal:
        keeping.note_answer(line.key, line.question, row["id"], refused=True)
        return error_line(line.key, refusal)
    keeping.note_answer(line.key, line.question, row["id"])
    return {"response": reply_document, "key": line.key}


def vector_of(request: Json) -> list[float]:
    """Return the vector of a request; its parts are joined into a text."""
    parts = (member(request, "content") or {}).get("parts", ())
    text = " ".join(part.get("text", "") for part in parts)
    return vector(text, member(request, "outputDimensionality") or 3072)
