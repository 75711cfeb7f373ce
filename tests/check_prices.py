"""`make check-prices`: compare the table of models with the packages genai-prices and litellm.

Both packages collect prices of many providers and are released every few days. The first argument
is the folder into which pip installed them. Each difference is printed in a line, with its reason
if the reason is known.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.gemini.models import Model, load_models

LITELLM_TABLE = Path("litellm") / "model_prices_and_context_window_backup.json"
PER_MILLION = 1_000_000
# Explained differences: (model, figure, package) and the reason why the table is right.
EXPLAINED = {
    (
        "gemini-3.5-flash-lite",
        "cached input, batch",
        "litellm",
    ): "genai-prices has 0.02, as the pricing page rounds it",
}


class Figure(NamedTuple):
    """A figure of a model in a package; prices are USD per 1 M tokens."""

    model: str
    name: str
    package: str
    value: object


def main(packages: Path) -> int:
    """Print each difference; return 1 if a difference is not explained."""
    today = datetime.now(UTC).date()
    table = {name: model for name, model in load_models().items() if not model.local}
    figures = [*_litellm_figures(packages, table), *_genai_figures(packages, table, today)]

    unexplained_count = 0
    for figure in figures:
        own_value = _own_figures(table[figure.model], today)[figure.name]
        if _is_equal(own_value, figure.value):
            continue
        reason = EXPLAINED.get((figure.model, figure.name, figure.package), "")
        if not reason:
            unexplained_count += 1
        values = f"table {own_value}, {figure.package} {figure.value}"
        _print_line(f"{figure.model}: {figure.name}: {values}; {reason or 'look'}")

    listed_models = {figure.model for figure in figures}
    for name in sorted(table.keys() - listed_models):
        _print_line(f"{name}: in neither package; table: {table[name].source}")
    _print_line(
        f"{len(figures)} figures of {len(listed_models)} models compared, "
        f"{unexplained_count} differ without a reason"
    )
    return int(unexplained_count > 0)


def _print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _own_figures(model: Model, today: date) -> Mapping[str, object]:
    """Return the figures of the table that a package may have, by name."""
    live_in, live_out = model.prices("standard", day=today)
    batch_in, batch_out = model.prices("batch", day=today)
    priority_in, _ = model.prices("priority", day=today)
    return {
        "input": live_in,
        "output": live_out,
        "input, batch": batch_in,
        "output, batch": batch_out,
        "input, priority": priority_in,
        "cached input": model.cached_price("standard", day=today),
        "cached input, batch": model.cached_price("batch", day=today),
        "last day": model.shutdown and model.shutdown.isoformat(),
        "accepts MINIMAL": "MINIMAL" in model.thinking_levels,
    }


def _litellm_figures(packages: Path, table: Mapping[str, Model]) -> Iterator[Figure]:
    """Yield the figures of litellm for the models of a table."""
    members = {
        "input": "input_cost_per_token",
        "output": "output_cost_per_token",
        "input, batch": "input_cost_per_token_batches",
        "output, batch": "output_cost_per_token_batches",
        "input, priority": "input_cost_per_token_priority",
        "cached input": "cache_read_input_token_cost",
        "cached input, batch": "cache_read_input_token_cost_batches",
    }
    document = json.loads((packages / LITELLM_TABLE).read_text(encoding="utf-8"))
    for name in table:
        entry: dict[str, Any] = document.get(f"gemini/{name}", {})
        for figure_name, member in members.items():
            if member in entry:
                yield Figure(name, figure_name, "litellm", entry[member] * PER_MILLION)
        if "deprecation_date" in entry:
            yield Figure(name, "last day", "litellm", entry["deprecation_date"])
        if "supports_minimal_reasoning_effort" in entry:
            yield Figure(
                name, "accepts MINIMAL", "litellm", entry["supports_minimal_reasoning_effort"]
            )


def _genai_figures(packages: Path, table: Mapping[str, Model], today: date) -> Iterator[Figure]:
    """Yield the figures of genai-prices for the models of a table."""
    sys.path.insert(0, str(packages))
    from genai_prices.data import providers

    google = next(provider for provider in providers if provider.id == "google")
    for entry in google.models:
        if entry.id not in table:
            continue
        live_prices = entry.get_prices(datetime(today.year, today.month, today.day, tzinfo=UTC))
        yield from _genai_prices(entry.id, live_prices, suffix="")

        # The newest variant comes first; a variant that starts later is not valid yet.
        batch_variants = [
            variant
            for variant in entry.price_variants or ()
            if variant.when == {"processing": "batch"} and variant.constraint.start_date <= today
        ]
        if batch_variants:
            yield from _genai_prices(entry.id, batch_variants[0].prices, suffix=", batch")


def _genai_prices(name: str, prices: Any, *, suffix: str) -> Iterator[Figure]:
    """Yield the figures of a price list of genai-prices, for the smallest prompts."""
    members = {"input": "input_mtok", "output": "output_mtok", "cached input": "cache_read_mtok"}
    for figure_name, member in members.items():
        price = getattr(prices, member)
        base_price = getattr(price, "base", price)
        if base_price is not None:
            yield Figure(name, f"{figure_name}{suffix}", "genai-prices", float(base_price))


def _is_equal(own_value: object, other_value: object) -> bool:
    """Return whether two figures are the same; prices may differ by rounding."""
    if isinstance(own_value, float) and isinstance(other_value, float):
        return abs(own_value - other_value) < 0.005 * max(own_value, other_value)
    return own_value == other_value


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
