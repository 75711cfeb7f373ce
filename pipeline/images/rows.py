"""Carry out the task images: as any declared task, with `asset_ai` kept beside its answers."""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement

from pipeline.core.task import Answered, Item, Task, Words, WriteResult
from pipeline.engine.declared.collection import DeclaredCollection
from pipeline.engine.declared.rows import DeclaredRows
from pipeline.engine.pictures import PictureError, prepare
from pipeline.images.asset_ai import AssetAi
from pipeline.images.hooks import ImagesHooks

if TYPE_CHECKING:
    from sqlalchemy import Connection

SIDE = 768  # pixels of the longer side of an image that is sent, at the most
ANSWER_TOKENS = 220  # before past answers tell better
WORDS = Words(
    one="image",
    many="images",
    done="described",
    all_done="every image that can be opened is described, claimed or parked",
    input="image",
    inputs="the images",
    after="make export TASK=images TO=images.csv",
    again="make tag TASK=images",
    named=" TASK=images",
)


@dataclass(frozen=True)
class ImagesRows(DeclaredRows):
    """See `pipeline.core.task.TaskRows` for what each member promises; `asked_model` is what would be asked now."""

    provider: str = ""
    asked_model: str = ""
    preferred: Sequence[str] = ()

    @cached_property
    def asset_ai(self) -> AssetAi:
        """Return the rows that other programs read."""
        return AssetAi(self.answers_spec, self.provider, self.preferred)

    def items(self, tx: "Connection", ids: Sequence[str]) -> Iterator[Item]:
        """Yield what to ask about these images, each scaled and written anew; one that cannot be opened is left out."""
        rows = self.rows(tx, ids)
        for item in super().items(tx, ids):
            with suppress(OSError, PictureError):
                sent = prepare(Path(rows[item.id]["path"]).read_bytes(), side=SIDE)
                part = {"inlineData": {"mimeType": sent.mime_type, "data": b64encode(sent.data).decode("ascii")}}
                yield item._replace(prompt=item.prompt._replace(parts=[part, *item.prompt.parts]))

    def write(self, tx: "Connection", answers: Sequence[Answered], *, extractor: str, at: datetime) -> WriteResult:
        """Write answers as of any declared task, and what follows from them into `asset_ai`."""
        with self.asset_ai.following(tx, [one.item_id for one in answers]):
            return super().write(tx, answers, extractor=extractor, at=at)

    def remove(self, tx: "Connection", ids: Sequence[str], *, extractor: str | None = None) -> int:
        """Take the answers about these images back, out of `asset_ai` too."""
        with self.asset_ai.following(tx, ids):
            return super().remove(tx, ids, extractor=extractor)

    def _is_answered(self, *, of_input: bool) -> ColumnElement[bool]:
        """Return the condition that an image has its answer: of this version, or a row for this provider and model.

        With `of_input` the row counts where another program wrote it, or the answer is to the image as it is now.
        """
        answered = super()._is_answered(of_input=of_input)
        row = self.asset_ai.has_row(self.items_table.c.findable_key, self.asked_model)
        return answered | (row & ~super()._is_answered(of_input=False) if of_input else row)


class ImagesCollection(DeclaredCollection):
    """Every image that is described; see `pipeline.core.task.Collection`."""

    word = "image"


def images_task(declared: Task, rows: ImagesRows) -> Task:
    """Return the task of the images, made of what was declared."""
    fill = "run `make import-images FOLDER=photos/`"
    task = replace(declared, words=WORDS, how_to_fill=fill, answer_tokens=ANSWER_TOKENS, rows=rows, sends_images=True)
    return replace(task, hooks=ImagesHooks(rows, task, rows.asset_ai))
