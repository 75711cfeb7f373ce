"""Faults of a task's file, with their lines, and checks of a declaration against its columns.

Lines for messages, and the version, are found without running the file.
"""

import ast
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from askrows.pipeline.core.column_placeholders import (
    MAX_LISTED_COLUMNS,
    find_column_by_exact_or_folded_name,
    list_template_columns,
    map_invalid_placeholders_to_valid,
)
from askrows.pipeline.core.declaration import HASH_KEY, Declaration
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.quotes import has_quotes
from askrows.pipeline.core.text import join_first
from askrows.pipeline.rows.reflection import quote_name
from askrows.pipeline.rows.row_sync import KEY_KINDS

# The class whose call in a file declares the task, and its version without `version=`.
TASK_CLASS = "Task"
DEFAULT_VERSION = 1
# Kinds of columns by the name of the type of their values.
KINDS_BY_TYPE = {"int": "integer", "float": "real", "bool": "boolean"}
# How to mend a member that names a missing column.
MISSING_COLUMN_HINTS = {
    "prompt": "name one of these columns; other braces may stay, binary columns are left out",
    "key": (
        "give the key its old name in the source (in a query with AS); "
        'only a new task can have another key=, such as "row"'
    ),
    "index": "each name in braces must be a column or a field of the answer",
    "metadata": "name a column or a field of the answer",
    "list_columns": "name a column or a field of the answer",
}


class Fault(NamedTuple):
    """A fault of a task's file."""

    message: str
    hint: str = ""
    # The line of the file; None if it is unknown.
    line: int | None = None


def raise_if_faults(faults: Sequence[Fault], path: Path) -> None:
    """Raise InputError if a file has faults; its message lists all in their order, with lines."""
    if not faults:
        return

    lines = []
    for fault in faults:
        remedy = f" ({fault.hint})" if fault.hint and len(faults) > 1 else ""
        lines.append(f"{format_location(path, fault.line)}: {fault.message}{remedy}")
    hint = f"correct {path}"
    if len(faults) > 1:
        lines.insert(0, f"{path} has {len(faults)} faults; nothing was asked")
    else:
        lines[0] += "; nothing was asked"
        hint = faults[0].hint or hint
    raise InputError("\n".join(lines), hint=hint)


