"""Files that were uploaded to the page.

An upload is stored unchanged until it is imported or discarded. Each process has its own folder
and deletes it when it ends. The next start deletes the folders of killed processes. A step of an
upload (STATES_BY_STEP) runs in the background: its file is read, a question is tried on it, or it
becomes rows or a task.
"""

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Any

from starlette.concurrency import run_in_threadpool

from askrows.pipeline.core import files
from askrows.pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from askrows.pipeline.rows.row_import import ImportReport
from askrows.pipeline.rows.row_sync import RowSyncReport
from askrows.pipeline.run.preflight import Preflight
from askrows.pipeline.tasks.task_template import TableGuess
from askrows.pipeline.workflows.column_guesses import NearKey
from askrows.pipeline.workflows.new_task_files import UnwrittenTask
from askrows.pipeline.workspace.open_workspace import check_no_link_leads_out
from askrows.web.background_work import BackgroundJob
from askrows.web.errors import RequestRefusedError
from askrows.web.question_form import QuestionForm

UPLOAD_FOLDER = "dropped"
# Task of a file that becomes a new task.
NEW_TASK = "new"
_UNSAFE_CHARACTER = re.compile(r"[^\w .,()+@-]")
# Longer file names keep their last characters.
_MAX_NAME_CHARS = 80

# States of an upload by its step: while the step runs, after it succeeded, after it failed.
STATES_BY_STEP = {
    "read": ("reading", "ready", "unreadable"),
    "try": ("trying", "ready", "ready"),
    "import": ("importing", "imported", "failed"),
    "keep": ("importing", "imported", "failed"),
}


@dataclass
class Upload:
    """One uploaded file and the results of its steps."""

    number: int
    # The task that the file is for, or NEW_TASK.
    task: str
    path: Path
    # Column mapping in the form of MAP=.
    mapping: str = ""
    read_options: ReadOptions = DEFAULT_READ_OPTIONS
    # The latest step: a key of STATES_BY_STEP.
    step: str = "read"
    # Background work of the latest step.
    work: BackgroundJob | None = field(default=None, repr=False)
    # Report of the dry import, until the file was imported.
    preview: ImportReport | None = field(default=None, repr=False)
    # Report of the import.
    import_report: ImportReport | None = field(default=None, repr=False)
    # Unreadable rows of a file for a new task.
    source_findings: ImportReport = field(default_factory=lambda: ImportReport(""), repr=False)
    first_rows: list[dict[str, Any]] = field(default_factory=list, repr=False)
    # The task that the file was dropped on, if it does not fit it and becomes a new task.
    mismatched_task: str = ""
    # For a new task: how many rows are asked, and a report on the other rows.
    row_count: int = 0
    row_report: RowSyncReport = field(default_factory=RowSyncReport, repr=False)
    # For a new task: what its columns are, the tried task, and the work that tried it.
    table_guess: TableGuess | None = field(default=None, repr=False)
    tried_task: UnwrittenTask | None = field(default=None, repr=False)
    # The question as it was sent last, even if it was refused, and as it was tried.
    typed_question: QuestionForm = field(default_factory=QuestionForm, repr=False)
    tried_question: QuestionForm | None = field(default=None, repr=False)
    trial_work: BackgroundJob | None = field(default=None, repr=False)
    # The file is read with the header that was proposed, because its first line is none.
    is_header_proposed: bool = False
    # A column that names nearly all rows.
    near_key: NearKey | None = None
    # Columns of a file for a new task.
    columns: tuple[str, ...] = ()
    # The estimates of the modes in which all rows can be asked.
    estimate: Preflight | None = field(default=None, repr=False)
    # Name of the task as it was typed.
    suggested_name: str = ""
    # The task whose run was started after the file was stored.
    asked_task: str = ""

    @property
    def state(self) -> str:
        """Return the state of the latest step."""
        running_state, done_state, failed_state = STATES_BY_STEP[self.step]
        if self.work is None or self.work.is_running:
            return running_state
        return done_state if self.work.state == "done" else failed_state

    @property
    def is_tried(self) -> bool:
        """Return whether the question was tried as it is typed now, with the same columns."""
        return self.trial_work is not None and self.tried_question == self.typed_question

    @property
    def document(self) -> dict[str, Any]:
        """Return the upload as JSON members. Paths are replaced by the file's name."""
        return {
            "number": self.number,
            "task": self.task,
            "state": self.state,
            "first": self.first_rows,
            "name": self.path.name,
            "made": self.asked_task or None,
            "found": self._report_document(self.preview),
            "done": self._report_document(self.import_report),
            "error": self._error_document(),
            "columns": list(self.preview.columns) if self.preview else [],
        }

    def _report_document(self, report: ImportReport | None) -> dict[str, Any] | None:
        if not report:
            return None
        return report.document | {
            "path": self.path.name,
            "rows_in": report.rows_in,
            "notes": report.notes,
        }

    def _error_document(self) -> dict[str, Any] | None:
        """Return the problem document (see web/errors.py) of the latest step if it failed, or None.

        The file's name replaces its path in all texts.
        """
        if self.work is None or not self.work.error:
            return None

        return {
            name: member.replace(str(self.path), self.path.name)
            if isinstance(member, str)
            else member
            for name, member in self.work.error.items()
        }


