"""Ingest, and what follows from new answers: a budget that is over, reports on the answers, a pilot that failed."""

from collections.abc import Callable, Sequence

from pipeline import piloting, reporting, spending
from pipeline.errors import FindableError
from pipeline.reporting import Report
from pipeline.runtime import Runtime
from pipeline.steps import batch_ingest
from pipeline.steps.batch_ingest import Account


def run(
    rt: Runtime,
    *,
    done: Callable[[Account], None] = lambda _: None,
    reported: Callable[[Report], None] | None = None,
) -> list[Account]:
    """Ingest every downloaded batch and call `done` after each; then end a `tag` that has nothing to go on with.

    Where `reported` is given, a report on the answers of each extractor that has new ones is written, and it is called
    with that; it judges them, and they are stored whatever it says.

    Raises:
        InconsistentError, ConfigurationError: see `batch_ingest.run`; what follows from the other batches was done.
    """
    accounts: list[Account] = []

    def ingested(account: Account) -> None:
        """Keep an account, and hand it on."""
        accounts.append(account)
        done(account)

    try:
        batch_ingest.run(rt, done=ingested)
    except FindableError:
        _follow_up(rt, accounts, reported)
        raise
    _follow_up(rt, accounts, reported)
    return accounts


def _follow_up(rt: Runtime, accounts: Sequence[Account], reported: Callable[[Report], None] | None) -> None:
    """Do what follows from these accounts, and remove what died in a report that was written before."""
    if accounts:
        spending.close(rt.store, rt.task, at=rt.now())
    if reported is None:
        return
    reporting.tidy(rt)
    for extractor in dict.fromkeys(one.batch.extractor for one in accounts):
        report = reporting.write(rt, extractor=extractor)
        if report is not None:
            piloting.note_failed(rt, report)
            reported(report)
