"""Find what a task's file says without running it: lines for messages, and its version."""

import ast
import traceback
import warnings
from pathlib import Path
from typing import Any

# The class whose call in a file declares the task, and its version without `version=`.
TASK_CLASS = "Task"
DEFAULT_VERSION = 1


def format_location(path: Path, line: int | None) -> str:
    """Format a file and its line for an error message; without a line, the file alone."""
    return f"{path}, line {line}" if line else str(path)


def find_error_line(error: BaseException, path: Path) -> int | None:
    """Return the line of a file in which an error arose; the innermost frame counts.

    If no frame of the traceback is in the file, return None.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = (frame.lineno for frame in reversed(frames) if Path(frame.filename) == path)
    return next(lines, None)


def describe_syntax_error(path: Path) -> str:
    """Return why a file cannot be read or is not Python, with its line; "" if it is valid.

    Its code is not run.
    """
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(path.read_bytes(), str(path), "exec")
    except SyntaxError as error:
        return f"{format_location(path, error.lineno)}: {error.msg}"
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    return ""


def find_member_line(path: Path, member: str) -> int | None:
    """Return the line of a keyword argument of the task; None if the file has no such argument."""
    for call in _find_task_calls(path):
        for keyword in call.keywords:
            if keyword.arg == member:
                return keyword.value.lineno
    return None


def find_field_line(path: Path, field_name: str) -> int | None:
    """Return the line that annotates a field; None if no or several classes have such a field."""
    lines = [
        node.lineno
        for node in _find_nodes(path, ast.AnnAssign)
        if getattr(node.target, "id", "") == field_name
    ]
    return lines[0] if len(lines) == 1 else None


def find_declared_version(path: Path) -> int | None:
    """Return the version that a task's file declares, or None if it cannot be told.

    The file is parsed, not run. A `Task(…)` without `version=` declares DEFAULT_VERSION. The
    version cannot be told if the file is missing or no Python, if it has no or several calls of
    `Task(…)`, if `version=` is not a plain number, or if arguments are unpacked from a dict.
    """
    calls = _find_task_calls(path)
    if len(calls) != 1:
        return None

    expressions = {keyword.arg: keyword.value for keyword in calls[0].keywords}
    # Keyword arguments that are unpacked from a dict have no name, and may have the version.
    if None in expressions:
        return None
    if "version" not in expressions:
        return DEFAULT_VERSION
    version = getattr(expressions["version"], "value", None)
    if type(version) is int:
        return version
    return None


def _find_task_calls(path: Path) -> list[ast.Call]:
    """Return the calls of `Task(…)` in a file; none if it cannot be read or parsed."""
    return [
        call
        for call in _find_nodes(path, ast.Call)
        if TASK_CLASS in {getattr(call.func, "id", ""), getattr(call.func, "attr", "")}
    ]


def _find_nodes(path: Path, kind: type[ast.AST]) -> list[Any]:
    """Return the syntax nodes of a kind in a file; none if it cannot be read or parsed."""
    try:
        return [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, kind)]
    except (OSError, SyntaxError, ValueError):
        return []
