"""Find and load what declares a task: a user's file, what Python code hands over, or what ships.

A file is the user's own code and is run as such, when a command asks or judges; whatever is wrong with it is told by
file and line. A task whose object stands in a module that can be imported is the task of that file, as commands know
it. One that a notebook or a script declares has no file that may be run again: its place is `<Python: name>`, and it
can be asked and judged only where the object is.
"""

import ast
import hashlib
import io
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.core import trust
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import (
    NAME,
    RESERVED,
    Declaration,
    DeclarationError,
    find_column,
    validate_answer,
)
from pipeline.core.errors import FindableError, InputError
from pipeline.core.quotes import has_quotes, locate_quotes
from pipeline.core.settings import DOTENV, Settings
from pipeline.engine.shipped_task import find_shipped_task
from pipeline.gemini.requests import response_schema
from pipeline.tables.cells import (
    describe_binary_columns,
    drop_binary_columns,
    to_compact_json,
    to_plain_row,
    to_prompt_text,
)
from pipeline.tables.read import SourceRow
from pipeline.tables.source import find_column_kinds

FOLDER = "tasks"
SOURCES = "sources"  # the folder of a workspace with the rows of tasks that the page made
ENDING = ".py"
ROWS = "<rows given in Python>"  # as `items` of a declaration
_FRONT = "<Python: "
_BACK = ">"
_tasks: dict[Path, Declaration] = {}  # by their places
given_rows: dict[
    Path, "MemorySource"
] = {}  # that were handed over last, by the places of their tasks


Fault = tuple[str, str, str]  # what is wrong with a task's file: its place, what, and what mends it


def _not_asked(said: str, hint: str) -> InputError:
    return InputError(f"{said}; nothing was asked", hint=hint)


class MemorySource:
    """Rows in memory as a source of items; see `pipeline.tables.source.FileSource` for its members."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the rows as plain values. InputError where no table can have their columns."""
        rows, left_out = drop_binary_columns(rows)
        self.notes = list(filter(None, [describe_binary_columns(left_out)]))
        self._rows = [to_plain_row(row) for row in rows]
        self.columns = find_column_kinds(self._rows, {}, source=ROWS)
        self.sha256 = hashlib.sha256(
            to_compact_json(self._rows).encode("utf-8", "surrogatepass")
        ).hexdigest()

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield each row, numbered from 1."""
        return (SourceRow(number, row) for number, row in enumerate(self._rows, start=1))


def _given_task(place: Path) -> Declaration | None:
    return _tasks.get(place) or built_in(name_in_python(place))


def is_in_workspace(path: Path, data: Path) -> bool:
    """Return whether a file lies in a workspace's folder, so that it may have come with that."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data))


def built_in(name: str) -> Declaration | None:
    """Return the declaration of the built-in task that is carried out as a user's own; None where there is no such."""
    shipped_task = find_shipped_task(name)
    if shipped_task is None or shipped_task.load_declaration is None:
        return None
    return shipped_task.load_declaration()


def place_in_python(name: str) -> Path:
    """Return what stands for the file of a task that has none."""
    return Path(f"{_FRONT}{name}{_BACK}")


def name_in_python(place: Path) -> str:
    """Return the name of a task that has no file, by what stands for it; empty for the path of a file."""
    text = str(place)
    return text.removeprefix(_FRONT).removesuffix(_BACK) if text.startswith(_FRONT) else ""


def _file_of(declaration: Declaration) -> Path | None:
    """Return the file of the module whose only task, or whose `task`, it is; None for one of a script or notebook."""
    module = sys.modules.get(declaration.answer.__module__)
    file = str(getattr(module, "__file__", None))
    if module is None or module.__name__ == "__main__" or not file.endswith(ENDING):
        return None
    found = [one for one in vars(module).values() if isinstance(one, Declaration)]
    is_it = vars(module).get("task") is declaration or (
        found and all(one is declaration for one in found)
    )
    return Path(file).resolve() if is_it else None


