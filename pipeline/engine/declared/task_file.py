"""Find and load the file that declares a task; whatever is wrong with it is told by file and line.

The file is the user's own code and is run as such. It is loaded when a command asks or judges, and by no other.
"""

import ast
import io
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.core.declaration import MEMBERS, NAME, RESERVED, Declaration, column_named
from pipeline.core.errors import FindableError, InputError
from pipeline.core.quotes import has_quotes, located
from pipeline.engine.declared import given
from pipeline.gemini.schema import response_schema
from pipeline.tables.item_values import value_text

FOLDER = "tasks"
ENDING = ".py"
NOTHING_ASKED = "nothing was asked"


def find_task_file(named: str, data: Path) -> Path | None:
    """Return the file that `TASK=` names: a path, or `tasks/<name>.py` here, then in the workspace; None where neither.

    What Python code declares, and what is built in, has a place in the stead of a file.

    Raises:
        InputError: a path leads to no file.
    """
    for place in (Path(named), given.place_in_python(named)):
        if given.given_task(place) is not None:
            return place
    if "/" in named or "\\" in named or named.endswith(ENDING):
        path = Path(named)
        if not path.is_file():
            raise InputError(f"{path}: there is no such file of a task; {NOTHING_ASKED}", hint="TASK= takes its path")
        return path.resolve()
    places = (Path(FOLDER), data / FOLDER)
    return next((path.resolve() for place in places if (path := place / f"{named}{ENDING}").is_file()), None)


def tasks_nearby(data: Path) -> list[str]:
    """Return the names of the files of tasks here and in the workspace; none is loaded."""
    return sorted({path.stem for place in (Path(FOLDER), data / FOLDER) for path in place.glob(f"*{ENDING}")})


def load_declaration(path: Path) -> Declaration:
    """Return what a file declares, under its own name where it gives none, or what Python code gave in its place.

    A file is loaded once a process; see `look_again`.

    Raises:
        InputError: it cannot be read or run, or declares no task or a wrong one; the message names file and line. Or it
            was declared in another process, and in no file.
    """
    found = given.given_task(path)
    if found is not None:
        return found
    if name := given.name_in_python(path):
        raise InputError(
            f"the task {name} was declared in Python and stands in no file, so it can be asked and judged only there; "
            f"{NOTHING_ASKED}",
            hint=f"hand its Task to findable in Python again, or save it as {FOLDER}/{name}{ENDING}",
        )
    return _load(path, _stamps.setdefault(path, _stamp_of(path)))


def hand_over(task: Declaration, rows: Sequence[Mapping[str, Any]] | None = None) -> Path:
    """Take a task from Python code, and maybe rows for its items; return what names it, as the path of a file does.

    Raises:
        InputError: it has no name that a table can have, or a wrong model of answers, or the rows fit no table.
    """
    file = given.file_of(task)
    name = task.name or (file.stem if file else "")
    if not name:
        raise InputError(
            f"a task that is declared in Python, and not in a file, needs a name; {NOTHING_ASKED}",
            hint="give it name='…': a letter, then at most 40 of a-z, 0-9 and _",
        )
    place = file or given.place_in_python(name)
    declaration = _checked(task, name, place)
    if rows is not None:
        given.give_rows(place, rows)
        declaration = replace(declaration, items=given.ROWS)
    given.give_task(place, declaration)
    return place


_stamps: dict[Path, tuple[int, int] | None] = {}  # of each file that was loaded: when it was changed, and its size


def look_again() -> None:
    """Let files that changed since they were loaded be loaded anew: a notebook's process outlives many calls."""
    _stamps.clear()
    given.forget_files()


def _stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@cache
def _load(path: Path, stamp: tuple[int, int] | None) -> Declaration:  # noqa: ARG001 - another stamp is another file
    with _naming_lines(path):
        found = _declared(_run(path, path.read_bytes()), path)
    return _checked(found, found.name or path.stem, path)


def _checked(found: Declaration, name: str, path: Path) -> Declaration:
    if not NAME.fullmatch(name) or name in RESERVED:
        raise InputError(
            f"{path}: a task cannot be called {name!r}; {NOTHING_ASKED}",
            hint="give it name='…': a letter, then at most 40 of a-z, 0-9 and _; names of built-in tasks are taken",
        )
    declaration = replace(found, name=name)
    _check_answer(declaration, path)
    for index, (row, answer) in enumerate(declaration.examples):
        with _naming_lines(path):
            why = _wrong_example(declaration, row, answer)
        if why:
            where = at_member(path, "examples", index=index)
            raise InputError(f"{where}: examples[{index}]: {why}; {NOTHING_ASKED}", hint=f"mend {path}")
    return declaration