def match_columns(names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Return the column that each name means; a name without a column stays as it is."""
    return [find_column_by_exact_or_folded_name(name, columns) or name for name in names]


def find_column_faults(
    declaration: Declaration, path: Path, columns: Mapping[str, str]
) -> Iterator[Fault]:
    """Yield the faults of a declaration that concern the columns of its rows.

    - A template has a column in braces whose name has characters other than letters, digits and _.
    - The prompt names no column, and the declaration has no images.
    - A member names a column that the rows do not have.
    - A derived value has the name of a column or of a field of the answer.
    - A column of the key has values of a kind that cannot be a key.
    - Answers have quotations, and it is unclear which column they quote.

    Args:
        path: The task's file.
        columns: Kinds of the columns of the rows (text, integer and so on), by name.
    """
    for member, message, hint in (
        *_find_template_and_quoted_column_faults(declaration, columns),
        *_find_named_column_faults(declaration, columns),
    ):
        yield Fault(f"{member}= {message}", hint, find_member_line(path, member))


def _find_template_and_quoted_column_faults(
    declaration: Declaration, columns: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (member, message, hint) of the faults of templates.

    A name in braces has characters that are not allowed, the prompt names no column and the task no
    image, or it is unclear which text column quotations are from. Missing columns are found
    elsewhere.
    """
    for member, template in (
        ("prompt", declaration.prompt),
        ("index", declaration.index_template),
        ("label", declaration.label),
    ):
        for column, placeholder in map_invalid_placeholders_to_valid(template, columns).items():
            message = f"has {{{column}}}, but a name in braces may have only letters, digits and _"
            yield member, message, f"write {{{placeholder}}} for the column {column!r}"
    if not declaration.prompt_columns and not declaration.images:
        yield "prompt", "names no column", "write {column} to insert that column's value"

    if declaration.quotes_in is not None or not has_quotes(declaration.answer):
        return
    text_columns = find_text_columns(declaration, columns)
    is_quoted_column_clear = len(text_columns) == 1 or "text" in text_columns
    prompt_columns = match_columns(declaration.prompt_columns, columns)
    # Missing columns have a fault of their own.
    if not is_quoted_column_clear and columns.keys() >= set(prompt_columns):
        message = f"names {len(text_columns)} text columns, but quotations need a single column"
        yield "prompt", message, "set quotes_in= to the column that is quoted"


def _find_named_column_faults(
    declaration: Declaration, columns: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield (member, message, hint) for each named column that is missing or cannot be a key.

    A derived value that has the name of a column or of a field is a fault, too.
    """
    listed_columns = join_first(list(columns), MAX_LISTED_COLUMNS)
    answer_fields = declaration.answer.model_fields
    derived_names = declaration.derived_functions
    for name in derived_names:
        if name in {HASH_KEY, *answer_fields} or find_column_by_exact_or_folded_name(name, columns):
            yield "derive", f"has {name!r}, which is a column or a field", "choose another name"
    made_names = {*answer_fields, *derived_names}
    names_by_member: dict[str, Sequence[str]] = {
        "prompt": declaration.prompt_columns,
        "key": () if declaration.has_made_key else declaration.keys,
        "requires": declaration.requires,
        "quotes_in": tuple(filter(None, [declaration.quotes_in])),
        "index": [
            name
            for name in list_template_columns(declaration.index_template)
            if name not in made_names
        ],
        "metadata": [
            name for name in (declaration.metadata or {}).values() if name not in made_names
        ],
        "list_columns": [name for name in declaration.list_columns if name not in made_names],
        "label": [
            name for name in list_template_columns(declaration.label) if name not in derived_names
        ],
        "images": declaration.images,
        "cursor": tuple(filter(None, [declaration.cursor])),
    }
    for member, names in names_by_member.items():
        hint = MISSING_COLUMN_HINTS.get(member, "name one of these columns")
        for name in match_columns(names, columns):
            if name not in columns:
                message = f"names the column {name!r}, but the rows have {listed_columns}"
                yield member, message, hint
            elif member == "key" and columns[name] not in KEY_KINDS:
                message = (
                    f"names the column {name!r}, which has {columns[name]} values; "
                    "a key must be text, whole numbers or UUIDs"
                )
                type_name = "BIGINT" if columns[name] == "real" else "TEXT"
                hint = (
                    "write the keys in the source as they were, such as 1 instead of 1.0 (in a "
                    f"query: CAST({quote_name(name)} AS {type_name}) AS {quote_name(name)}); "
                    'only a new task can have another key=, such as "row"'
                )
                yield member, message, hint


def find_text_columns(declaration: Declaration, columns: Mapping[str, str]) -> list[str]:
    """Return the columns of the prompt that contain text."""
    prompt_columns = match_columns(declaration.prompt_columns, columns)
    return [name for name in prompt_columns if columns.get(name) == "text"]


# ---- lines and version of a file


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


def find_function_line(function: Any) -> int | None:
    """Return the line at which a function of a task's file begins; None if it is unknown."""
    line: int | None = getattr(getattr(function, "__code__", None), "co_firstlineno", None)
    return line


def find_result_kind(function: Any) -> str:
    """Return the kind of a function's results by its annotation; "text" without one."""
    annotation = getattr(function, "__annotations__", {}).get("return")
    type_name = str(getattr(annotation, "__name__", annotation)).partition(" | ")[0]
    return KINDS_BY_TYPE.get(type_name, "text")


def find_field_line(path: Path, field_name: str) -> int | None:
    """Return the line that annotates a field; None if no or several classes have such a field."""
    lines = [
        node.lineno
        for node in _find_nodes(path, ast.AnnAssign)
        if getattr(node.target, "id", "") == field_name
    ]
    return lines[0] if len(lines) == 1 else None


def find_declared_version(path: Path) -> int | None:
    """Return the version that a task's file declares, or None if it is unclear.

    The file is parsed, not run. A `Task(…)` without `version=` declares DEFAULT_VERSION. The
    version is unclear if the file is missing or is not Python, if it has no or several calls of
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
