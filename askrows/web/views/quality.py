"""Quality page: the newest report and its gates, samples, parked rows, tags, and accuracy.

A gate is a bound on a quality figure. A pilot is a random sample that is judged before the other
rows are asked.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from askrows.pipeline.quality.report import read_newest_report
from askrows.pipeline.quality.right_value_accuracy import (
    MIN_LABELLED_ROWS,
    NO_DIFFERENCE,
    AccuracyReport,
    list_measurable_versions,
    measure_accuracy_of_versions,
)
from askrows.pipeline.run.snapshot import read_snapshot
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks.tag_lists import list_tag_lists
from askrows.pipeline.tasks.task import Task
from askrows.web.render import PageState, join_value_texts, render_page
from askrows.web.row_query import make_row_names_for_addresses

router = APIRouter()

MAX_SAMPLES = 8
MAX_LISTED_TAGS = 60
# Commands whose progress the page shows.
WORK_KINDS = ("qc", "tags")
# A version as it is typed in an address: its number or its name.
VersionText = Annotated[str, Query(max_length=200)]


@router.get("/quality", include_in_schema=False)
def render_quality(
    app_state: PageState,
    task: str | None = None,
    a: VersionText = "",
    b: VersionText = "",
) -> HTMLResponse:
    """Render the quality of a task: the newest report with gates and samples, and parked rows.

    The page also lists background work, and the counts of tags in each list of texts. The versions
    `a` and `b` are compared on labelled rows; without them, the newest two versions with answers to
    such rows.
    """
    with app_state.open_to_read(task) as run:
        subject = run.workspace.settings.task
        # Work is read first: if it ends while the report is read, the page loads itself again.
        work_documents = app_state.background_work.describe_newest(
            f"{kind} {subject}" for kind in WORK_KINDS
        )
        newest_report = read_newest_report(run.workspace.data, run.task.name)
        samples = _sample_values(newest_report) if newest_report else []
        accuracy = find_version_accuracy(run.workspace.store, run.task, a, b)
        named_ids = [sample["id"] for sample in samples]
        if accuracy is not None:
            named_ids += accuracy.report.list_mentioned_row_ids()
        with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
            titles = snapshot.rows.read_titles(snapshot.tx, named_ids)
            parked_counts = snapshot.parked_counts
        store = run.workspace.store
        tag_reports = {
            tag_list.field.name: tag_list.count_tags_and_list_merges(store)
            for tag_list in list_tag_lists(run.task)
        }
        return render_page(
            app_state,
            "quality.html",
            run,
            "quality",
            report=newest_report,
            samples=samples,
            parked_counts=parked_counts,
            titles=titles,
            row_keys=make_row_names_for_addresses(run, named_ids),
            tag_reports=tag_reports,
            max_listed_tags=MAX_LISTED_TAGS,
            work_documents=work_documents,
            accuracy=accuracy,
            min_labelled_rows=MIN_LABELLED_ROWS,
            no_difference=NO_DIFFERENCE,
            compared_versions=[("a", a), ("b", b)] if a or b else [],
        )


def _sample_values(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the first samples of a report, each with its answer in `said` as one line."""
    return [
        {**sample, "said": _summarize_answer(sample["said"])}
        for sample in report["samples"][:MAX_SAMPLES]
    ]


def _summarize_answer(text: str) -> str:
    """Return a JSON object as one line; any other text is returned unchanged."""
    with contextlib.suppress(ValueError, AttributeError):
        answer = json.loads(text)
        return " · ".join(
            f"{name.replace('_', ' ')}: {join_value_texts(value)}" for name, value in answer.items()
        )
    return text


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
