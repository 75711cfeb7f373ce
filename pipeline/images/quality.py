"""What summaries and buckets are like: as of the answers of any task, with words of a summary and tags of a bucket."""

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline.images.declaration import MOST_WORDS, Buckets
from pipeline.quality.answer_figures import measure_answers
from pipeline.quality.figures import Figure, Quality, Rows
from pipeline.quality.measures import Bound, count_figures, gates_of, share
from pipeline.store import statistics
from pipeline.store.answers import FORGOTTEN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.core.task import Task
    from pipeline.store.database import Connection

FEWEST = 20  # images: of fewer a figure may be anything by chance
BUCKETS = tuple(Buckets.model_fields)
BOUNDS: tuple[Bound, ...] = (
    ("words", 5.0, MOST_WORDS, FEWEST, f"At most {MOST_WORDS} words are asked for, and fewer than five say little."),
    ("empty-buckets", None, 0.7, FEWEST, "Buckets that are mostly empty are of no use in a search."),
)


def measure_images(tx: "Connection", task: "Task", extractor: str | None) -> Quality:
    """Return what the answers of an extractor are like: label/model, a label with all its models, or None for all."""
    words: Counter[int] = Counter()
    tags: Counter[str] = Counter()
    empty: Counter[str] = Counter()
    for _, answer, _ in statistics.answers_by(tx, task.name, extractor):
        if answer == FORGOTTEN:
            continue
        said: Mapping[str, Any] = json.loads(answer)
        words[len(said["summary"].split())] += 1
        sizes = {name: len(said["buckets"].get(name, ())) for name in BUCKETS}
        tags.update(sizes)
        empty.update(name for name, size in sizes.items() if not size)
    found, images = measure_answers(tx, task, extractor), words.total()
    whole = images * len(BUCKETS)
    figures = [
        *count_figures("words", words, one="summary", many="summaries"),
        Figure("tags-a-bucket", share(tags.total(), whole), "mean", "tags that a bucket holds on the mean", images),
        Figure("empty-buckets", share(empty.total(), whole), "share", "buckets that hold nothing, of all", images),
    ]
    rows = [(name, round(tags[name] / images, 2), round(empty[name] / images, 2)) for name in BUCKETS if images]
    return replace(
        found,
        title="Quality of the summaries and buckets of images",
        figures=[*found.figures, *figures],
        gates=[*found.gates, *gates_of({one.name: one for one in figures}, BOUNDS)],
        tables=[*found.tables, Rows("Buckets", ("bucket", "tags on the mean", "share that is empty"), rows)],
    )
