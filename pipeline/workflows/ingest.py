"""Ingest downloaded batches; then close a budget that is over, write quality reports, and note a failed pilot."""

from collections.abc import Callable

from pipeline.batch import ingest
from pipeline.batch.account import IngestSummary
from pipeline.core.errors import FindableError
from pipeline.cost import budget
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import evaluate, pilot, report_files
from pipeline.quality.evaluate import QualityReport


def run(
    ws: OpenWorkspace,
    *,
    done: Callable[[IngestSummary], None] = lambda _: None,
    reported: Callable[[QualityReport], None] | None = None,
) -> list[IngestSummary]:
    """Ingest every downloaded batch and call `done` after each; then end a `tag` that has nothing left to do.

    If `reported` is given, a report on the new answers of each extractor is written and handed to it. The answers are
    stored whatever the report says.

    Raises:
        InconsistentError, ConfigurationError: see `batch.ingest.run`; the other batches were ingested.
    """
    summaries: list[IngestSummary] = []

    def ingested(summary: IngestSummary) -> None:
        summaries.append(summary)
        done(summary)

    failure: FindableError | None = None
    try:
        ingest.run(ws, done=ingested)
    except FindableError as error:
        failure = error
    if summaries:
        budget.close_budget(ws.store, ws.task, at=ws.now())
    if reported is not None:
        report_files.sweep_reports(ws.data, ws.task.name)
        for extractor in dict.fromkeys(one.batch.extractor for one in summaries):
            report = evaluate.write_report(ws, extractor=extractor)
            if report is not None:
                pilot.note_failed_pilot(ws, report)
                reported(report)
    if failure is not None:
        raise failure
    return summaries
