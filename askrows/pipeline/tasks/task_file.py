"""Find, load and check declarations of tasks: users' files, Python objects and built-in tasks.

- A file is the user's code and runs with the user's rights, when a command asks or validates.
  Errors name the file and its line.
- A task object in a module that can be imported is the task of that module's file.
- A task object of a notebook or script has no file that can be run again. Its path is
  `<Python: name>`, and only the process that has the object can ask and validate.
"""

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

from askrows.pipeline.core import trust
from askrows.pipeline.core.answer_fields import make_strict_answer_validator
from askrows.pipeline.core.column_placeholders import find_column_by_exact_or_folded_name
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import (
    NAME,
    RESERVED,
    DatabaseTable,
    Declaration,
    DeclarationError,
    Folder,
    validate_answer_or_find_fault,
)
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.files import make_path_hint
from askrows.pipeline.core.quotes import check_quotes_are_unchanged
from askrows.pipeline.core.setting_parsers import TASKS_FOLDER
from askrows.pipeline.core.settings import DOTENV, Settings
from askrows.pipeline.provider.answer_schema import make_response_schema
from askrows.pipeline.rows.source import MEMORY_ROWS, MemorySource, rows_by_task_path
from askrows.pipeline.tasks import shipped
from askrows.pipeline.tasks.task_faults import (
    Fault,
    find_error_line,
    find_field_line,
    find_member_line,
    format_location,
    raise_if_faults,
)

# Folder of a workspace with the rows of tasks that were made on the web page.
ROW_FILES_FOLDER = "sources"
TASK_FILE_SUFFIX = ".py"
LINE_END = "\n"
_PYTHON_PATH_PREFIX = "<Python: "
_PYTHON_PATH_SUFFIX = ">"
_TASK_NAME_HINT = "set name='…': a letter, then at most 40 characters of a-z, 0-9 and _"

# The content of each file as it was run last, and its declaration, by path.
_loaded_files: dict[Path, tuple[bytes, Declaration]] = {}
# Declarations handed over by Python code, by path.
_handed_over_tasks: dict[Path, Declaration] = {}


def _make_input_error(message: str, hint: str) -> InputError:
    return InputError(f"{message}; nothing was asked", hint=hint)


# ---- finding a task


def _find_loaded_task(path: Path) -> Declaration | None:
    """Return the declaration of a path that Python code handed over, or that is shipped."""
    shipped_name = parse_python_path(path)
    if path in _handed_over_tasks or not shipped_name:
        return _handed_over_tasks.get(path)
    return shipped.load_shipped_declaration(shipped_name)


def is_in_workspace(path: Path, data: Path) -> bool:
    """Return whether a file is in a workspace's folder, links resolved.

    Such a file may have come with the workspace from somebody else.
    """
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(data))


def make_python_path(name: str) -> Path:
    """Return the path that represents a task without a file, such as `<Python: name>`."""
    return Path(f"{_PYTHON_PATH_PREFIX}{name}{_PYTHON_PATH_SUFFIX}")


def parse_python_path(path: Path) -> str:
    """Return the name of the task that a `<Python: name>` path represents; "" for other paths."""
    text = str(path)
    if not text.startswith(_PYTHON_PATH_PREFIX):
        return ""
    return text.removeprefix(_PYTHON_PATH_PREFIX).removesuffix(_PYTHON_PATH_SUFFIX)


def _find_module_file_of_task(declaration: Declaration) -> Path | None:
    """Return the file of the module that declares a task object; None if there is none.

    The module is that of the answer's class. The task must be the only one in the module, or the
    one that is called `task` there, because only then can the file be loaded as a task's file. None
    is also returned for a script or a notebook.
    """
    module = sys.modules.get(declaration.answer.__module__)
    file = str(getattr(module, "__file__", None))
    if module is None or module.__name__ == "__main__" or not file.endswith(TASK_FILE_SUFFIX):
        return None

    members = vars(module)
    module_tasks = [member for member in members.values() if isinstance(member, Declaration)]
    is_only_task = bool(module_tasks) and all(task is declaration for task in module_tasks)
    is_task_of_module = members.get("task") is declaration or is_only_task
    return Path(file).resolve() if is_task_of_module else None


