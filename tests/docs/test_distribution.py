"""Documents never install the package of a stranger that has the product's name on PyPI."""

import os
import re
import tomllib
from pathlib import Path

from pipeline.core import __version__
from tests.lab import ROOT, Workspace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# An installer with the product's name as a package, or the name with an extra; paths do not match.
INSTALLS = re.compile(
    r"""\b(?:(?:pip3?|pipx|poetry|conda|uv(?:\ tool|\ pip)?)\ (?:install|download|add|run)|uvx)
        (?:\ [\w.<>=~'"\[\]-]+)*?\ ['"]?findable(?![\w/-])
        |\bfindable(?:-batch)?\[[a-z]+\]""",
    re.VERBOSE,
)
BUILD_FOLDERS = {"build", "dist"}
THIS_FILE = "tests/docs/test_distribution.py"


def _texts() -> dict[str, str]:
    """Return all texts of the checkout; continued strings of Python are joined."""
    text_by_path = {}
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") or name == ".ci"]
        subfolders[:] = [
            name
            for name in subfolders
            if not name.endswith(("__pycache__", ".egg-info")) and name not in BUILD_FOLDERS
        ]
        if Path(folder) == ROOT / "data":
            subfolders[:] = ["sample"]
        for path in map(Path(folder).joinpath, names):
            file_bytes = path.read_bytes()
            if b"\0" not in file_bytes[:4096]:
                text = file_bytes.decode("utf-8", "replace")
                text_by_path[str(path.relative_to(ROOT))] = re.sub(r"\"\s*\n\s*f?\"", "", text)
    del text_by_path[THIS_FILE]
    return text_by_path


def test_no_text_installs_the_package_of_a_stranger() -> None:
    """Documents and messages do not contain such a command."""
    texts = _texts()
    assert {"README.md", "docs/python.md", "pipeline/tables/cells.py", "Makefile"} <= texts.keys()
    matches = {name for name, text in texts.items() if INSTALLS.search(text)}
    assert not matches, matches


def test_the_command_keeps_its_name_and_knows_its_version(workspace: Workspace) -> None:
    """Only the distribution has another name, and `--version` prints the package version."""
    assert PROJECT["name"] == "findable-batch"
    assert PROJECT["scripts"] == {"findable": "jobs.cli:main"}
    assert workspace.ran("--version").stdout == f"main, version {__version__}\n"
