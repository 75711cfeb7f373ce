"""Make passes its variables on to the commands."""

import json
import os
import subprocess
from pathlib import Path

from tests.lab import ROOT


def inherited_environment() -> dict[str, str]:
    """Return the environment of the tests without variables of askrows and of make."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASKROWS_", "MAKE", "MFLAGS"))
    }


def test_a_make_within_make_takes_the_variables_along(tmp_path: Path) -> None:
    """A variable of the outer make is a variable of the inner make."""
    outer = tmp_path / "Makefile"
    outer.write_text(f"all:\n\t@$(MAKE) --no-print-directory -C '{ROOT}' settings JSON=1\n")
    process = subprocess.run(
        ["make", "-s", "-f", str(outer), "DIM=512"],
        env=inherited_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    settings = {row["name"]: row["value"] for row in json.loads(process.stdout)}
    assert settings["ASKROWS_DIM"] == "512"
