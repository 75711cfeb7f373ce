"""Draw labelled rows, so that the answers of a trial can be compared with right values.

A labelled row has a right value, which a person set or confirmed, in at least one field. A trial
asks about a few rows and stores no answer.
"""

from collections.abc import Mapping, Sequence

from pipeline.core.command_hint import CommandHint, HintTemplate
from pipeline.engine.task import Task
from pipeline.quality import pilot, right_value_accuracy
from pipeline.store import answers
from pipeline.store.database import Connection
from pipeline.store.edits import RightValues

# The file of the hint how to review rows.
REVIEW_FILE = "labels.csv"


def make_review_hint(tx: Connection, task: Task) -> HintTemplate:
    """Return how to set right values of a task: by a file, or on the page.

    Only a user task has files of right values. One command writes a file with the keys, the answers
    and the marks of reviewed rows; another command reads the corrected file. The page is named
    alone if the task is built in, has no column of review marks, or has a column with a comma in
    its name.
    """
    page_hint = HintTemplate("`{}` corrects and reviews answers on a page", CommandHint("web"))
    if task.user_file is None:
        return page_hint
    grid = task.make_grid(tx)
    review_name = grid.judgements.review_name
    columns = [*task.key_columns, *grid.answer_fields, review_name]
    # Commas separate the names.
    if not review_name or any("," in name for name in columns):
        return page_hint
    nouns = task.nouns
    return HintTemplate(
        f"`{{}}` writes the answers: correct them in the file, or type yes under "
        f"{review_name}; then `{{}}` stores the labels; `{{}}` does the same on a page",
        nouns.command("items", to=REVIEW_FILE, fields=",".join(columns)),
        nouns.command("correct", file=REVIEW_FILE),
        CommandHint("web"),
    )


def put_labelled_first(
    right_values_by_id: Mapping[str, RightValues],
    other_ids: Sequence[str],
    *,
    size: int,
    seed: int | None,
) -> list[str]:
    """Return up to `size` row ids: a random draw of labelled rows, followed by other rows.

    Args:
        right_values_by_id: The labelled rows, by row id.
        other_ids: The other rows in their order; labelled rows among them are not repeated.
        size: Largest number of ids.
        seed: Seed of the draw; None means DEFAULT_PILOT_SEED.
    """
    draw_seed = pilot.DEFAULT_PILOT_SEED if seed is None else seed
    labelled_ids = pilot.draw_row_ids(right_values_by_id, size=size, seed=draw_seed)
    return list(dict.fromkeys([*labelled_ids, *other_ids]))[:size]


def count_draft_rows(tx: Connection, task: Task) -> int:
    """Return on how many labelled rows a task's new version can be tried; 0 if it has answers."""
    if answers.has_answers_of_version(tx, task.name, task.prompt_version):
        return 0
    return len(right_value_accuracy.read_valid_right_values(tx, task))
