"""Ingest, and what follows from new answers: a budget that is over, reports on the answers, a pilot that failed."""

from collections.abc import Callable, Sequence

from pipeline.batch import ingest
from pipeline.batch.ingest import IngestSummary
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
    """Ingest every downloaded batch and call `done` after each; then end a `tag` that has nothing to go on with.

    Where `reported` is given, a report on the answers of each extractor that has new ones is written, and it is called
    with that; it judges them, and they are stored whatever it says.

    Raises:
        InconsistentError, ConfigurationError: see `batch_ingest.run`; what follows from the other batches was done.
    """
    accounts: list[IngestSummary] = []

    def ingested(account: IngestSummary) -> None:
        """Keep an account, and hand it on."""
        accounts.append(account)
        done(account)

    try:
        ingest.run(ws, done=ingested)
    except FindableError:
        _follow_up(ws, accounts, reported)
        raise
    _follow_up(ws, accounts, reported)
    return accounts


def _follow_up(
    ws: OpenWorkspace, accounts: Sequence[IngestSummary], reported: Callable[[QualityReport], None] | None
) -> None:
    """Do what follows from these accounts, and remove what died in a report that was written before."""
    if accounts:
        budget.close_budget(ws.store, ws.task, at=ws.now())
    if reported is None:
        return
    report_files.sweep_reports(ws.data, ws.task.name)
    for extractor in dict.fromkeys(one.batch.extractor for one in accounts):
        report = evaluate.write_report(ws, extractor=extractor)
        if report is not None:
            pilot.note_failed_pilot(ws, report)
            reported(report)