def list_file_names(data: Path) -> list[str]:
    """Return the names of the task files in the current folder and in the workspace `data`."""
    paths = [
        *Path(TASKS_FOLDER).glob(f"*{TASK_FILE_SUFFIX}"),
        *(data / TASKS_FOLDER).glob(f"*{TASK_FILE_SUFFIX}"),
    ]
    return sorted(path.stem for path in paths)


def find_task_file(task_setting: str, data: Path) -> Path | None:
    """Return the path of the file that `TASK=` names; None if there is no such task.

    The path is absolute. For a task that Python code handed over, or that is built in, it is the
    path under which the task is registered in this process, such as `<Python: name>`.

    Args:
        task_setting: Path of a file, or a name: `tasks/<name>.py` is looked for in the current
            folder, then in the workspace.
        data: Folder of the workspace.

    Raises:
        InputError: `task_setting` is a path, and there is no such file.
    """
    for known_path in (Path(task_setting), make_python_path(task_setting)):
        if _find_loaded_task(known_path) is not None:
            return known_path

    if "/" in task_setting or "\\" in task_setting or task_setting.endswith(TASK_FILE_SUFFIX):
        path = Path(task_setting)
        if not path.is_file():
            raise _make_input_error(
                f"the task file {path} does not exist",
                f"{make_path_hint(path)}; {OptionHint('task')} names a task or its file",
            )
        return path.resolve()

    for folder in (Path(TASKS_FOLDER), data / TASKS_FOLDER):
        path = folder / f"{task_setting}{TASK_FILE_SUFFIX}"
        if path.is_file():
            return path.resolve()
    return None


# ---- loading a task


def load_declaration(path: Path, settings: Settings, *, is_recorded: bool = False) -> Declaration:
    """Return the checked declaration of a task by its path; run its file if needed.

    A process runs a file once, and again after its content changed or after `forget_loaded_files`.
    A declaration without a name gets the name of its file.

    A file may be somebody else's code, so it must be confirmed before it runs. Confirmations for a
    workspace are recorded in the user's state folder.

    - A path that the user named in this command counts as confirmed, and is recorded; also that of
      a task that this process has loaded. A path in the .env file was not named.
    - For any other path, a person at the terminal is asked, once per workspace and path.
    - A file in the workspace's folder or behind a link may have come from somebody else. It is
      asked about by its content instead, again after each change, even if the user named it.

    Args:
        is_recorded: The path is from the database, which others may have changed, so the user did
            not name it.

    Raises:
        InputError: The file cannot be read or run, or does not declare a single valid task. Or the
            task was declared in Python and this process does not have it.
        ConfigurationError: The file may be from somebody else, and nobody confirmed it. It is not
            run.
    """
    loaded_task = _find_loaded_task(path)
    is_from_dotenv = settings.sources.get("task") == DOTENV
    is_named_by_user = loaded_task is not None or not (is_recorded or is_from_dotenv)
    python_name = parse_python_path(path)
    if is_named_by_user and not python_name:
        trust.record_confirmation(str(path), settings.data)

    if loaded_task is not None:
        return loaded_task
    if python_name:
        raise _make_input_error(
            f"task {python_name} was declared in Python without a file; "
            "only that program can ask and judge it",
            "pass its Task to askrows in Python again, or save it as "
            f"{TASKS_FOLDER}/{python_name}{TASK_FILE_SUFFIX}",
        )

    # Files that may come with a workspace are confirmed by their content when they are loaded.
    if not (is_named_by_user or _may_come_with_workspace(path, settings.data)):
        _require_confirmed(str(path), path, settings.data, settings.trust)
    return _run_task_file_if_changed(path, settings.data, settings.trust)


