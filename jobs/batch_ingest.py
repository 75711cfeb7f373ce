"""`make batch-ingest`: put the results of downloaded batches into the database."""

import contextlib
from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table, usd

if TYPE_CHECKING:
    from pipeline.steps.batch_ingest import Account

OUTCOMES = ("requests", "answered", "refused", "invalid", "missing", "not_applied")
COUNTS = (*OUTCOMES, "unknown", "duplicates", "unreadable", "tokens_in", "tokens_out", "cost")


@click.command(name="batch-ingest", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is accounted for as answered, refused, invalid or missing; what failed is asked once more in the next
    batch, then parked. Safe to repeat and to interrupt.
    """
    from pipeline.steps import batch_ingest

    documents: list[dict[str, object]] = []
    with contextlib.ExitStack() as closing, open_workspace() as rt:
        if as_json:  # also where one batch could not be ingested: what became of the others is told
            closing.callback(lambda: print_json(documents))
        show = (lambda account: documents.append(_document(account))) if as_json else _show
        accounts = batch_ingest.run(rt, done=show)
    if not accounts and not as_json:
        print_line("nothing to ingest: no batch is downloaded")


def _show(account: "Account") -> None:
    """Print one line for a batch, and a table of what went wrong in it."""
    batch, terminal = account.batch, Terminal()
    failed = {name: getattr(batch, name) for name in ("refused", "invalid", "missing") if getattr(batch, name)}
    rest = "".join(f", {count:,} {name}" for name, count in failed.items())
    answered = plural(batch.answered or 0, "answer")
    print_line(
        f"batch {batch.number}: {answered} of {batch.requests:,}{rest}; "
        f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {usd(batch.cost or 0)}. "
        f"Next: make index{', and make batch-submit for what failed' if rest else ''}"
    )
    if account.oddities:
        rows = [
            (
                odd.outcome,
                odd.count,
                odd.reason,
                "; ".join(f"{name} {text}".strip()[:60] for name, text in odd.examples),
            )
            for odd in account.oddities
        ]
        print_table(("outcome", "count", "reason", "examples"), rows)
    if batch.not_applied:
        terminal.warn(f"{plural(batch.not_applied, 'answer')} not applied: the person is gone or was tagged meanwhile")
    if account.outdated:
        terminal.warn(f"answered for an earlier biography: {', '.join(account.outdated[:10])}")
    if account.other_versions:
        terminal.warn(f"asked {batch.model}, answered by {', '.join(account.other_versions)}")


def _document(account: "Account") -> dict[str, object]:
    """Return one account for programs."""
    batch = account.batch
    return {
        "batch": batch.number,
        **{name: getattr(batch, name) for name in COUNTS},
        "reasons": [
            {"outcome": odd.outcome, "reason": odd.reason, "count": odd.count, "examples": odd.examples}
            for odd in account.oddities
        ],
        "outdated": account.outdated,
        "other_versions": account.other_versions,
    }
