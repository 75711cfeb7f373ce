"""The file of a recorded task: its declaration, and the functions that it declares."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from askrows.pipeline.core.answer_fields import make_strict_answer_validator
from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.declaration import CellNote, Declaration, validate_answer_or_find_fault
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import NoAnswer
from askrows.pipeline.rows.cells import find_unstorable_reason, find_unstorable_scalar_reason
from askrows.pipeline.rows.stored_rows import KEY_COLUMN
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.declaration_changes import hash_document, make_fingerprint_document
from askrows.pipeline.tasks.task_faults import (
    describe_syntax_error,
    find_error_line,
    find_function_line,
    format_location,
)
from askrows.pipeline.tasks.task_file import load_declaration, parse_python_path

if TYPE_CHECKING:
    from pydantic import BaseModel

# The types of the values of a column that a function makes, by its kind.
TYPES_OF_KIND: dict[str, tuple[type, ...]] = {
    "text": (str, int, float),
    "integer": (int,),
    "real": (int, float),
    "boolean": (bool,),
}


class UserFile:
    """The file of a recorded task; it is loaded when its declaration is first used."""

    def __init__(self, record: TaskRecord, settings: Settings) -> None:
        """Describe the file of a record without loading it."""
        self.record = record
        self.settings = settings
        path = Path(record.path)
        # None if the task was declared in Python code.
        self.path = None if parse_python_path(path) else path

    def describe_syntax_error(self) -> str:
        """Return why a file that exists is not Python; its code is not run.

        "" if it is Python, if there is no file, or if the task was declared in Python code.
        """
        if self.path is None or not self.path.is_file():
            return ""
        return describe_syntax_error(self.path)

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file."""
        return load_declaration(Path(self.record.path), self.settings, is_recorded=True)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of the declaration in the file."""
        return hash_document(make_fingerprint_document(self.declaration))

    def check_declaration(
        self,
        fingerprint: str | None,
        subject_text: str,
        *,
        is_change_accepted: bool,
    ) -> None:
        """Check that the subject was asked with this declaration, unless a change is accepted.

        Args:
            fingerprint: Fingerprint of the declaration that asked; None passes without a check.
            subject_text: The subject of the message, such as a batch.

        Raises:
            ConfigurationError: The fingerprint differs, and no change is accepted.
        """
        if (
            fingerprint is not None
            and not is_change_accepted
            and fingerprint != self.declared_fingerprint
        ):
            accept_command = CommandHint(
                "tag",
                task=self.record.name,
                wait=True,
                accept_changed=True,
            )
            raise ConfigurationError(
                f"{subject_text} was asked with another declaration than {self.path} has now; "
                "nothing was changed",
                hint=f"restore the file; `{accept_command}` judges by the new declaration",
            )

    def make_code_error(
        self,
        error: BaseException,
        row_id: str,
        *,
        code: str = "a validator",
        line: int | None = None,
    ) -> ConfigurationError:
        """Return the error to raise if code of the file failed on a row.

        Args:
            error: The exception of that code.
            row_id: The row.
            code: Name of the code in the message.
            line: First line of the code; used if the traceback has no line of the file.
        """
        message = f"{code} failed on {row_id!r}: {type(error).__name__}: {error}"
        error_line = find_error_line(error, Path(self.record.path)) or line
        return self.make_line_error(error_line, message)

    def make_line_error(
        self,
        line: int | None,
        message: str,
        *,
        unchanged: str = "no attempt was charged, and the reply is kept",
    ) -> ConfigurationError:
        """Return the error about a line of the task's file; `unchanged` ends its message."""
        location = format_location(Path(self.record.path), line)
        return ConfigurationError(
            f"{location}: {message}; {unchanged}",
            hint="correct the file, then run the same command again",
        )

    def run_read_function(
        self, cells: Mapping[str, Any], line: int
    ) -> tuple[Mapping[str, Any], Sequence[CellNote]]:
        """Return the cells to store of a row of a file, and notes, as `read=` of its table does.

        Without `read=`, the cells are unchanged, and there are no notes.

        Args:
            cells: The cells by column.
            line: The line of the row, for messages.

        Raises:
            ConfigurationError: The function failed, or returned something other than cells of the
                table and notes.
        """
        read = getattr(self.declaration.items, "read", None)
        if read is None:
            return cells, ()
        function_line = find_function_line(read)
        try:
            result = read(dict(cells))
        except (Exception, SystemExit) as error:
            raise self.make_line_error(
                find_error_line(error, Path(self.record.path)) or function_line,
                f"read() failed on line {line} of the rows: {type(error).__name__}: {error}",
                unchanged="nothing was stored",
            ) from error

        if not _is_pair_of_cells_and_notes(result, self.record.columns):
            raise self.make_line_error(
                function_line,
                "read() must return the cells of the table by column, and a list of (column, "
                f"reason, cell), but it returned {result!r:.200} for line {line} of the rows",
                unchanged="nothing was stored",
            )
        cells_to_store, notes = result
        return cells_to_store, notes

    def run_check_function(self, answer: "BaseModel", row: Mapping[str, Any]) -> str:
        """Return why the check of the file refuses an answer to a row; "" if it does not.

        Raises:
            ConfigurationError: The check raised an error, or returned something other than a text
                or None.
            NoAnswer: The check found that the text supports no answer.
        """
        check = self.declaration.check
        if check is None:
            return ""
        reason = self._run_member("check", answer, row)
        if reason is not None and not isinstance(reason, str):
            raise self.make_line_error(
                find_function_line(check),
                "check() must return a text that names the fault, or None, "
                f"but it returned {reason!r}",
            )
        return f"check: {reason}" if reason else ""

    def run_clean_function(
        self, answer: "BaseModel", row: Mapping[str, Any], answer_model: "type[BaseModel]"
    ) -> "tuple[BaseModel, int]":
        """Return an answer to a row as `clean` of the file returns it, and how many values it cut.

        Args:
            answer_model: The model that the cleaned answer must fit.

        Raises:
            ConfigurationError: `clean` raised an error, or returned something other than a valid
                answer and a number.
            NoAnswer: `clean` found that the text supports no answer.
        """
        result = self._run_member("clean", answer, row)
        fault = _find_cleaned_fault(result, answer_model)
        if fault:
            raise self.make_line_error(
                find_function_line(self.declaration.clean),
                "clean() must return the answer to store and the number of cut values, "
                f"but {fault}",
            )
        return cast("tuple[BaseModel, int]", result)

    def _run_member(self, member: str, answer: "BaseModel", row: Mapping[str, Any]) -> Any:
        """Return the result of a function of the declaration for an answer.

        Raises:
            ConfigurationError: The function raised another error than NoAnswer.
        """
        function = getattr(self.declaration, member)
        try:
            return function(answer, {name: row[name] for name in self.record.columns})
        except NoAnswer:
            raise
        except (Exception, SystemExit) as error:
            raise self.make_code_error(
                error, row[KEY_COLUMN], code=f"{member}()", line=find_function_line(function)
            ) from error

    def run_derive_function(
        self,
        function: Any,
        *,
        kind: str,
        row_id: str,
        row: Mapping[str, Any],
        answer: Mapping[str, Any] | None,
    ) -> Any:
        """Return the value that a function of the file derives from a row and its answer.

        Args:
            kind: The kind of the column that shows the value.

        Raises:
            ConfigurationError: The function failed, or its value is not of the kind or cannot be
                stored.
        """
        line = find_function_line(function)
        name = getattr(function, "__name__", "a function")
        try:
            value = function(row, answer)
        except (Exception, SystemExit) as error:
            line = find_error_line(error, Path(self.record.path)) or line
            raise self.make_line_error(
                line,
                f"{name}() failed on {row_id!r}: {type(error).__name__}: {error}",
                unchanged="nothing was changed",
            ) from error

        fault = find_unstorable_scalar_reason(value)
        if value is not None and not isinstance(value, TYPES_OF_KIND[kind]):
            fault = f"{value!r:.200}, but its kind is {kind}"
        if fault:
            raise self.make_line_error(
                line, f"{name}() returned {fault}, for {row_id!r}", unchanged="nothing was changed"
            )
        return value


