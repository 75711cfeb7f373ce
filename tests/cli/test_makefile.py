"""What make hands to the commands: what was typed as its own variable, and what is named findable's."""

import json
import os
import subprocess
from pathlib import Path

from tests.lab import ROOT


def inherited() -> dict[str, str]:
    """Return the environment of the tests without what is meant for findable or comes from a make above them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FINDABLE_", "MAKE", "MFLAGS"))
    }


def test_a_make_within_make_takes_the_variables_along(tmp_path: Path) -> None:
    """What was typed for the outer make is typed for the inner one."""
    outer = tmp_path / "Makefile"
    outer.write_text(f"all:\n\t@$(MAKE) --no-print-directory -C '{ROOT}' settings JSON=1\n")
    process = subprocess.run(
        ["make", "-s", "-f", str(outer), "DIM=512"],
        env=inherited(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert {row["name"]: row["value"] for row in json.loads(process.stdout)}[
        "FINDABLE_DIM"
    ] == "512"