def find_task_file(named: str, data: Path) -> Path | None:
    """Return the file that `TASK=` names: a path, or `tasks/<name>.py` here, then in the workspace; None where neither.

    What Python code declares, and what is built in, has a place in the stead of a file. InputError of a path to none.
    """
    for place in (Path(named), place_in_python(named)):
        if _given_task(place) is not None:
            return place
    if "/" in named or "\\" in named or named.endswith(ENDING):
        path = Path(named)
        if not path.is_file():
            raise _not_asked(
                f"{path}: there is no such file of a task", f"{OptionHint('task')} takes its path"
            )
        return path.resolve()
    places = (Path(FOLDER), data / FOLDER)
    return next(
        (path.resolve() for place in places if (path := place / f"{named}{ENDING}").is_file()), None
    )


def load_declaration(path: Path, settings: Settings, *, is_recorded: bool = False) -> Declaration:
    """Return what a file declares, under its own name where it gives none, or what Python code gave in its place.

    A file is loaded once a process; see `look_again`. InputError, with file and line, where it cannot be read or run,
    or declares no task or a wrong one; or where it was declared in another process, and in no file.
    ConfigurationError, before a line of it runs, if it may be a stranger's and nobody confirmed it.
    With `is_recorded` the path comes from the database, which others may change.
    """
    found = _given_task(path)
    is_named = found is not None or not (is_recorded or settings.sources.get("task") == DOTENV)
    if is_named and not name_in_python(path):
        trust.confirm(str(path), settings.data)
    if found is not None:
        return found
    if name := name_in_python(path):
        said = f"the task {name} was declared in Python and stands in no file, so it can be asked and judged only there"
        raise _not_asked(
            said,
            f"hand its Task to findable in Python again, or save it as {FOLDER}/{name}{ENDING}",
        )
    if not (is_named or _may_come_with_workspace(path, settings.data)):
        _require_confirmed(str(path), path, settings.data, settings.trust)
    return _load(path, settings.data, settings.trust)


def _may_come_with_workspace(path: Path, data: Path) -> bool:
    return is_in_workspace(path, data) or Path(os.path.realpath(path)) != path


def _require_confirmed(value: str, path: Path, data: Path, trusted: tuple[str, ...]) -> None:
    trust.require_confirmed(
        value,
        data,
        trusted=trusted,
        fact=f"the file of a task, {path}, may be a stranger's, and runs with all your rights",
        unchanged="it was not run",
    )


def hand_over(
    task: Declaration, rows: Sequence[Mapping[str, Any]] | None = None, *, keeps: bool = False
) -> Path:
    """Take a task from Python code, and maybe rows for its items; return what names it, as the path of a file does.

    Where it `keeps` one that is there, that stays.
    """
    file = _file_of(task)
    name = task.name or (file.stem if file else "")
    if not name:
        hint = "give it name='…': a letter, then at most 40 of a-z, 0-9 and _"
        raise _not_asked("a task that is declared in Python, and not in a file, needs a name", hint)
    place = file or place_in_python(name)
    declaration = _checked(task, name, place)
    if keeps and place in _tasks:
        return place
    if rows is not None:
        given_rows[place] = MemorySource(rows)
        declaration = replace(declaration, items=ROWS)
    _tasks[place] = declaration
    return place


def look_again() -> None:
    """Let files be loaded anew: a notebook's process outlives many calls."""
    _load.cache_clear()
    for place in [one for one in _tasks if not name_in_python(one)]:
        del _tasks[place]


@cache
def _load(path: Path, data: Path, trusted: tuple[str, ...]) -> Declaration:
    with _naming_lines(path):
        source = path.read_bytes()

    # Checked are the bytes that run, whatever becomes of the file meanwhile.
    if _may_come_with_workspace(path, data):
        _require_confirmed(hashlib.sha256(source).hexdigest(), path, data, trusted)
    return declaration_in(source, path.stem, path)


