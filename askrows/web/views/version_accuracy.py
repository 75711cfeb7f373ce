"""Accuracy of stored versions on corrected and reviewed rows: a part of the quality page."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query

from askrows.pipeline.quality.right_value_accuracy import (
    AccuracyReport,
    list_measurable_versions,
    measure_accuracy_of_versions,
)
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks.task import Task
from askrows.web.render import PageState

router = APIRouter()

# A version as it is typed in an address: its number or its name.
VersionText = Annotated[str, Query(max_length=200)]


class VersionAccuracy(NamedTuple):
    """The accuracy of one or two versions, for its template."""

    # Versions with answers to labelled rows, to choose from.
    choices: Sequence[str]
    report: AccuracyReport


@router.get("/api/tasks/{task}/accuracy")
def get_accuracy(
    app_state: PageState, task: str, a: VersionText = "", b: VersionText = ""
) -> dict[str, Any]:
    """Return how often stored versions are right on labelled rows, as `eval` does.

    `a` and `b` are versions with answers. Without them, the newest two are measured.
    """
    with app_state.open_to_read(task) as run:
        report = run.workspace.store.query(measure_accuracy_of_versions, run.task, (a, b))
        return {**report.to_document(), "placeholder": run.workspace.has_placeholder_answers}


def find_version_accuracy(
    store: Store, task: Task, first_version: str, second_version: str
) -> VersionAccuracy | None:
    """Return the accuracy of two versions, and the versions to choose from.

    The result is None if no version has answers. If both versions are "", the newest two with
    labelled answers are measured, or the newest version if no answer is labelled.

    Args:
        store: The database.
        task: The task.
        first_version: A version with answers, or "".
        second_version: Another version, or "" to measure only `first_version`.

    Raises:
        InputError: A requested version has no answers.
    """
    with store.read() as tx:
        choices = list_measurable_versions(tx, task)
        if not choices.answered:
            return None

        versions = list(dict.fromkeys((first_version, second_version)))
        if not any(versions):
            versions = choices.labelled[-2:] or choices.answered[-1:]
        return VersionAccuracy(choices.labelled, measure_accuracy_of_versions(tx, task, versions))
