"""What several commands print alike, and the exit codes they end with: of batches, pilots, estimates and tagging."""

import sys
from typing import TYPE_CHECKING, Any

from jobs.output import Terminal, plural, print_line, print_table, usd

if TYPE_CHECKING:
    from pipeline.batch import poll
    from pipeline.batch.ingest import IngestSummary
    from pipeline.core.task import Words
    from pipeline.live import tag as live_tag
    from pipeline.workflows import backfill, pilot, tag

OUTCOMES = ("requests", "answered", "refused", "invalid", "missing", "not_applied")
COUNTS = (*OUTCOMES, "unknown", "duplicates", "unreadable", "tokens_in", "tokens_out", "cost")
ESTIMATES = 5  # that are printed; --json has more


def show_account(account: "IngestSummary", words: "Words") -> None:
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
    if account.anomalies:
        rows = [
            (
                odd.outcome,
                odd.count,
                odd.reason,
                "; ".join(f"{name} {text}".strip()[:60] for name, text in odd.examples),
            )
            for odd in account.anomalies
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


def account_document(account: "IngestSummary") -> dict[str, object]:
    """Return one account for programs."""
    batch = account.batch
    return {
        "batch": batch.number,
        **{name: getattr(batch, name) for name in COUNTS},
        "reasons": [
            {"outcome": odd.outcome, "reason": odd.reason, "count": odd.count, "examples": odd.examples}
            for odd in account.anomalies
        ],
        "outdated": account.outdated,
        "other_versions": account.other_versions,
    }


def show_estimates(document: dict[str, Any]) -> None:
    """Print what the newest batches and runs were estimated at, what they came to, and the mean error."""
    label = "estimates"
    for one in document["estimates"][-ESTIMATES:]:
        name = f"{'batch' if one['kind'] == 'batch' else 'live run'} {one['number']}"
        came = f", came to {_amount(one['actual'])}" if one["actual"] else ""
        error = f", {one['error']:.1%} off" if one["error"] is not None else ""
        print_line(f"{label:<11}{name}: {_amount(one['estimated'])} estimated{came}{error}")
        label = ""
    error = document["estimate_error"]
    if error["mean"] is not None:
        print_line(f"{label:<11}off by {error['mean']:.1%} on the mean of {error['of']}")


def _amount(amounts: dict[str, Any]) -> str:
    """Return tokens and money."""
    return f"{amounts['tokens_in']:,} in, {amounts['tokens_out']:,} out, {usd(amounts['cost'])}"


def pilot_line(done: "pilot.PilotReport") -> str:
    """Return in one line what came of a pilot."""
    compared = f"; asked live as well: {done.compared.said}" if done.compared and done.compared.compared else ""
    quality = done.quality
    assert quality is not None  # noqa: S101 - a pilot without one is an error
    return f"pilot {done.pilot.number} of {done.pilot.extractor}: {quality.line}{compared}. Report: {quality.path}"


def show_pilot(document: dict[str, Any]) -> None:
    """Print the version in use, its pilot and its backfill, where the task has them."""
    if "extractor" not in document:
        return
    print_line(f"extractor  {document['extractor']}")
    if pilot := document["pilot"]:
        report = f", {pilot['report']}" if pilot["report"] else ""
        print_line(
            f"pilot      {pilot['number']}, up to {pilot['size']:,} drawn: {pilot['verdict'] or 'not over'}{report}"
        )
    if going := document["backfill"]:
        cost = usd(going["estimated_cost"])
        print_line(f"backfill   {going['extractor']} since {going['since'][:16]}: {going['items']:,}, about {cost}")
    for one in document["withdrawn"]:
        print_line(f"withdrawn  {one}: make rollback EXTRACTOR={one} goes on")


def tell_failures(report: "backfill.BackfillReport | tag.TagReport", words: "Words") -> None:
    """Say which batches failed and why, what became of their items, and what to type; nothing where none did."""
    if not report.failed:
        return
    terminal = Terminal()
    for number, why in report.failed.items():
        said = f"batch {number} failed at the API ({why})"
        terminal.error(said) if report.is_down else terminal.warn(f"{said}; its {words.many} were let go")
    if not report.is_down:
        return
    free = f"; {plural(report.left, words.one, words.many)} can be asked" if report.left else ""
    later = f"nothing more was sent{free}: run it again later" if report.left or report.under_way else ""
    listed = f"{plural(report.parked, words.one, words.many)} parked: `{words.make('parked')}`"
    gone = listed if report.parked else ""
    terminal.hint("; ".join(part for part in (later, gone) if part) or words.make("status"))


def finish_polled(report: "poll.PollReport", words: "Words") -> None:
    """End with the exit code of what needs a person, if anything does."""
    terminal = Terminal()
    for number, why in report.gone.items():
        terminal.error(f"batch {number}: {why}; it was left as it is, claims kept")
        terminal.hint(f"check the key, or give it up: make batch-cancel BATCH={number}")
    for number in report.unclear:
        terminal.error(f"batch {number}: it is unclear whether it was created")
        terminal.hint(f"{words.make('batch-submit')} finds out")
    if report.gone:
        sys.exit(3)
    if report.stopped is not None:
        raise report.stopped
    if report.unclear:
        sys.exit(4)


def show_live(report: "live_tag.TagLiveReport", words: "Words") -> None:
    """Say what failed, was skipped or is left; a run in which all went well says nothing."""
    asked, samples = report.asked, report.samples
    if not report.run:
        print_line(f"nothing to ask: {words.all_done}")
    if not report.run or not (asked.failed or report.skipped or report.left or asked.elsewhere):
        return
    parts = [f"{asked.answered:,} {words.done}", f"{report.skipped:,} skipped"]
    parts += [f"{count:,} failed ({reason})" for reason, count in asked.failed.most_common()]
    if asked.elsewhere:
        parts.append(f"{asked.elsewhere:,} answered or claimed elsewhere")
    if report.left:
        parts.append(f"{report.left:,} left")
    print_line(f"{', '.join(parts)}; {plural(asked.calls, 'call')}, {usd(asked.cost)}. Next: {words.after}")
    for name, reason in samples:
        Terminal().warn(f"{name}: {reason}")


def finish_live(report: "live_tag.TagLiveReport") -> None:
    """End with the exit code of what stopped the run, if anything did."""
    if report.asked.interrupted:
        raise KeyboardInterrupt
    if report.asked.stopped is not None:
        raise report.asked.stopped
    if report.quality is not None:
        report.quality.check()


def show_tagged(report: "tag.TagReport", words: "Words") -> None:
    """Say what came of it, and what to type next."""
    if report.pilot is not None:
        Terminal().say(pilot_line(report.pilot))
    parked = f", {report.parked:,} parked" if report.parked else ""
    if report.live is not None:
        show_live(report.live, words)
    if not report.way:
        print_line(f"nothing to tag: {words.all_done}")
    elif report.ingested:
        answered = sum(batch.answered or 0 for batch in report.ingested)
        came = plural(len(report.ingested), "batch", "batches")
        print_line(f"{answered:,} {words.done} in {came}{parked}, {usd(report.spent)} spent")
    elif report.live is None and not report.under_way:
        print_line(f"0 {words.done}{parked}, no batch is under way")
    elif report.live is None:
        sent = 0 if report.is_down else sum(one.items for one in report.submitted)
        waiting = f"{plural(report.under_way, words.one, words.many)} in batches that are not over"
        what = f"{plural(sent, words.one, words.many)} submitted" if sent else waiting
        print_line(f"{what}. Next: {words.make('tag WAIT=1')}, or {words.make('run')} now and then")
    _warn_of_tagged(report, words)


def _warn_of_tagged(report: "tag.TagReport", words: "Words") -> None:
    """Say who is left for want of money or room, and by how much a budget was passed."""
    if report.out_of_money:
        Terminal().warn(f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left")
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        Terminal().warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")
    if report.overrun > 0:
        Terminal().warn(f"spent {usd(report.overrun)} more than the budget: an estimate was too low")


def finish_tagged(report: "tag.TagReport", words: "Words") -> None:
    """End with the exit code of what stopped it, if anything did."""
    if report.live is not None:
        finish_live(report.live)
    tell_failures(report, words)
    for polled in report.polled:
        finish_polled(polled, words)
    if report.is_down:
        sys.exit(4)
    if report.reports:
        report.reports[-1].check()