def declaration_in(source: bytes, name: str, path: Path) -> Declaration:
    """Return what the text of a file declares, under a name where it gives none itself; see `load_declaration`."""
    faults = list[Fault]()
    with _naming_lines(path):
        try:
            found = _declared(_run(path, source), path)
        except DeclarationError as error:
            if (line := line_in(error, path)) is None:
                raise
            members = [
                re.match(r"(?:Task has no member ')?(\w*)", one.message) for one in error.faults
            ]
            places = [at_member(path, one[1] if one else "", line=line) for one in members]
            faults = [
                (place, one.message, one.hint)
                for place, one in zip(places, error.faults, strict=True)
            ]
            found = error.declared
    return _checked(found, found.name or name, path, faults)


def _checked(found: Declaration, name: str, path: Path, told: Sequence[Fault] = ()) -> Declaration:
    faults = [*told]
    if not found.name and (not NAME.fullmatch(name) or name in RESERVED):
        hint = "give it name='…': a letter, then at most 40 of a-z, 0-9 and _; names of built-in tasks are taken"
        faults.append((str(path), f"a task cannot be called {name!r}", hint))
    is_model = hasattr(found.answer, "model_fields")  # else it is told already
    of_answer = list(_faults_of_answer(found, path)) if is_model else []
    for index, example in enumerate(() if of_answer or not is_model else found.examples):
        with _naming_lines(path):
            if why := _wrong_example(found, example):
                faults.append(
                    (at_member(path, "examples", index=index), f"examples[{index}]: {why}", "")
                )
    faults += of_answer
    refuse(faults, path)
    if not isinstance(found.items, str):
        given_rows[path] = MemorySource(found.items)
        found = replace(found, items=ROWS)
    return replace(found, name=name)


def refuse(faults: Sequence[Fault], path: Path) -> None:
    """Raise InputError where there are faults; all are told, each with its line."""
    mend = f"mend {path}"
    told = [
        f"{place}: {said}" + (f" ({hint})" if hint and len(faults) > 1 else "")
        for place, said, hint in faults
    ]
    if len(told) > 1:
        raise InputError(
            "\n".join([f"{path} has {len(told)} faults; nothing was asked", *told]), hint=mend
        )
    if told:
        raise _not_asked(told[0], faults[0][2] or mend)


def _run(path: Path, source: bytes) -> dict[str, Any]:
    """Run the bytes of a file as a module of its own that gets no input, and return what it defines."""
    module = ModuleType(f"findable_task_{path.stem}")
    module.__file__ = str(path)
    # on stdout stands what a command was asked for, maybe as JSON
    module.__dict__["print"] = lambda *values, **how: print(*values, **{"file": sys.stderr, **how})  # noqa: T201
    sys.modules[module.__name__] = module  # pydantic looks up the names in annotations there
    kept = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    asked = sys.stdin
    sys.stdin = io.StringIO()
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - it is the user's own code
    finally:
        sys.dont_write_bytecode = kept
        sys.stdin = asked
    return vars(module)


def _declared(names: dict[str, Any], path: Path) -> Declaration:
    found = [value for value in names.values() if isinstance(value, Declaration)]
    if isinstance(names.get("task"), Declaration):
        found = [names["task"]]
    if len(found) != 1:
        what = f"declares {len(found)} tasks" if found else "declares no task"
        raise _not_asked(f"{path} {what}", "end it with `task = Task(answer=…, items=…, prompt=…)`")
    return found[0]


@contextmanager
def _naming_lines(path: Path) -> Iterator[None]:
    try:
        yield
    except SyntaxError as error:
        raise _not_asked(
            f"{error.filename or path}, line {error.lineno}: {error.msg}", f"mend {path}"
        ) from error
    except OSError as error:
        raise _not_asked(
            f"{path} cannot be read: {error.strerror}",
            f"{OptionHint('task')} takes the path where it is now",
        ) from error
    except FindableError as error:
        if (line := line_in(error, path)) is None:
            raise
        raise _not_asked(f"{path}, line {line}: {error.message}", error.hint) from error
    except (Exception, SystemExit) as error:  # what ends a program ends its task alone
        said = f"{type(error).__name__}: {str(error).partition(LINE_END)[0]}"
        raise _not_asked(
            f"{at_line(path, line_in(error, path))}: {said}", f"mend {path}"
        ) from error