class UploadStore:
    """The uploads of one page, in a folder of the workspace."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._folder = files.new_part_path(data / UPLOAD_FOLDER / "page")
        # Numbers begin at random: a tab of an earlier page must not reach an upload of this page.
        self._numbers = count(secrets.randbits(32))
        self._uploads: dict[int, Upload] = {}

    def delete_abandoned(self) -> None:
        """Delete the upload folders of processes that have died."""
        for folder in self._folder.parent.glob("*"):
            if folder.is_dir() and files.is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)

    async def save(
        self,
        task: str,
        name: str,
        body: AsyncIterator[bytes],
        *,
        mapping: str,
        read_options: ReadOptions,
    ) -> Upload:
        """Write a file to the disk as its body arrives, and register it as an upload.

        The file is on disk when this returns. An incomplete file is deleted. Only the last part of
        `name` is used, its unsafe characters are replaced, and a long name keeps its last
        characters.

        Args:
            task: The task that the file is for, or "new" for a new task.
            name: File name or path that the browser sent.
            body: The chunks of the file.
            mapping: Column mapping in the form of MAP=.
            read_options: How the file is read, such as its encoding.

        Raises:
            RequestRefusedError: 507, the disk is full or not writable.
            ConfigurationError: A link leads out of the workspace.
        """
        await run_in_threadpool(check_no_link_leads_out, self._data)
        number = next(self._numbers)
        safe_name = _UNSAFE_CHARACTER.sub("_", PureWindowsPath(name).name).strip(" .")
        path = self._folder / str(number) / (safe_name[-_MAX_NAME_CHARS:] or "file")

        try:
            with files.SealedWriter(path) as writer:
                async for chunk in body:
                    await run_in_threadpool(writer.write, chunk)
                await run_in_threadpool(writer.seal)
        except OSError as error:
            raise RequestRefusedError(
                507,
                f"the file cannot be stored: {error.strerror}",
                hint="free some space, and drop it again",
            ) from error
        finally:
            if not path.is_file():
                shutil.rmtree(path.parent, ignore_errors=True)

        upload = Upload(number, task, path, mapping, read_options)
        self._uploads[number] = upload
        return upload

    def get(self, number: int) -> Upload:
        """Return an upload by its number.

        Raises:
            RequestRefusedError: 404, the number is unknown or the upload was discarded.
        """
        upload = self._uploads.get(number)
        if upload is None:
            raise RequestRefusedError(
                404,
                f"there is no dropped file {number}; it was discarded, or the page was restarted",
                hint="drop it again",
            )
        return upload

    def discard(self, number: int) -> None:
        """Delete the file of an upload and forget the upload.

        Raises:
            RequestRefusedError: 404, the number is unknown; 409, the file is being imported.
        """
        upload = self.get(number)
        if upload.state == "importing":
            raise RequestRefusedError(
                409,
                "the file is being imported; nothing was changed",
                hint="wait until it is imported",
            )
        del self._uploads[number]
        shutil.rmtree(upload.path.parent, ignore_errors=True)

    def end_upload(self, upload: Upload, import_report: ImportReport | None = None) -> None:
        """Delete the folder of an upload with its file, and set the upload's import report.

        The preview of the upload is removed in any case, and the upload stays registered. The
        findings and groups of the given report are emptied, because they contain values of rows.

        Args:
            import_report: The report to set, changed in place; None if the file was not imported.
        """
        if import_report is not None:
            import_report.findings.clear()
            import_report.groups.clear()
        upload.import_report = import_report
        upload.preview = None
        shutil.rmtree(upload.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Delete the files of all uploads."""
        shutil.rmtree(self._folder, ignore_errors=True)