def _may_come_with_workspace(path: Path, data: Path) -> bool:
    """Return whether a path is in the workspace or contains links."""
    return is_in_workspace(path, data) or Path(os.path.realpath(path)) != path


def _require_confirmed(value: str, path: Path, data: Path, trusted: tuple[str, ...]) -> None:
    """Require that a person confirmed a file; ask once if not.

    Args:
        value: The path or the hash of the file, which is the text that is confirmed.
        trusted: Values that need no confirmation.

    Raises:
        ConfigurationError: The file is not confirmed.
    """
    trust.ask_for_confirmation_or_raise(
        value,
        data,
        trusted=trusted,
        fact=f"the task file {path} may be from a stranger, and its code runs with your rights",
        unchanged="it was not run",
    )


def keep_python_task_in_process(
    task: Declaration,
    rows: Sequence[Mapping[str, Any]] | None = None,
    *,
    keep_existing: bool = False,
) -> Path:
    """Keep a task object of Python code for this process, and return the path that names it.

    The path is the file of the module that declares the task, else `<Python: name>`. Later calls of
    this process find the task by this path. Nothing is written to the database or to a file.

    Args:
        rows: Rows that replace the task's `items`; None keeps them.
        keep_existing: If a task is kept under the path already, leave it and its rows as they
            are.

    Raises:
        InputError: The task is not valid, or has neither a name nor a file.
    """
    file = _find_module_file_of_task(task)
    name = task.name or (file.stem if file else "")
    if not name:
        message = "a task that is declared in Python without a file needs a name"
        raise _make_input_error(message, _TASK_NAME_HINT)

    path = file or make_python_path(name)
    declaration = _check_and_name_declaration(task, name, path)
    if keep_existing and path in _handed_over_tasks:
        return path

    if rows is not None:
        rows_by_task_path[path] = MemorySource(rows)
        declaration = replace(declaration, items=MEMORY_ROWS)
    _handed_over_tasks[path] = declaration
    return path


def make_functions_id(declaration: Declaration, path: Path) -> str:
    """Return a text that differs if the functions that make stored values may have changed.

    It is the hash of the task's file. Without a file, it differs for each call. It is empty if the
    task has no such function.
    """
    if not declaration.derive and not callable(declaration.index):
        return ""
    file = find_source_file(path)
    if file.is_file():
        return hashlib.sha256(file.read_bytes()).hexdigest()
    return uuid4().hex


def find_source_file(path: Path) -> Path:
    """Return the file of a task by its path, also of a shipped task; it need not exist."""
    return shipped.find_shipped_file(parse_python_path(path)) or path


def forget_loaded_files() -> None:
    """Forget loaded files, so that the next command in this process runs them again.

    Tasks of notebooks and scripts stay.
    """
    _loaded_files.clear()
    file_paths = [path for path in _handed_over_tasks if not parse_python_path(path)]
    for path in file_paths:
        del _handed_over_tasks[path]


def _run_task_file_if_changed(path: Path, data: Path, trusted: tuple[str, ...]) -> Declaration:
    """Return the checked declaration of a file; run the file if its content was not run last.

    A file that may come with the workspace must be confirmed by its content first.

    Raises:
        InputError, ConfigurationError: See `load_declaration`.
    """
    with _convert_errors_to_input_errors(path):
        source = path.read_bytes()

    # Confirm the bytes that run, even if the file changes meanwhile.
    if _may_come_with_workspace(path, data):
        _require_confirmed(hashlib.sha256(source).hexdigest(), path, data, trusted)
    loaded_source, declaration = _loaded_files.get(path, (None, None))
    if declaration is None or source != loaded_source:
        declaration = load_declaration_source(source, path.stem, path)
        _loaded_files[path] = source, declaration
    return declaration