def _is_pair_of_cells_and_notes(result: Any, columns: Mapping[str, str]) -> bool:
    """Return whether the result of `read=` is a pair (cells by column, notes).

    Columns may be missing, but there are no others. A note is a tuple (column, reason, cell).
    """
    if not isinstance(result, tuple) or len(result) != len(("cells", "notes")):
        return False
    cells, notes = result
    if not isinstance(cells, Mapping) or not cells.keys() <= columns.keys():
        return False
    is_list = isinstance(notes, list | tuple)
    return is_list and all(
        isinstance(note, tuple)
        and len(note) == len(("column", "reason", "cell"))
        and isinstance(note[0], str)
        and isinstance(note[1], str)
        for note in notes
    )


def _find_cleaned_fault(result: Any, answer_model: "type[BaseModel]") -> str:
    """Return the fault of the result of `clean`, in words that follow "but"; "" if it is valid.

    It must be a valid answer that can be stored, and the number of cut values.
    """
    is_pair = isinstance(result, tuple) and len(result) == len(("answer", "count"))
    if not is_pair or not isinstance(result[0], answer_model) or not isinstance(result[1], int):
        return f"it returned {result!r:.200}"

    answer = result[0]
    reason = find_unstorable_reason(answer)
    if reason:
        return f"its answer has {reason}"
    read = partial(
        make_strict_answer_validator(answer_model).validate_json, by_alias=True, by_name=True
    )
    _, reason = validate_answer_or_find_fault(read, answer.model_dump_json(warnings=False))
    return f"its answer is invalid: {reason}" if reason else ""
