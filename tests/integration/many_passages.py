"""Passages on the emulator for the tests of pilots and backfills, and what must hold of every row that was stored."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.lab import Api, Workspace

KEY = "passage-concepts"
LABEL = f"{KEY}@1"
MODEL = "gemini-3.5-flash-lite"
EXTRACTOR = f"{LABEL}/{MODEL}"
CREATE = ":batchGenerateContent"
TOPICS = (
    "groundwater recharge in arid river basins",
    "transfer learning for sparse clinical records",
    "queen rearing by selective honey bee breeding",
    "graph neural networks for protein folding",
    "timber frame joints under cyclic loading",
    "customary water law in mountain valleys",
    "magnetic resonance imaging of fruit ripening",
    "bayesian calibration of glacier flow models",
)
"""An answer of the right form whose quotations stand in no passage."""


def text_of(number: int) -> str:
    """Return the text of one passage, another one for each number: four sentences on two topics."""
    one, other = TOPICS[number % len(TOPICS)], TOPICS[(number // len(TOPICS) + number + 1) % len(TOPICS)]
    return (
        f"Study {number} examines {one} with field measurements. We compare it with {other} and report the mean "
        f"absolute error over {number + 3} sites. Naïve baselines such as linear regression fall behind\u2009🐝. "
        f"The benchmark dataset and the evaluation protocol of {one} are released."
    )


def write(path: Path, numbers: Sequence[int] | range, **texts: str) -> Path:
    """Write a file of passages p-0000, p-0001, …; `texts` gives some of them (as p_0001) another text."""
    lines = (
        {"id": f"p-{number:04d}", "text": texts.get(f"p_{number:04d}", text_of(number)), "source": "field"}
        for number in numbers
    )
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
    return path


def put(workspace: Workspace, count: int) -> None:
    """Import so many passages."""
    path = write(workspace.data.with_name("passages.jsonl"), range(count))
    workspace.ran("import-passages", str(path))


def put_foreign(workspace: Workspace, passage: str, label: str) -> None:
    """Store a concept of a passage as another program does that has a version of its own."""
    workspace.change(
        "INSERT INTO passage_concepts (passage_id, concept_name, concept_type, aliases, confidence, extractor_model,"
        " extractor_version, created_at) VALUES (:id, 'x', 'method', '[]', 1, 'm', :label, '2026-01-01')",
        id=passage,
        label=label,
    )


def models(path: Path, *, enqueued_tokens: int) -> Path:
    """Write a table of models in which so many prompt tokens may wait at once, and return its path."""
    path.write_text(
        f'[models."{MODEL}"]\nprice_in = 0.3\nprice_out = 2.5\npriced_on = 2026-10-07\nsource = "a page"\n'
        f'kind = "generate"\nenqueued_tokens = {enqueued_tokens}\n'
    )
    return path


def document(workspace: Workspace, *words: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run a command with --json and return its one document."""
    done = workspace.ran(*words, "--json", **values, code=code)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pilot(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run a pilot, confirmed, and return its document."""
    return document(workspace, "passages-pilot", "--yes", *options, code=code, **values)


def backfill(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run a backfill, confirmed, and return its document."""
    return document(workspace, "passages-backfill", "--yes", *options, code=code, **values)


def counts(workspace: Workspace) -> dict[str, int]:
    """Return how many passages are in each state; states without any are left out."""
    found = document(workspace, "passages-status")["passages"]
    assert sum(value for name, value in found.items() if name != "total") == found["total"], found
    return {name: value for name, value in found.items() if value}


def asked(workspace: Workspace) -> Counter[str]:
    """Return how often each passage was sent in a batch, by the request files on disk."""
    found: Counter[str] = Counter()
    for path in sorted((workspace.data / "batches").glob("*-requests.jsonl")):
        for line in path.read_bytes().splitlines():
            found[str(json.loads(line)["key"]).removeprefix(f"{KEY}/")] += 1
    return found


def sent(api: Api) -> int:
    """Return how many creates the server has seen."""
    return len(api.seen("POST", CREATE))


def rows(workspace: Workspace, label: str) -> list[tuple[Any, ...]]:
    """Return every concept of a version, all of its columns as text, in their order."""
    columns = ", ".join(f"CAST({name} AS TEXT)" for name in sorted(workspace.columns("passage_concepts")))
    sql = f"SELECT {columns} FROM passage_concepts WHERE extractor_version = :label ORDER BY id"  # noqa: S608 - our names
    return workspace.query(sql, label=label)


def supports(workspace: Workspace) -> Iterator[tuple[str, str, int, int]]:
    """Yield (text, quote, start, end) of every support that is stored."""
    sql = "SELECT p.text, c.evidence FROM passage_concepts c JOIN passages p ON p.id = c.passage_id"
    for text, cell in workspace.query(sql):
        if cell is None:
            continue
        for one in (json.loads(cell) if isinstance(cell, str) else cell)["support"]:
            yield text, one["quote"], one["start"], one["end"]


def check(workspace: Workspace) -> int:
    """Hold all rows against one another, and return how many supports are stored.

    Every support is the slice of the text that it says; none is claimed twice; every batch that is over accounts for
    each of its requests once; of each version a passage has one applied answer at the most, and none without rows.
    """
    found = list(supports(workspace))
    assert [one for one in found if one[0][one[2] : one[3]] != one[1]] == []
    twice = "SELECT item_id FROM findable_asks WHERE state = 'claimed' GROUP BY task, item_id HAVING count(*) > 1"
    assert workspace.query(twice) == []
    late = (
        "SELECT b.number FROM findable_batches b JOIN findable_asks r ON r.batch = b.number "
        "WHERE b.state IN ('ingested', 'failed') AND r.state = 'claimed'"
    )
    assert workspace.query(late) == []
    uneven = (
        "SELECT number FROM findable_batches "
        "WHERE state = 'ingested' AND answered + refused + invalid + missing <> requests"
    )
    assert workspace.query(uneven) == []
    again = "SELECT item_id FROM findable_answers WHERE applied GROUP BY task, extractor, item_id HAVING count(*) > 1"
    assert workspace.query(again) == []
    applied = (
        "SELECT a.item_id FROM findable_answers a WHERE a.applied AND a.task = 'passage-concepts' AND NOT EXISTS "
        "(SELECT 1 FROM passage_concepts c WHERE c.passage_id = a.item_id "
        "AND c.extractor_version || '/' || c.extractor_model = a.extractor)"
    )
    assert workspace.query(applied) == []
    return len(found)
