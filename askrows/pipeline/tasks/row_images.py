"""The images of a task's rows: their state and their requests.

An image is usable if it can be sent. The state of an image says which file was read, the hash of
its content, the stamp of the file (size and times), and why the image is unusable.
"""

import base64
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askrows.pipeline.core.command_hint import HintTemplate
from askrows.pipeline.core.declaration import Declaration
from askrows.pipeline.core.text import join_first
from askrows.pipeline.provider.requests import make_image_part
from askrows.pipeline.rows.cells import to_compact_json
from askrows.pipeline.rows.folder_files import make_import_hint
from askrows.pipeline.rows.pictures import (
    MAX_IMAGE_BYTES,
    UNPRINTABLE_NAME_REASON,
    PictureError,
    Stamp,
    convert_to_sent_jpeg,
    describe_excess_bytes,
    inspect_image,
    is_printable_path,
    make_file_stamp,
    read_image_file,
)
from askrows.pipeline.rows.source import MEMORY_ROWS
from askrows.pipeline.rows.stored_rows import hash_input
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task_values import TaskRow

SENT_TYPE = "image/jpeg"
# After this time, another write changes the modification time on every file system.
SETTLED_NS = 2_000_000_000


def make_row_images(record: TaskRecord, declaration: Declaration) -> "RowImages":
    """Return the object that reads the images of a task's rows; no image is read here."""
    folder_hint: object = "image_folder= in the task's file names another folder"
    if record.has_folder:
        command = make_import_hint(record.name, has_folder=True)
        folder_hint = HintTemplate("`{}` adds a folder", command)
    return RowImages(
        record.image_columns,
        record.asked_columns,
        _list_allowed_image_folders(record, declaration),
        folder_hint,
        declaration.image_side,
    )


def _list_allowed_image_folders(record: TaskRecord, declaration: Declaration) -> list[Path]:
    """Return the folders that must contain all images.

    For a `Folder` these are the imported folders; without an import, images may be anywhere.
    Otherwise it is the folder that the declaration names, else that of the file with the rows. For
    rows of a query or of Python, it is the folder of the task's file.
    """
    if record.has_folder:
        return [Path(folder) for folder in record.image_folders or ["/"]]

    folder = Path(record.path).parent
    if declaration.image_folder is not None:
        return [folder / declaration.image_folder]
    # Take the row file from the declaration: the path in the database may have been changed.
    if declaration.is_query or declaration.items == MEMORY_ROWS:
        return [folder]
    return [(folder / declaration.items).resolve().parent]


