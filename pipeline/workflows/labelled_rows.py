"""Draw labelled rows, so that the answers of a trial can be compared with the labels.

A label is the right value of a field of a row's answer, which a person set or confirmed. A trial
asks about a few rows and stores no answer.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.engine.task import Task
from pipeline.quality import label_accuracy, pilot
from pipeline.store import answers
from pipeline.store.database import Connection
from pipeline.store.edits import RowLabel

# The file of the hint how to label rows.
LABEL_FILE = "labels.csv"


def make_label_hint(tx: Connection, task: Task) -> HintTemplate:
    """Return how to label rows of a task: by a file of labels, or on the page.

    Only a user task has files of labels. One command writes a file with the keys, the answers and
    the marks of reviewed rows; another command reads the corrected file. The page is named alone if
    the task is built in, has no column of review marks, or has a column with a comma in its name.
    """
    page_hint = HintTemplate("`{}` corrects and reviews answers on a page", CommandHint("web"))
    if task.user_file is None:
        return page_hint
    grid = task.rows.grid(tx)
    review_name = grid.judgements.review_name
    columns = [*task.rows.key_columns, *grid.answer_fields, review_name]
    # Commas separate the names.
    if not review_name or any("," in name for name in columns):
        return page_hint
    labels = task.labels
    return HintTemplate(
        f"`{{}}` writes the answers: correct them in the file, or type yes under "
        f"{review_name}; then `{{}}` stores the labels; `{{}}` does the same on a page",
        labels.command("items", to=LABEL_FILE, fields=",".join(columns)),
        labels.command("correct", file=LABEL_FILE),
        CommandHint("web"),
    )


def put_labelled_first(
    row_labels: Mapping[str, RowLabel],
    other_ids: Sequence[str],
    *,
    size: int,
    seed: int | None,
) -> list[str]:
    """Return up to `size` row ids: a random draw of labelled rows, followed by other rows.

    Args:
        row_labels: The labelled rows, by row id.
        other_ids: The other rows in their order; labelled rows among them are not repeated.
        size: Largest number of ids.
        seed: Seed of the draw; None means DEFAULT_PILOT_SEED.
    """
    draw_seed = pilot.DEFAULT_PILOT_SEED if seed is None else seed
    labelled_ids = pilot.draw_row_ids(row_labels, size=size, seed=draw_seed)
    return list(dict.fromkeys([*labelled_ids, *other_ids]))[:size]


def count_draft_rows(tx: Connection, task: Task) -> int:
    """Return on how many labelled rows a task's new version can be tried; 0 if it has answers."""
    if answers.has_answers_of_version(tx, task.name, task.prompt_version):
        return 0
    return len(label_accuracy.read_valid_labels(tx, task))
