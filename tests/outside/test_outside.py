"""The second server shares code with nobody."""

import ast
import sys
from pathlib import Path


def test_server_imports_only_the_standard_library_and_itself() -> None:
    """A server that shared code with the emulator or the product would share its errors."""
    folder = Path(__file__).parent
    for file in {*folder.glob("*.py")} - {Path(__file__)}:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                is_standard = name.split(".")[0] in sys.stdlib_module_names
                assert is_standard or name.startswith("tests.outside."), (file, name)