def load_declaration_source(source: bytes, name: str, path: Path) -> Declaration:
    """Run the source of a task file, and return its declaration after a check.

    Nobody is asked to confirm that the source may be run.

    Args:
        source: Python source, which need not be in a file.
        name: Name of the task if the declaration has no name.
        path: Path for error messages. If the declaration has its rows as a list in Python, this
            process keeps the list, and later finds it by this path.

    Raises:
        InputError: The source cannot be run, declares no task or several tasks, or its task is
            invalid. The message lists all faults with their lines.
    """
    faults = list[Fault]()
    with _convert_errors_to_input_errors(path):
        try:
            names = _run_source_as_module(path, source)
            declaration = _require_only_declaration(names, path)
        except DeclarationError as error:
            line = find_error_line(error, path)
            if line is None:
                raise
            for fault in error.faults:
                # A message begins with the member.
                member = fault.message.partition("=")[0]
                member_line = find_member_line(path, member) or line
                faults.append(Fault(fault.message, str(fault.hint or ""), member_line))
            declaration = error.declaration
    return _check_and_name_declaration(declaration, declaration.name or name, path, faults)


def _check_and_name_declaration(
    declaration: Declaration,
    name: str,
    path: Path,
    known_faults: Sequence[Fault] = (),
) -> Declaration:
    """Check a declaration, and return it with a name; raise InputError if it has faults.

    If its `items` are rows instead of a query or a file, they are stored in `rows_by_task_path`,
    and `items` of the returned declaration is MEMORY_ROWS. Examples are checked only if there is
    no other fault.

    Args:
        name: The name of the returned declaration. If the declaration has no name, a reserved or
            malformed `name` is a fault; its own name was checked when it was made.
        known_faults: Faults found before, to be reported together with the others.

    Raises:
        InputError: There are faults. The message lists all.
    """
    faults = list(known_faults)
    is_invalid = not declaration.name and (not NAME.fullmatch(name) or name in RESERVED)
    if is_invalid or not {name, declaration.table}.isdisjoint(shipped.TASK_NAMES):
        hint = f"{_TASK_NAME_HINT}; names of built-in tasks and of members of `status` are taken"
        faults.append(Fault(f"a task cannot be called {name!r}", hint))

    # Another object than a model is among the known faults.
    if hasattr(declaration.answer, "model_fields"):
        faults += _find_answer_faults(declaration, path)
    # An example can be checked only by a valid declaration.
    if not faults:
        faults += _find_example_faults(declaration, path)

    raise_if_faults(faults, path)
    if not isinstance(declaration.items, str | DatabaseTable | Folder):
        rows_by_task_path[path] = MemorySource(declaration.items)
        declaration = replace(declaration, items=MEMORY_ROWS)
    return replace(declaration, name=name)


def _run_source_as_module(path: Path, source: bytes) -> dict[str, Any]:
    """Run source as a module, and return the names that it defines.

    The code gets an empty stdin, its `print` writes to stderr, and no bytecode is written. The
    module stays registered in `sys.modules`. Errors of the code are raised unchanged.
    """
    module = ModuleType(f"askrows_task_{path.stem}")
    module.__file__ = str(path)
    # Only the command writes to stdout, maybe as JSON.
    module.__dict__["print"] = _print_to_stderr
    # pydantic looks up the names of annotations in the registered module.
    sys.modules[module.__name__] = module

    previous_flag = sys.dont_write_bytecode
    previous_stdin = sys.stdin
    sys.dont_write_bytecode = True
    sys.stdin = io.StringIO()
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - the user's own code
    finally:
        sys.dont_write_bytecode = previous_flag
        sys.stdin = previous_stdin
    return vars(module)


def _print_to_stderr(*values: Any, **options: Any) -> None:
    """Print like `print`, but to stderr unless `file` is given."""
    print(*values, **{"file": sys.stderr, **options})  # noqa: T201


