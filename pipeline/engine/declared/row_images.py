"""Look at the images that rows name, and put them into what is asked about the rows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.declaration import Declaration
from pipeline.core.settings import Settings
from pipeline.engine.declared.task_file import built_in
from pipeline.engine.picture_fetch import PictureFetcher
from pipeline.engine.picture_source import PictureSource
from pipeline.engine.pictures import PictureError
from pipeline.store.workspace import TaskRecord
from pipeline.tables.cells import compact_json
from pipeline.tables.fill import Look, hash_of

if TYPE_CHECKING:
    from pipeline.gemini.requests import Prompt


class ImageSettings(NamedTuple):
    """Where images are, and whether addresses are asked again; see `Settings`."""

    folder: Path | None = None
    refetches: bool = False

    @classmethod
    def of(cls, settings: Settings) -> "ImageSettings":
        """Return what settings say."""
        return cls(settings.folder, settings.refresh)

    def source(self, record: TaskRecord, declared: Declaration) -> PictureSource:
        """Return where the images of a task are: by themselves below the folder of its items' file, else its own.

        The rows of a built-in task have whole paths.
        """
        beside = Path(record.path if record.is_query else record.items)
        is_ours = built_in(record.name) is not None
        return PictureSource(
            folder=Path("/") if is_ours else self.folder or beside.parent,
            side=declared.image_side,
            fetch=PictureFetcher().fetch,
            refetches=self.refetches,
        )


UNSET = ImageSettings()


@dataclass(frozen=True)
class RowImages:
    """The images of a task's rows: the columns that name them, those that are asked about beside, and their source."""

    columns: Sequence[str]
    asked: Sequence[str]
    source: PictureSource

    def look(self, values: Mapping[str, Any], seen: str | None) -> Look:
        """Look at what a row names, given what the look before saw; see `pipeline.tables.fill.LookAt`."""
        known = json.loads(seen) if seen else {}
        found = {name: self.source.look(named, known.get(name)) for name, named in self._named(values)}
        wrong = next(((name, one["why"]) for name, one in found.items() if one.get("why")), None)
        hashes = {name: found.get(name, {}).get("sha256") for name in self.columns}
        return Look(hashes, compact_json(found), None if wrong is None else f"{wrong[0]}: {wrong[1]}")

    def put_into(self, prompt: "Prompt", row: Mapping[str, Any]) -> "tuple[Prompt, str] | None":
        """Return a prompt with a row's images before its text, and the hash of both; None where one cannot be asked.

        The next look at the row says why. Where there are several columns, each image follows the name of its own.
        """
        parts: list[Mapping[str, Any]] = []
        hashes: dict[str, str | None] = dict.fromkeys(self.columns)
        for name, named in self._named(row):
            try:
                part, hashes[name] = self.source.part(named)
            except PictureError:
                return None
            parts += [{"text": f"{name}:"}] * (len(self.columns) > 1) + [part]
        return prompt._replace(parts=[*parts, *prompt.parts]), self.hash_of(row, hashes)

    def hash_of(self, row: Mapping[str, Any], hashes: Mapping[str, str | None]) -> str:
        """Return the hash of a row's input: of the bytes of its images and its other values."""
        return hash_of({**row, **hashes}, [*self.asked, *self.columns])

    def _named(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(name, str(row[name]).strip()) for name in self.columns if str(row.get(name) or "").strip()]
