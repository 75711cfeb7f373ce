"""The page on search has the figures of the search on people of open conferences."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ROOT

PAGE = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")
# Real people are no part of this repository.
PEOPLE = ROOT.parent / "shared" / "data" / "people"
KINDS = {"all": ("topic", "title"), "topics": ("topic",), "titles of talks": ("title",)}
HEADER = """\
| questions | n | words | vectors | hybrid | weak |
| --- | ---: | --- | --- | --- | ---: |
"""


def run_command(data: Path, *arguments: object) -> str:
    """Run a command with the local engine and return its standard output."""
    command = [sys.executable, "-m", "askrows", *map(str, arguments), "--data", str(data), "--yes"]
    environment = os.environ | {"ASKROWS_BACKEND": "local"}
    return subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    ).stdout


def format_share(share: float) -> str:
    """Return a share with three decimals, without the zero before the point."""
    return f"{share:.3f}".removeprefix("0")


def format_row(name: str, figures: dict[str, Any]) -> str:
    """Return a row of the table: means, and the interval of the ranking by both."""
    means = {system: row["figures"]["nDCG@10"] for system, row in figures.items()}
    mean, low, high = map(format_share, means["hybrid"])
    cells = [
        name,
        str(figures["hybrid"]["queries"]),
        format_share(means["words"][0]),
        format_share(means["vectors"][0]),
        f"**{mean}** [{low}, {high}]",
        f"{figures['hybrid']['weak']:.1%}".replace("%", " %"),
    ]
    return f"| {' | '.join(cells)} |\n"


@pytest.mark.full
@pytest.mark.skipif(not PEOPLE.exists(), reason="the people are not here")
def test_the_table_has_the_measured_figures(tmp_path: Path) -> None:
    """The table is that of `eval` on the people, tagged by the local engine."""
    pytest.importorskip("ir_measures")
    run_command(tmp_path, "import", PEOPLE / "experts_1558.csv")
    run_command(tmp_path, "tag", "--mode", "live")
    run_command(tmp_path, "index")

    lines = (PEOPLE / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = tmp_path / "queries.jsonl"
    table = HEADER
    for name, kinds in KINDS.items():
        kept = [line for line in lines if json.loads(line)["type"] in kinds]
        queries.write_text("\n".join(kept), encoding="utf-8")
        report = run_command(
            tmp_path, "eval", "--queries", queries, "--qrels", PEOPLE / "qrels.tsv", "--json"
        )
        table += format_row(name, {row["system"]: row for row in json.loads(report)})
    assert table in PAGE
