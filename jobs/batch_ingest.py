"""`make batch-ingest`: write the results of downloaded batches into the database."""

import contextlib

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.output import print_json, print_line
from jobs.render import account_document, show_account
from pipeline.batch.account import IngestSummary
from pipeline.core.task import Words
from pipeline.quality.evaluate import QualityReport
from pipeline.workflows import ingest


@click.command(name="batch-ingest", cls=WritingCommand)
@json_option
def main(*, as_json: bool) -> None:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is counted as answered, refused, invalid or missing; failed ones are asked once more in the next
    batch, then parked. Safe to repeat and to interrupt. A report on the answers is written into DATA/reports; if one of
    its gates fails the exit code is 6, and the answers are stored anyway.
    """
    documents: list[dict[str, object]] = []
    with contextlib.ExitStack() as closing, open_workspace() as ws:
        if as_json:  # also if a batch cannot be ingested, the others are in the document
            closing.callback(lambda: print_json(documents))
        words = ws.task.words

        def show(account: IngestSummary) -> None:
            """Show one batch as soon as it is ingested."""
            documents.append(account_document(account)) if as_json else show_account(account, words)

        reports: list[QualityReport] = []
        accounts = ingest.run(ws, done=show, reported=reports.append)
        for report in (one for one in reports if one.is_judged):
            ws.display.say(f"quality: {report.line} ({report.path})")
    if not as_json:
        print_line(_line(accounts, words))
    for report in reports:
        report.check()


def _line(accounts: list[IngestSummary], words: Words) -> str:
    """Return what comes next."""
    if not accounts:
        return "nothing to ingest: no batch is downloaded"
    is_any_failed = any(one.batch.refused or one.batch.invalid or one.batch.missing for one in accounts)
    return f"Next: {words.after}{f', and {words.again} for what failed' if is_any_failed else ''}"
