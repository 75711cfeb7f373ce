"""Docstrings and signatures name the same parameters."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS_SECTION = re.compile(r"^Args:\n((?:    .*\n?|\n)+)", re.MULTILINE)
ARGUMENT_NAMES = re.compile(r"^    ([*\w, ]+?)(?: \(.*?\))?:", re.MULTILINE)


def list_unknown_arguments(module: ast.Module) -> Iterator[str]:
    """Yield `function: name` for each documented argument that its function does not have."""
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        section = ARGUMENTS_SECTION.search(ast.get_docstring(function) or "")
        if section is None:
            continue
        parameter_names = {
            node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)
        }
        for names in ARGUMENT_NAMES.findall(section.group(1)):
            for name in names.split(","):
                if name.strip(" *") not in parameter_names:
                    yield f"{function.name}: {name.strip()}"


@pytest.mark.parametrize("folder", ["pipeline", "jobs", "web", "emulator", "tests"])
def test_documented_arguments_exist(folder: str) -> None:
    """No docstring describes an argument that was renamed or removed."""
    unknown_arguments = [
        f"{path.relative_to(ROOT)}: {unknown_argument}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for unknown_argument in list_unknown_arguments(ast.parse(path.read_text("utf-8")))
    ]
    assert not unknown_arguments


def test_renamed_argument_is_noticed() -> None:
    """A section that still has the old name of a parameter is reported."""
    module = ast.parse('def f(new):\n    """Do it.\n\n    Args:\n        old: A number.\n    """\n')
    assert list(list_unknown_arguments(module)) == ["f: old"]
