"""Passages on the emulator, for tests with many rows."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.lab import Workspace

# Each text combines two of them.
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
    """Return the text of a passage, different for each number: four sentences on two topics."""
    topic = TOPICS[number % len(TOPICS)]
    other_topic = TOPICS[(number // len(TOPICS) + number + 1) % len(TOPICS)]
    return (
        f"Study {number} examines {topic} with field measurements. "
        f"We compare it with {other_topic} and report the mean "
        f"absolute error over {number + 3} sites. "
        "Naïve baselines such as linear regression fall behind\u2009🐝. "
        f"The benchmark dataset and the evaluation protocol of {topic} are released."
    )


def write_passages(path: Path, numbers: Sequence[int] | range, **texts: str) -> Path:
    """Write a file of passages p-0000, p-0001, …; `texts` replaces some (p_0001=…)."""
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


def import_passages(workspace: Workspace, count: int) -> None:
    """Import a number of passages."""
    path = write_passages(workspace.data.with_name("passages.jsonl"), range(count))
    workspace.ran("import-passages", str(path))


def insert_foreign_concept(workspace: Workspace, passage: str, label: str) -> None:
    """Store a concept of another program's version."""
    workspace.change(
        "INSERT INTO passage_concepts (passage_id, concept_name, concept_type, aliases,"
        " confidence, extractor_model, extractor_version, created_at)"
        " VALUES (:id, 'x', 'method', '[]', 1, 'm', :label, '2026-01-01')",
        id=passage,
        label=label,
    )
