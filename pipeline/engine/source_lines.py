"""Find what a task's file says without running it: lines for messages, and its version."""

import ast
import traceback
from pathlib import Path
from typing import Any

# The class whose call in a file declares the task, and its version without `version=`.
TASK_CLASS = "Task"
DEFAULT_VERSION = 1


def _find_field_line(path: Path, field_name: str, class_name: str) -> int | None:
    """Return the line that annotates a field.

    If no or several fields have that name, return the first line of the class, or None if the file
    does not define it.
    """
    field_lines = [
        node.lineno
        for node in _find_nodes(path, ast.AnnAssign)
        if getattr(node.target, "id", "") == field_name
    ]
    if len(field_lines) == 1:
        return int(field_lines[0])
    class_lines = (
        node.lineno for node in _find_nodes(path, ast.ClassDef) if node.name == class_name
    )
    return next(class_lines, None)


def find_error_line(error: BaseException, path: Path) -> int | None:
    """Return the line of a file in which an error arose; the innermost frame counts.

    If no frame of the traceback is in the file, return None.
    """
    frames = traceback.extract_tb(error.__traceback__)
    lines = (frame.lineno for frame in reversed(frames) if Path(frame.filename) == path)
    return next(lines, None)


def format_location(path: Path, line: int | None) -> str:
    """Format a file and its line for an error message; without a line, the file alone."""
    return f"{path}, line {line}" if line else str(path)


def locate_member(
    path: Path,
    member: str,
    *,
    index: int | None = None,
    line: int | None = None,
) -> str:
    """Return where a keyword argument of a task is, as text for a message: `tasks/a.py, line 7`.

    The file is parsed, not run. A file that cannot be read or parsed has no such argument.

    Args:
        path: The task's file.
        member: Name of the keyword argument; the first call with it counts.
        index: If the argument is a list, the line of this element is returned.
        line: Line to use if the file has no such argument; with None the text is only the file.
    """
    keywords = (node for node in _find_nodes(path, ast.keyword) if node.arg == member)
    keyword = next(keywords, None)
    if keyword is None:
        return format_location(path, line)

    expression = keyword.value
    is_list = isinstance(expression, ast.List | ast.Tuple)
    if index is not None and is_list and index < len(expression.elts):
        expression = expression.elts[index]
    return format_location(path, expression.lineno)


def find_declared_version(path: Path) -> int | None:
    """Return the version that a task's file declares, or None if it cannot be told.

    The file is parsed, not run. A `Task(…)` without `version=` declares DEFAULT_VERSION. The
    version cannot be told if the file is missing or no Python, if it has no or several calls of
    `Task(…)`, if `version=` is not a plain number, or if arguments are unpacked from a dict.
    """
    calls = [
        call
        for call in _find_nodes(path, ast.Call)
        if TASK_CLASS in {getattr(call.func, "id", ""), getattr(call.func, "attr", "")}
    ]
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


def _find_nodes(path: Path, kind: type[ast.AST]) -> list[Any]:
    """Return the syntax nodes of a kind in a file; none if it cannot be read or parsed."""
    try:
        return [node for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, kind)]
    except (OSError, SyntaxError, ValueError):
        return []
