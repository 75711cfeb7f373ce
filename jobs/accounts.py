"""How an ingested batch is told: what became of its requests, and what went wrong in it."""

from typing import TYPE_CHECKING

from jobs.output import Terminal, plural, print_line, print_table, usd

if TYPE_CHECKING:
    from pipeline.steps.batch_ingest import Account
    from pipeline.task import Words

OUTCOMES = ("requests", "answered", "refused", "invalid", "missing", "not_applied")
COUNTS = (*OUTCOMES, "unknown", "duplicates", "unreadable", "tokens_in", "tokens_out", "cost")


def show(account: "Account", words: "Words") -> None:
    """Print one line for a batch, and a table of what went wrong in it."""
    batch, terminal = account.batch, Terminal()
    failed = {name: getattr(batch, name) for name in ("refused", "invalid", "missing") if getattr(batch, name)}
    rest = "".join(f", {count:,} {name}" for name, count in failed.items())
    answered = plural(batch.answered or 0, "answer")
    print_line(
        f"batch {batch.number}: {answered} of {batch.requests:,}{rest}; "
        f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {usd(batch.cost or 0)}. "
        f"Next: {words.after}{f', and {words.again} for what failed' if rest else ''}"
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
        terminal.warn(
            f"{plural(batch.not_applied, 'answer')} not applied: the {words.one} is gone or was answered meanwhile"
        )
    if account.outdated:
        terminal.warn(f"answered for an earlier {words.input}: {', '.join(account.outdated[:10])}")
    if account.other_versions:
        terminal.warn(f"asked {batch.model}, answered by {', '.join(account.other_versions)}")


def document(account: "Account") -> dict[str, object]:
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
