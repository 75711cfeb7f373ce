"""Hints of commands that a person types."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from askrows.pipeline.core import command_hint

EXTRA = "parquet"
GIT_URL = {"url": "https://example.org/askrows", "vcs_info": {"vcs": "git"}}
PIP = f"{sys.executable} -m pip install"
UV = f"uv pip install --python {sys.executable}"


@pytest.mark.parametrize(
    ("project_name", "records", "command"),
    [
        ("pyproject.toml", {}, f"{PIP} -e '{{checkout}}[{EXTRA}]'"),
        ("", {}, f"{PIP} 'askrows[{EXTRA}]'"),
        ("", {"direct_url.json": {"url": "file:///s"}}, f"{PIP} 'askrows[{EXTRA}] @ file:///s'"),
        (
            "",
            {"direct_url.json": GIT_URL, "INSTALLER": "uv"},
            f"{UV} 'askrows[{EXTRA}] @ git+https://example.org/askrows'",
        ),
    ],
)
def test_extra_is_installed_as_the_product_was(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    project_name: str,
    records: dict[str, Any],
    command: str,
) -> None:
    """A checkout without its `.venv`, an index, a folder and a repository have their commands."""
    module_path = tmp_path / "askrows" / "pipeline" / "core" / "command_hint.py"
    monkeypatch.setattr(command_hint, "__file__", str(module_path))
    if project_name:
        (tmp_path / project_name).touch()
    texts = {
        name: record if isinstance(record, str) else json.dumps(record)
        for name, record in records.items()
    }
    product = SimpleNamespace(read_text=texts.get)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _name: product)
    assert command_hint.format_install_command(EXTRA) == command.format(checkout=tmp_path)
