"""What is installed is ours: PyPI has a package of a stranger's that bears the product's name."""

import os
import re
import tomllib
from pathlib import Path

from pipeline.core import __version__
from tests.lab import ROOT, Workspace

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# an installer and its words up to the product's name as that of a package, or that name with an extra; a path is none
INSTALLS = re.compile(
    r"""\b(?:(?:pip3?|pipx|poetry|conda|uv(?:\ tool|\ pip)?)\ (?:install|download|add|run)|uvx)
        (?:\ [\w.<>=~'"\[\]-]+)*?\ ['"]?findable(?![\w/-])
        |\bfindable(?:-batch)?\[[a-z]+\]""",
    re.VERBOSE,
)
MADE = {"build", "dist"}
HERE = "tests/docs/test_distribution.py"


def _texts() -> dict[str, str]:
    """Return every text of the checkout, with those of Python that go on on the next line put together."""
    found = {}
    for folder, below, names in os.walk(ROOT):
        below[:] = [name for name in below if not name.startswith(".") or name == ".ci"]
        below[:] = [
            name
            for name in below
            if not name.endswith(("__pycache__", ".egg-info")) and name not in MADE
        ]
        if Path(folder) == ROOT / "data":
            below[:] = ["sample"]
        for path in map(Path(folder).joinpath, names):
            if b"\0" not in (read := path.read_bytes())[:4096]:
                text = read.decode("utf-8", "replace")
                found[str(path.relative_to(ROOT))] = re.sub(r"\"\s*\n\s*f?\"", "", text)
    del found[HERE]
    return found


def test_no_text_tells_to_install_a_strangers_package() -> None:
    """Neither documents nor messages."""
    texts = _texts()
    assert {"README.md", "docs/python.md", "pipeline/tables/cells.py", "Makefile"} <= texts.keys()
    told = {name: found[0] for name, text in texts.items() if (found := INSTALLS.search(text))}
    assert not told, told


def test_the_command_keeps_its_name_and_knows_its_version(workspace: Workspace) -> None:
    """The distribution has another name, the command and the import have not; `--version` is the package's."""
    assert PROJECT["name"] == "findable-batch"
    assert PROJECT["scripts"] == {"findable": "jobs.cli:main"}
    assert workspace.ran("--version").stdout == f"main, version {__version__}\n"