def _run(path: Path, source: bytes) -> dict[str, Any]:
    """Run the bytes of a file as a module of its own that gets no input, and return what it defines."""
    module = ModuleType(f"findable_task_{path.stem}")
    module.__file__ = str(path)
    module.__dict__["print"] = _print_aside
    sys.modules[module.__name__] = module  # pydantic looks up the names in annotations there
    kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    asked, sys.stdin = sys.stdin, io.StringIO()
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - it is the user's own code
    finally:
        sys.dont_write_bytecode, sys.stdin = kept, asked
    return vars(module)


def _print_aside(*values: Any, **how: Any) -> None:
    """Print to stderr where a file does not say where: on stdout stands what a command was asked for, maybe as JSON."""
    print(*values, **{"file": sys.stderr, **how})  # noqa: T201 - as the file asks for


def _declared(names: dict[str, Any], path: Path) -> Declaration:
    named = names.get("task")
    if isinstance(named, Declaration):
        return named
    found = [value for value in names.values() if isinstance(value, Declaration)]
    if len(found) != 1:
        what = f"declares {len(found)} tasks" if found else "declares no task"
        raise InputError(
            f"{path} {what}; {NOTHING_ASKED}", hint="end it with `task = Task(answer=…, items=…, prompt=…)`"
        )
    return found[0]


@contextmanager
def _naming_lines(path: Path) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        where = f"{error.filename or path}, line {error.lineno}"
        raise InputError(f"{where}: {error.msg}; {NOTHING_ASKED}", hint=f"mend {path}") from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; {NOTHING_ASKED}", hint="TASK= takes the path where it is now"
        ) from error
    except FindableError as error:
        line = line_in(error, path)
        if line is None:
            raise
        raise InputError(f"{path}, line {line}: {error.message}; {NOTHING_ASKED}", hint=error.hint) from error
    except (Exception, SystemExit) as error:  # what ends a program ends its task alone
        said = _unknown_member(error) or f"{type(error).__name__}: {_first_line(error)}"
        where = at_line(path, line_in(error, path))
        raise InputError(f"{where}: {said}; {NOTHING_ASKED}", hint=f"mend {path}") from error


def line_in(error: BaseException, path: Path) -> int | None:
    """Return the line of a file in which an error arose, the innermost one; None where it came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((one.lineno for one in reversed(frames) if Path(one.filename) == path), None)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def _unknown_member(error: BaseException) -> str:
    """Return what to say of a member of `Task` that there is none of, or that is missing; else nothing."""
    text = str(error)
    if not isinstance(error, TypeError) or "Declaration.__init__()" not in text:
        return ""
    name = text.rpartition("argument ")[2].strip("'\"")
    near = get_close_matches(name, MEMBERS, n=1)
    if "unexpected" in text:
        return f"Task has no member {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")
    return text.replace("Declaration.__init__()", "Task").replace("keyword-only ", "")


def _check_answer(declaration: Declaration, path: Path) -> None:
    try:
        response_schema(declaration.answer)
        has_quotes(declaration.answer)
    except (TypeError, InputError) as error:
        said = error.message if isinstance(error, InputError) else str(error)
    except Exception as error:  # noqa: BLE001 - pydantic has many errors for models that no JSON schema says
        said = f"{type(error).__name__}: {_first_line(error)}"
    else:
        return
    line = next((one.lineno for one in _nodes(path) if getattr(one, "name", "") == declaration.answer.__name__), None)
    raise InputError(
        f"{at_line(path, line)}: {said}; {NOTHING_ASKED}", hint="answers are made of what Gemini's responseSchema knows"
    )


def _wrong_example(declaration: Declaration, row: Mapping[str, Any], answer: Any) -> str:
    missing = next((one for one in declaration.asked if column_named(one, row) is None), None)
    if missing is not None:
        return f"its row has no {missing!r}, which the prompt names"
    valid, why = declaration.valid_answer(answer)
    if valid is None:
        return f"its answer is not valid: {why}"
    column = declaration.quotes_in or (declaration.asked[0] if len(declaration.asked) == 1 else "text")
    place = column_named(column, row)
    return located(valid, value_text(row[place]))[1] if place and has_quotes(declaration.answer) else ""


def at_line(path: Path, line: int | None) -> str:
    """Return how an error names a line of a file, or the file alone."""
    return f"{path}, line {line}" if line else str(path)


def at_member(path: Path, member: str, *, index: int | None = None) -> str:
    """Return how an error names the line in which a file gives a member of its task, or one of several within it."""
    keywords = (one for one in _nodes(path) if isinstance(one, ast.keyword) and one.arg == member)
    value = next((one.value for one in keywords), None)
    if index is not None and isinstance(value, ast.List | ast.Tuple) and index < len(value.elts):
        value = value.elts[index]
    return at_line(path, None if value is None else value.lineno)


def _nodes(path: Path) -> Iterator[Any]:
    try:
        yield from ast.walk(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError):
        return
