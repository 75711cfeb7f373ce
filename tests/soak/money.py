"""What must hold of money: it adds up from the tokens of every answer and attempt, at the prices of the table."""

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pipeline.gemini
from tests.soak.look import Look

SPENDING = frozenset({"submitting", "submitted", "downloaded"})
MODELS = Path(pipeline.gemini.__path__[0]) / "models.toml"
CENT_PARTS = 1e-6


def spend_adds_up(here: Look) -> Iterator[str]:
    """Each batch costs what its answers and attempts cost, and `status` says the sum of all, and of the estimates."""
    paid: dict[int | None, float] = defaultdict(float)
    for row in here.rows["answers"] + here.rows["attempts"]:
        paid[row["batch"]] += row["cost"]
        if abs(row["cost"] - _price(here, row)) > CENT_PARTS:
            yield f"item {row['item_id']} of batch {row['batch']} costs {row['cost']}, its tokens {_price(here, row)}"
    for number, batch in here.batches.items():
        if batch["state"] == "ingested" and abs(batch["cost"] - paid[number]) > CENT_PARTS:
            yield f"batch {number} costs {batch['cost']}, its lines {paid[number]}"
    total = sum(paid[number] for number, batch in here.batches.items() if batch["cost"] is not None) + paid[None]
    estimated = sum(row["estimated_cost"] for row in here.rows["batches"] if row["state"] in SPENDING)
    estimated += sum(row["estimated_cost"] for row in here.rows["twins"])
    said = here.status["spent"]
    if abs(said["actual"] - total) > CENT_PARTS or abs(said["estimated"] - estimated) > CENT_PARTS:
        yield f"status says {said}, the rows say {total} and {estimated}"


def _price(here: Look, row: dict[str, Any]) -> float:
    """Return what the tokens of one row cost, from the table of prices as it stands in its file."""
    is_batch = row["batch"] is not None
    model = _table()[here.batches[row["batch"]]["model"] if is_batch else here.status["model"]]
    half = 0.5 if is_batch else 1.0
    price_in = model.get("batch_in", model["price_in"] * half) if is_batch else model["price_in"]
    price_out = model.get("batch_out", model["price_out"] * half) if is_batch else model["price_out"]
    return float(row["tokens_in"] * price_in + row["tokens_out"] * price_out) / 1_000_000


def _table() -> dict[str, Any]:
    if not _TABLE:
        _TABLE.update(tomllib.loads(MODELS.read_text(encoding="utf-8"))["models"])
    return _TABLE


_TABLE: dict[str, Any] = {}
