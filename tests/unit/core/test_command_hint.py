"""Hints of commands that a person types."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from askrows.pipeline.core import command_hint

GIT_URL = {"url": "https://example.org/askrows", "vcs_info": {"vcs": "git"}}


@pytest.mark.parametrize(
    ("project_name", "source", "command"),
    [
        ("pyproject.toml", None, "pip install -e '{checkout}[parquet]'"),
        ("", None, "pip install 'askrows[parquet]'"),
        ("", {"url": "file:///src"}, "pip install 'askrows[parquet] @ file:///src'"),
        ("", GIT_URL, "pip install 'askrows[parquet] @ git+https://example.org/askrows'"),
    ],
)
def test_extra_is_installed_as_the_product_was(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project_name: str, source: Any, command: str
) -> None:
    """A checkout without its `.venv`, an index, a folder and a repository have their commands."""
    module_path = tmp_path / "askrows" / "pipeline" / "core" / "command_hint.py"
    monkeypatch.setattr(command_hint, "__file__", str(module_path))
    if project_name:
        (tmp_path / project_name).touch()
    record = SimpleNamespace(read_text=lambda _name: source and json.dumps(source))
    monkeypatch.setattr("importlib.metadata.distribution", lambda _name: record)
    assert command_hint.format_installation("parquet") == command.format(checkout=tmp_path)
