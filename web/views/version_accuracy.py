"""Accuracy of stored versions on corrected and reviewed rows: a part of the quality page."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query

from pipeline.engine.session import WorkspaceSession
from pipeline.quality import label_accuracy
from pipeline.quality.label_accuracy import AccuracyReport, VersionChoices
from pipeline.store import answers
from web.render import PageState

router = APIRouter()

# A version as it is typed in an address: its number or its name.
VersionText = Annotated[str, Query(max_length=200)]
SAME_VERSION_MESSAGE = "Choose two different versions."
NO_DIFFERENCE_TEXT = "could be chance"
LEFT_OUT_REASONS = {
    label_accuracy.IS_EXAMPLE: "used as an example in its question",
    label_accuracy.HAS_NO_ANSWER: "not answered by it",
    label_accuracy.HAS_OTHER_INPUT: "changed since it answered",
}


class VersionAccuracy(NamedTuple):
    """The accuracy of one or two versions, for its template."""

    # Versions to choose from.
    choices: Sequence[str] = ()
    # None if no version answered a labelled row.
    report: AccuracyReport | None = None
    # The version in use, if labelled rows lack its answers; else "".
    unasked_version: str = ""
    error_message: str = ""


@router.get("/api/tasks/{task}/accuracy")
def get_accuracy(
    app_state: PageState, task: str, a: VersionText = "", b: VersionText = ""
) -> dict[str, Any]:
    """Return how often stored versions are right on labelled rows, as `eval` does.

    `a` and `b` are versions with answers. Without them, the newest two are measured.
    """
    with app_state.open_to_read(task) as ws:
        report = _measure(ws, (a, b))
        return {**report.to_document(), "placeholder": ws.has_placeholder_answers}


def find_version_accuracy(ws: WorkspaceSession, a: str, b: str) -> VersionAccuracy | None:
    """Return the accuracy of two versions; None if there is nothing to compare yet.

    There is nothing to compare if fewer than two versions have answers and no answer is labelled.

    Args:
        ws: The workspace.
        a: A version with answers, or "" for the default: the newest two with labelled answers.
        b: The other version, or "" to measure only `a`.

    Raises:
        InputError: A version has no answers.
    """
    with ws.store.read() as tx:
        choices = label_accuracy.list_version_choices(tx, ws.task)
    if not choices.labelled:
        return VersionAccuracy() if len(choices.answered) > 1 else None

    error_message = ""
    texts: Sequence[str] = (a, b)
    if not any(texts):
        texts = choices.labelled[-2:]
    elif a == b:
        texts = (a,)
        error_message = SAME_VERSION_MESSAGE
    report = _measure(ws, texts)
    unasked_version = _find_unasked_version(choices, report, ws.task.version_label)
    return VersionAccuracy(choices.labelled, report, unasked_version, error_message)


def _measure(ws: WorkspaceSession, texts: Sequence[str]) -> AccuracyReport:
    with ws.store.read() as tx:
        return label_accuracy.measure_versions(
            tx, ws.task, texts, doubtful_below=ws.settings.doubtful
        )


def _find_unasked_version(
    choices: VersionChoices, report: AccuracyReport, present_version: str
) -> str:
    """Return the version in use if labelled rows lack its answers, but other rows have them.

    It is "" if the version answered all labelled rows that can be compared.
    """
    if report.present_index is not None:
        return report.versions[report.present_index].version if report.unasked_rows else ""
    versions_in_use = [
        version
        for version in choices.answered
        if answers.belongs_to_version(version, present_version)
    ]
    if versions_in_use and not set(versions_in_use) & set(choices.labelled):
        return versions_in_use[-1]
    return ""
