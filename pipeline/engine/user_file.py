"""The file that declares a user's task."""

from functools import cached_property
from pathlib import Path

from pipeline.core.command_hint import CommandHint
from pipeline.core.declaration import Declaration
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.engine import fingerprint, source_lines, task_file
from pipeline.store.workspace import TaskRecord


class UserFile:
    """The file of a recorded task; it is loaded when its declaration is first used."""

    def __init__(self, record: TaskRecord, settings: Settings, provider: str) -> None:
        """Describe the file of a record without loading it.

        Args:
            provider: The backend that answers now.
        """
        self.record = record
        self.settings = settings
        self.provider = provider
        path = Path(record.path)
        # None if the task was declared in Python code.
        self.path = None if task_file.parse_python_path(path) else path

    def describe_syntax_error(self) -> str:
        """Return why a file that exists is not Python; its code is not run.

        "" if it is Python, if there is no file, or if the task was declared in Python code.
        """
        if self.path is None or not self.path.is_file():
            return ""
        return source_lines.describe_syntax_error(self.path)

    @cached_property
    def declaration(self) -> Declaration:
        """Return the declaration, loaded from its file."""
        return task_file.load_declaration(Path(self.record.path), self.settings, is_recorded=True)

    @cached_property
    def declared_fingerprint(self) -> str:
        """Return the fingerprint of the declaration in the file."""
        return fingerprint.hash_document(fingerprint.to_fingerprint_document(self.declaration))

    def check_declaration(
        self,
        fingerprint: str | None,
        subject_text: str,
        *,
        is_change_accepted: bool,
    ) -> None:
        """Check that the subject was asked with this declaration, unless a change is accepted.

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

    def code_error(
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
        error_line = source_lines.find_error_line(error, Path(self.record.path)) or line
        return self.error_at(error_line, message)

    def error_at(self, line: int | None, message: str) -> ConfigurationError:
        """Return the error about a line of the task's file; the reply is kept."""
        location = source_lines.format_location(Path(self.record.path), line)
        return ConfigurationError(
            f"{location}: {message}; no attempt was charged, and the reply is kept",
            hint="correct the file, then run the same command again",
        )
