"""What an own task's answers came to since its pilot is held against what the pilot's came to."""

import json
from typing import Any

from pipeline.engine.declared.task_file import look_again
from tests.integration import reviews
from tests.lab import ON_POSTGRESQL, Workspace

BOTH, COUNT = 60, 15  # answers in the pilot and since; values of a field that its schema lists
DECLARED = f"""
from typing import Literal
from pydantic import BaseModel
from findable import Quote, Task

class Answer(BaseModel):
    topic: Literal[{", ".join(f'"t{number}"' for number in range(COUNT))}]
    stars: int
    quote: Quote | None
    why: str

task = Task(answer=Answer, items="reviews.csv", prompt="{{text}}")
"""
QUOTE = {"quote": "It", "start": 0, "end": 2}


def moment(day: int) -> str:
    """Return a moment as the database keeps it."""
    return f"2026-03-{day:02} 00:00:00{'+00:00' if ON_POSTGRESQL else '.000000'}"


def answer(workspace: Workspace, number: int, day: int, **values: Any) -> None:
    """Keep the answer about an item that came on a day."""
    document = {
        "topic": f"t{number % COUNT}",
        "stars": 3,
        "quote": QUOTE,
        "why": f"one two three four no{number} {day}",
    }
    workspace.change(
        "INSERT INTO findable_answers (task, item_id, extractor, input_hash, answer, applied, model_version,"
        " response_id, tokens_in, tokens_out, cost, at)"
        " VALUES ('reviews', :item, 'reviews@1/m', '', :answer, true, '', '', 1, 1, 0, :at)",
        item=f"{day}-{number}",
        answer=json.dumps(document | values),
        at=moment(day),
    )


def park(workspace: Workspace, count: int, day: int) -> None:
    """Park some items on a day."""
    for number in range(count):
        workspace.change(
            "INSERT INTO findable_parked (task, item_id, reason, at) VALUES ('reviews', :item, 'r', :at)",
            item=f"parked-{day}-{number}",
            at=moment(day),
        )


def judged(workspace: Workspace, code: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]:
    """Return the gates and figures of a report by name, and what it says of each share in the pilot and since."""
    document = json.loads(workspace.ran("qc", "--json", GATES="same=off,answered=off,parked=off", code=code).stdout)
    gates = {one["name"]: one for one in document["gates"]}
    return gates, document["figures"], {row[0]: row[1:] for table in document["tables"] for row in table["cells"]}


def test_answers_since_the_pilot_are_compared_with_it_in_every_figure(workspace: Workspace) -> None:
    """Shares that fall, a choice of many values that moves, a number that was always the same; with no pilot none."""
    reviews.put(workspace)
    reviews.declare().write_text(DECLARED, encoding="utf-8")
    look_again()
    workspace.ran("preflight")
    for number in range(BOTH):
        answer(workspace, number, 1)
    park(workspace, 3, 1)
    gates, _, shares = judged(workspace, 0)
    assert (gates["worse"]["passed"], gates["divergence"]["passed"], shares) == (None, None, {})
    workspace.change(
        "INSERT INTO findable_pilots (number, task, extractor, size, seed, began_at, ended_at, verdict)"
        " VALUES (1, 'reviews', 'reviews@1/m', 60, 1, :at, :at, 'passed')",
        at=moment(2),
    )
    for number in range(BOTH):
        answer(workspace, number, 3, stars=3 if number % 20 else 4)
    gates, figures, shares = judged(workspace, 0)
    assert (gates["worse"]["passed"], figures["worse"]["value"], gates["divergence"]["passed"]) == (True, 0, True)
    assert 0 < figures["divergence-stars"]["value"] < 0.1
    assert figures["divergence-topic"]["value"] == 0
    assert shares["parked"] == ["4.76 %", "0 %", 60]
    workspace.change("DELETE FROM findable_answers WHERE item_id LIKE '3-%'")
    for number in range(BOTH):
        answer(workspace, number, 3, topic="t1", quote=None if number % 3 else QUOTE)
    park(workspace, 12, 3)
    gates, figures, shares = judged(workspace, 6)
    assert (gates["worse"]["passed"], figures["worse"]["told"].rpartition(" ")[2]) == (False, "evidence")
    assert (gates["divergence"]["passed"], figures["divergence"]["told"].rpartition(" ")[2]) == (False, "topic")
    assert shares["evidence"] == ["100 %", "33.33 %", 60]
    assert shares["parked"] == ["4.76 %", "16.67 %", 63]
    assert {"answered", "same", "near-duplicates", "leak"} <= shares.keys()
