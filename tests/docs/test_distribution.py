"""No text installs the product from PyPI, where it is not published yet."""

import re
import tomllib

from askrows.pipeline.core import __version__
from tests.lab import ROOT, Workspace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# An installer with the product's name as a package, or the name with an extra; paths do not match.
INSTALLS = re.compile(
    r"""\b(?:(?:pip3?|pipx|poetry|conda|uv(?:\ tool|\ pip)?)\ (?:install|download|add|run)|uvx)
        (?:\ [\w.<>=~'"\[\]-]+)*?\ ['"]?askrows(?![\w/-])
        |\baskrows\[[a-z]+\]""",
    re.VERBOSE,
)
FOLDERS = (".ci", "askrows", "docs", "examples", "tests")
NAMES = {"Makefile", ".env.example"}
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
        if path.is_file()
        and (path.name in NAMES or path.suffix in SUFFIXES or path.parent.name == ".ci")
    }


def test_no_text_installs_the_product_from_pypi() -> None:
    """Only the steps of a release do."""
    texts = _texts()
    assert {
        "README.md",
        "docs/python.md",
        "askrows/pipeline/rows/cells.py",
        "Makefile",
    } <= texts.keys()
    matches = {name for name, text in texts.items() if INSTALLS.search(text)}
    assert matches == {"CONTRIBUTING.md"}


def test_the_command_has_the_name_of_the_product_and_knows_its_version(
    workspace: Workspace,
) -> None:
    """The distribution and the command are `askrows`; `--version` prints the version."""
    assert PROJECT["name"] == "askrows"
    assert PROJECT["scripts"] == {"askrows": "askrows.jobs.cli:main"}
    assert workspace.ran("--version").stdout == f"main, version {__version__}\n"