def _require_only_declaration(names: dict[str, Any], path: Path) -> Declaration:
    """Return `task`, or the only task among the names that a file defines.

    Raises:
        InputError: The file declares no task, or several tasks and none is called `task`.
    """
    declarations = [value for value in names.values() if isinstance(value, Declaration)]
    if isinstance(names.get("task"), Declaration):
        declarations = [names["task"]]
    if len(declarations) == 1:
        return declarations[0]

    fault = f"declares {len(declarations)} tasks" if declarations else "declares no task"
    hint = "end it with `task = Task(answer=…, items=…, prompt=…)`"
    raise _make_input_error(f"{path} {fault}", hint)


@contextmanager
def _convert_errors_to_input_errors(path: Path) -> Iterator[None]:
    """Convert the errors of a `with` block that reads and runs a file to InputError.

    The message names the file, and the line if it is known. SystemExit is converted, too. For an
    AskrowsError the traceback decides:

    - If no line of the file is in it, the error passes unchanged.
    - Otherwise it is converted. If `path` does not exist, because the text of the file is only in
      memory, its message stays as it is and names neither file nor line.

    Args:
        path: Path of the file.
    """
    file_hint = f"correct {path}"
    try:
        yield
    except SyntaxError as error:
        message = f"{error.filename or path}, line {error.lineno}: {error.msg}"
        raise _make_input_error(message, file_hint) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        hint = f"set {OptionHint('task')} to the current path of the file"
        raise _make_input_error(message, hint) from error
    except AskrowsError as error:
        line = find_error_line(error, path)
        if line is None:
            raise
        # Nobody can open a text that is in no file.
        if not path.is_file():
            raise _make_input_error(error.message, error.hint) from error
        raise _make_input_error(f"{path}, line {line}: {error.message}", error.hint) from error
    # A file that calls sys.exit() must not end the command.
    except (Exception, SystemExit) as error:
        location = format_location(path, find_error_line(error, path))
        raise _make_input_error(f"{location}: {_summarize_error(error)}", file_hint) from error


def _summarize_error(error: BaseException) -> str:
    """Return the type of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).partition(LINE_END)[0]}"


# ---- checks of a declaration


def _find_answer_faults(declaration: Declaration, path: Path) -> Iterator[Fault]:
    """Yield a fault for each field of the answer that Gemini's schema cannot express.

    Values that do not read back equal, invalid quotation fields and errors of pydantic are faults,
    too. Only the first check that fails yields faults.
    """
    try:
        make_response_schema(declaration.answer)
        check_quotes_are_unchanged(declaration.answer)
        make_strict_answer_validator(declaration.answer)
    except InputError as error:
        message = error.message
    except TypeError as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 - pydantic has many errors
        message = _summarize_error(error)
    else:
        return

    # Each line begins with the path of a field, such as `Answer.parts[].size`.
    for field_message in message.splitlines():
        field_path = field_message.partition(":")[0]
        field_name = field_path.rpartition(".")[2].rstrip("[]{}")
        hint = "use only types that the docs list under Accepted"
        yield Fault(field_message, hint, find_field_line(path, field_name))


def _find_example_faults(declaration: Declaration, path: Path) -> Iterator[Fault]:
    """Yield a fault for each invalid example.

    An example is a row and its answer. It is invalid if the row lacks a column of the prompt, or
    the answer is invalid.

    Raises:
        InputError: Code of the task's file failed on an example. (If such code fails later on a
            reply, it is a ConfigurationError.)
    """
    for index, (row, answer) in enumerate(declaration.examples):
        with _convert_errors_to_input_errors(path):
            reason = _find_example_fault(declaration, row, answer)
        if reason:
            yield Fault(f"examples[{index}]: {reason}", line=find_member_line(path, "examples"))


def _find_example_fault(declaration: Declaration, row: Mapping[str, Any], answer: Any) -> str:
    """Return why an example is invalid, or ""; its row must have the columns of the prompt."""
    for name in declaration.prompt_columns:
        if find_column_by_exact_or_folded_name(name, row) is None:
            return f"its row has no column {name!r}, which the prompt names"

    _, reason = validate_answer_or_find_fault(
        make_strict_answer_validator(declaration.answer).validate_python, answer
    )
    return f"its answer is invalid: {reason}" if reason else ""