def line_in(error: BaseException, path: Path) -> int | None:
    """Return the line of a file in which an error arose, the innermost one; None where it came from elsewhere."""
    frames = traceback.extract_tb(error.__traceback__)
    return next((one.lineno for one in reversed(frames) if Path(one.filename) == path), None)


def _faults_of_answer(declaration: Declaration, path: Path) -> Iterator[Fault]:
    try:
        response_schema(declaration.answer)
        has_quotes(declaration.answer)
    except (TypeError, InputError) as error:
        said = error.message if isinstance(error, InputError) else str(error)
    except Exception as error:  # noqa: BLE001 - pydantic has many errors for models that no JSON schema says
        said = f"{type(error).__name__}: {str(error).partition(LINE_END)[0]}"
    else:
        return
    for one in said.splitlines():  # a field each, by its path, such as `Answer.parts[].size`
        name = one.partition(":")[0].rpartition(".")[2].rstrip("[]{}")
        lines = [
            one.lineno
            for one in _nodes(path, ast.AnnAssign)
            if getattr(one.target, "id", "") == name
        ]
        if len(lines) != 1:  # several have it, or none
            lines = [
                one.lineno
                for one in _nodes(path, ast.ClassDef)
                if one.name == declaration.answer.__name__
            ]
        yield (
            at_line(path, next(iter(lines), None)),
            one,
            "answers are made of what Gemini's responseSchema knows",
        )


def _wrong_example(declaration: Declaration, example: tuple[Mapping[str, Any], Any]) -> str:
    row, answer = example
    for one in declaration.asked:
        if find_column(one, row) is None:
            return f"its row has no {one!r}, which the prompt names"
    valid, why = validate_answer(declaration.answer.model_validate, answer)
    if valid is None:
        return f"its answer is not valid: {why}"
    column = declaration.quotes_in or (
        declaration.asked[0] if len(declaration.asked) == 1 else "text"
    )
    place = find_column(column, row)
    return (
        locate_quotes(valid, to_prompt_text(row[place]))[1]
        if place and has_quotes(declaration.answer)
        else ""
    )


def at_line(path: Path, line: int | None) -> str:
    """Return how an error names a line of a file, or the file alone."""
    return f"{path}, line {line}" if line else str(path)


def at_member(path: Path, member: str, *, index: int | None = None, line: int | None = None) -> str:
    """Return how an error names the line in which a file gives a member of its task, or one of several within it.

    Where none is found, it is the `line`.
    """
    value = next((one.value for one in _nodes(path, ast.keyword) if one.arg == member), None)
    if index is not None and isinstance(value, ast.List | ast.Tuple) and index < len(value.elts):
        value = value.elts[index]
    return at_line(path, value.lineno if value else line)


def _nodes(path: Path, kind: type[ast.AST]) -> list[Any]:
    try:
        return [one for one in ast.walk(ast.parse(path.read_bytes())) if isinstance(one, kind)]
    except (OSError, SyntaxError, ValueError):
        return []


PARAMETERS = ("model", "max_output_tokens", "temperature", "thinking", "quotes_in")
OF_IMAGES = ("images", "image_side", "media_resolution")  # of declarations that have some
LINE_END = "\n"


def fingerprint_of(declaration: Declaration) -> dict[str, Any]:
    """Return the document that tells what a declaration asks: system, prompt, schema, examples and parameters."""
    examples = [[dict(row), _plain(answer)] for row, answer in declaration.examples]
    names = (*PARAMETERS, *(OF_IMAGES if declaration.images else ()))
    return {
        "system": declaration.system,
        "prompt": declaration.prompt,
        "schema": declaration.answer.model_json_schema(),
        "examples": examples,
        **{name: _plain(getattr(declaration, name)) for name in names},
    }


def digest(document: Mapping[str, Any]) -> str:
    """Return the fingerprint of a document: the SHA-256 of its canonical JSON."""
    text = json.dumps(
        document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str
    )
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value
