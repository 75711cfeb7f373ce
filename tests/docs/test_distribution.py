"""Documents never install the package of a stranger that has the product's name on PyPI."""

import re
import tomllib

from askrows.pipeline.core import __version__
from tests.lab import ROOT, Workspace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# An installer with the product's name as a package, or the name with an extra; paths do not match.
INSTALLS = re.compile(
    r"""\b(?:(?:pip3?|pipx|poetry|conda|uv(?:\ tool|\ pip)?)\ (?:install|download|add|run)|uvx)
        (?:\ [\w.<>=~'"\[\]-]+)*?\ ['"]?askrows(?![\w/-])
        |\baskrows(?:-batch)?\[[a-z]+\]""",
    re.VERBOSE,
)
FOLDERS = (".ci", "data/sample", "docs", "emulator", "examples", "jobs", "pipeline", "tests", "web")
NAMES = {"Makefile", ".env.example", "run"}
SUFFIXES = {".html", ".ini", ".js", ".lock", ".md", ".py", ".sql", ".toml", ".txt"}


def _texts() -> dict[str, str]:
    """Return all texts of the checkout; continued strings of Python are joined."""
    paths = [*ROOT.iterdir()]
    for name in FOLDERS:
        paths += (ROOT / name).rglob("*")
    return {
        str(path.relative_to(ROOT)): re.sub(
            r"\"\s*\n\s*f?\"", "", path.read_text(encoding="utf-8", errors="replace")
        )
        for path in paths
        if path.name in NAMES or path.suffix in SUFFIXES
    }


def test_no_text_installs_the_package_of_a_stranger() -> None:
    """Documents and messages do not contain such a command."""
    texts = _texts()
    assert {"README.md", "docs/python.md", "pipeline/tables/cells.py", "Makefile"} <= texts.keys()
    matches = {name for name, text in texts.items() if INSTALLS.search(text)}
    assert not matches, matches


def test_the_command_keeps_its_name_and_knows_its_version(workspace: Workspace) -> None:
    """Only the distribution has another name, and `--version` prints the package version."""
    assert PROJECT["name"] == "askrows"
    assert PROJECT["scripts"] == {"askrows": "askrows.jobs.cli:main"}
    assert workspace.ran("--version").stdout == f"main, version {__version__}\n"
