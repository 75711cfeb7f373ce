"""Passages on the emulator for the tests of pilots and backfills, and what must hold of every row that was stored."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.lab import Workspace

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


def text_of(number: int) -> str:
    """Return the text of one passage, another one for each number: four sentences on two topics."""
    one = TOPICS[number % len(TOPICS)]
    other = TOPICS[(number // len(TOPICS) + number + 1) % len(TOPICS)]
    return (
        f"Study {number} examines {one} with field measurements. We compare it with {other} and report the mean "
        f"absolute error over {number + 3} sites. Naïve baselines such as linear regression fall behind\u2009🐝. "
        f"The benchmark dataset and the evaluation protocol of {one} are released."
    )


def write(path: Path, numbers: Sequence[int] | range, **texts: str) -> Path:
    """Write a file of passages p-0000, p-0001, …; `texts` gives some of them (as p_0001) another text."""
    lines = (
        {
            "id": f"p-{number:04d}",
            "text": texts.get(f"p_{number:04d}", text_of(number)),
            "source": "field",
        }
        for number in numbers
    )
    path.write_text(
        "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8"
    )
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
