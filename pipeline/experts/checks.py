"""Check people: scores against their rows, tags against the answers that were applied, and texts that had gaps."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection

from pipeline.core.progress import Progress
from pipeline.engine.task import DerivedCheck, RowFault
from pipeline.experts import table
from pipeline.experts.score import score
from pipeline.store import answers, by_hand
from pipeline.tables.cells import list_of, number_of, text_of

SCORES = "scores that do not follow from their row"
TAGS = "tags that another program changed after they were written"
TEXT = "text that is no UTF-8, read with gaps"
GAP = "\N{REPLACEMENT CHARACTER}"
EXAMPLES = 3


def check_people(tx: Connection, display: Progress) -> DerivedCheck:
    """Compare scores with their rows, and tags with the answers that were applied."""
    wrong: dict[str, list[str]] = {SCORES: [], TAGS: [], TEXT: []}
    applied = answers.current_answers(tx, table.TASK)
    rules = by_hand.rules_in_force(tx, table.TASK)
    with display.bar("checking people", table.people(tx).total(tx), late=True) as bar:
        for number, row in enumerate(table.all_experts(tx), start=1):
            key = str(row["id"])
            for kind in _wrong(row, applied.pop(key, None), rules):
                wrong[kind].append(text_of(row["username"]))
            bar.show(number)
    return DerivedCheck([_fault(kind, names) for kind, names in wrong.items() if names], sorted(applied))


def _wrong(row: Mapping[Any, Any], answer: str | None, rules: Mapping[str, str]) -> Iterator[str]:
    """Yield what is wrong with one row, whose tags may have been merged."""
    if score(row) != number_of(row["findability_score"]):
        yield SCORES
    if answer is not None:
        said = json.loads(answer).get("tags")
        if list_of(row["tags"]) != (said and by_hand.merged(said, rules)):
            yield TAGS
    if any(GAP in text_of(row[column]) for column in ("username", *table.INPUT_COLUMNS)):
        yield TEXT


def _fault(kind: str, names: list[str]) -> RowFault:
    said = f"{kind}: {len(names)} ({', '.join(names[:EXAMPLES])}{', …' if len(names) > EXAMPLES else ''})"
    if kind == SCORES:
        return RowFault(said, "a list sorted by it is in a wrong order", "make score")
    if kind == TAGS:
        why = "what they came from cannot be told any more"
        return RowFault(said, why, "nothing, where that was meant", contradiction=False)
    why = "it is asked about and found with gaps; it is never written back"
    return RowFault(said, why, "mend the text in the table", contradiction=False)
