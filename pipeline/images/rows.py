"""Carry out the task images: as any declared task, with `asset_ai` kept beside its answers."""

from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.core.task import Task, Words
from pipeline.engine.declared.collection import DeclaredCollection
from pipeline.engine.declared.rows import DeclaredRows
from pipeline.images import ASSET_AI, HOW_TO_FILL
from pipeline.images.hooks import ImagesHooks
from pipeline.tables.row_target import RowTarget

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
    """The rows of a declared task whose answers go to one table of other programs, whatever a file says."""

    @cached_property
    def row_target(self) -> RowTarget:
        """Return `asset_ai`, which other programs read."""
        return RowTarget(self.answers_spec, ASSET_AI, "asset_id", *self._whose)


class ImagesCollection(DeclaredCollection):
    """Every image that is described; see `pipeline.core.task.Collection`."""

    word = "image"


def images_task(declared: Task, rows: ImagesRows) -> Task:
    """Return the task of the images, made of what was declared."""
    task = replace(
        declared, words=WORDS, how_to_fill=HOW_TO_FILL, answer_tokens=ANSWER_TOKENS, rows=rows, sends_images=True
    )
    task = replace(task, items_from=HOW_TO_FILL)
    return replace(task, hooks=ImagesHooks(rows))