@dataclass(frozen=True)
class RowImages:
    """The images of a task's rows."""

    # Columns with the path of an image.
    columns: Sequence[str]
    # Columns that the prompt contains.
    asked: Sequence[str]
    # Folders that must contain all files; relative paths begin in the first.
    folders: Sequence[Path]
    # How to use files of another folder.
    folder_hint: object
    # Maximum pixels of the longer side of a sent image.
    side: int

    def inspect_images_of_row(
        self, values: Mapping[str, Any], state_json: str | None
    ) -> Mapping[str, str | None]:
        """Read the images of a row and check that they can be sent; write nothing.

        An image whose file is unchanged since the last inspection is not read again.

        Args:
            values: The row's values by column.
            state_json: State of the last inspection of the row, or None for a new row.

        Returns:
            Columns of the stored row: `input_hash`, which covers the asked columns and the contents
            of the images; `seen`, the new state as JSON; and `unusable`, why the first unusable
            image cannot be sent, or None.
        """
        former_states = json.loads(state_json) if state_json else {}
        states = {}
        unusable_reason = None
        for column, location in self._list_locations(values):
            states[column] = self._inspect_image_if_changed(
                location, former_states.get(column) or {}
            )
            reason = states[column].get("why")
            if reason and unusable_reason is None:
                unusable_reason = f"{column}: {reason}"

        hashes = {column: states.get(column, {}).get("sha256") for column in self.columns}
        return {
            "input_hash": hash_input({**values, **hashes}, [*self.asked, *self.columns]),
            "seen": to_compact_json(states),
            "unusable": unusable_reason,
        }

    def read_images_into_prompt(self, task_row: TaskRow, row: Mapping[str, Any]) -> TaskRow | None:
        """Read the images of a row, and return the row with them before the text of its prompt.

        Each image becomes a JPEG of at most `side` pixels. If the task has several image columns,
        the name of its column precedes each image. The returned row's hash is that of its
        values and original images.

        Args:
            task_row: The row with its prompt.
            row: The row's values by column.

        Returns:
            None if an image cannot be sent. The next inspection of the row stores the reason.
        """
        parts: list[Mapping[str, Any]] = []
        hashes: dict[str, str | None] = dict.fromkeys(self.columns)
        for column, location in self._list_locations(row):
            try:
                content, _ = self._read_image_and_stamp(location)
                jpeg = convert_to_sent_jpeg(content, max_side=self.side)
            except PictureError:
                return None
            hashes[column] = hashlib.sha256(content).hexdigest()
            if len(self.columns) > 1:
                parts.append({"text": f"{column}:"})
            jpeg_base64 = base64.b64encode(jpeg).decode("ascii")
            parts.append(make_image_part(SENT_TYPE, jpeg_base64))

        input_hash = hash_input({**row, **hashes}, [*self.asked, *self.columns])
        prompt = task_row.prompt._replace(parts=[*parts, *task_row.prompt.parts])
        return task_row._replace(prompt=prompt, input_hash=input_hash)

    def _list_locations(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return (column, path) of each image column whose cell is not empty.

        A cell names one image. Its text is returned as it is: a relative path is not resolved.
        """
        locations = [(column, str(row.get(column) or "").strip()) for column in self.columns]
        return [(column, location) for column, location in locations if location]

    def _inspect_image_if_changed(
        self, location: str, former_state: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Read an image and check that it can be sent; return its state for the next inspection.

        An image that was usable and did not change is not read again.

        Args:
            location: Path of the image.
            former_state: State of the last inspection; empty for a new image.

        Returns:
            `named` (location), `sha256` (None if unread), `stamp` (size and times of the file; None
            for a file written in the last two seconds) and, if the image cannot be sent, `why`.
        """
        state: dict[str, Any] = {"named": location, "sha256": None, "stamp": None}
        was_usable = former_state.get("named") == location and not former_state.get("why")
        try:
            if was_usable and self._is_unchanged(location, former_state):
                return dict(former_state)
            content, state["stamp"] = self._read_image_and_stamp(location)
            state["sha256"] = hashlib.sha256(content).hexdigest()
            inspect_image(content)
        except PictureError as error:
            state["why"] = error.message
        # The file disappeared during the inspection.
        except OSError as error:
            state["why"] = f"it cannot be read: {error.strerror}"
        return state

    def _is_unchanged(self, location: str, former_state: Mapping[str, Any]) -> bool:
        """Return whether a file has the size and times of the last inspection.

        Args:
            location: Path of the image.
            former_state: State of the last inspection, in which the image was usable.

        Raises:
            PictureError: The path is not a file in the folder.
            OSError: The file disappeared.
        """
        former_stamp = former_state.get("stamp")
        if not former_stamp:
            return False
        return make_file_stamp(self._resolve_and_check_path(location).stat()) == tuple(former_stamp)

    def _resolve_and_check_path(self, location: str) -> Path:
        """Return the absolute path of an image file, with links resolved.

        Args:
            location: A path, which is absolute or relative to the first folder of images.

        Raises:
            PictureError: The location is an address or has control characters. Or the file does not
                exist, its path cannot be resolved, or it is not in a folder of images.
        """
        if "://" in location:
            raise PictureError("it is an address; save the image as a file, and name its path")
        if not is_printable_path(location):
            raise PictureError(UNPRINTABLE_NAME_REASON)
        try:
            path = (self.folders[0] / location).resolve(strict=True)
        except FileNotFoundError:
            raise PictureError(f"there is no such file in {self.folders[0]}") from None
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PictureError(f"it cannot be read: {reason}") from None

        if not any(path.is_relative_to(folder.resolve()) for folder in self.folders):
            folder_names = join_first([str(folder) for folder in self.folders])
            raise PictureError(f"it is outside {folder_names}; {self.folder_hint}")
        return path

    def _read_image_and_stamp(self, location: str) -> tuple[bytes, Stamp | None]:
        """Return the bytes of an image, and the stamp of its file (its size and times of change).

        The stamp is None for a file that was written less than two seconds ago, because another
        write might not change its times.

        Args:
            location: Path of the image.

        Raises:
            PictureError: The file cannot be read, or is too long.
        """
        path = self._resolve_and_check_path(location)
        try:
            size = path.stat().st_size
            file_read = read_image_file(path) if size <= MAX_IMAGE_BYTES else None
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from None
        if file_read is None or len(file_read[0]) > MAX_IMAGE_BYTES:
            raise PictureError(describe_excess_bytes(size))

        content, stamp = file_read
        age_ns = time.time_ns() - max(stamp[1:])
        return content, stamp if age_ns > SETTLED_NS else None
