"""Print what several commands have in common, of batches, pilots and tagging, and end with their exit codes."""

import sys
from typing import TYPE_CHECKING

from jobs.output import Terminal, plural, print_line, print_table, usd
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.poll import PollReport
from pipeline.batch.prepare import BatchPlan
from pipeline.core.text import first_few
from pipeline.engine.task import Words

if TYPE_CHECKING:
    from pipeline.tables.findings import Finding, FindingGroup, ImportReport
    from pipeline.workflows.pilot import PilotReport
    from pipeline.workflows.rounds import Report
    from pipeline.workflows.tag_live import TagLiveReport

OUTCOMES = ("requests", "answered", "refused", "invalid", "missing", "not_applied")
OUTDATED = 10  # of what was answered for an earlier text, that are named
COUNTS = (*OUTCOMES, "unknown", "duplicates", "unreadable", "tokens_in", "tokens_out", "cost")


def asked_about(plan: BatchPlan, words: Words) -> str:
    """Return how many items a plan is about and, where some ask the same, how many questions they are."""
    items = plural(plan.items, words.one, words.many)
    return items if plan.requests == plan.items else f"{items}, {plural(plan.requests, 'question')}"


def show_account(account: IngestSummary, words: Words) -> None:
    """Print one line for a batch, and a table of what went wrong in it; what comes next is the command's to say."""
    batch, terminal = account.batch, Terminal()
    failed = {name: getattr(batch, name) for name in ("refused", "invalid", "missing") if getattr(batch, name)}
    rest = "".join(f", {count:,} {name}" for name, count in failed.items())
    answered = plural(batch.answered or 0, "answer")
    asked = f" ({plural(batch.requests, 'question')})" if batch.accounted != batch.requests else ""
    print_line(
        f"batch {batch.number}: {answered} of {batch.accounted:,}{asked}{rest}; "
        f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {usd(batch.cost or 0)}"
    )
    if account.anomalies:
        examples = [
            "; ".join(f"{name} {text}".strip()[:60] for name, text in odd.examples) for odd in account.anomalies
        ]
        rows = [
            (odd.outcome, odd.count, odd.reason, shown) for odd, shown in zip(account.anomalies, examples, strict=True)
        ]
        print_table(("outcome", "count", "reason", "examples"), rows)
    if batch.not_applied:
        terminal.warn(
            f"{plural(batch.not_applied, 'answer')} not applied ({first_few(account.unapplied)}): the {words.one} was "
            f"removed or answered meanwhile, or is parked: `{words.make('parked')}` says why"
        )
    if account.outdated:
        terminal.warn(f"answered for an earlier {words.input}: {first_few(account.outdated, OUTDATED)}")
    if account.other_versions:
        terminal.warn(f"asked {batch.model}, answered by {', '.join(account.other_versions)}")


def account_document(account: IngestSummary) -> dict[str, object]:
    """Return one account for programs."""
    batch = account.batch
    return {
        "batch": batch.number,
        **{name: getattr(batch, name) for name in COUNTS},
        "reasons": [
            {"outcome": odd.outcome, "reason": odd.reason, "count": odd.count, "examples": odd.examples}
            for odd in account.anomalies
        ],
        "unapplied": account.unapplied,
        "outdated": account.outdated,
        "other_versions": account.other_versions,
    }


def pilot_line(done: "PilotReport") -> str:
    """Return the result of a pilot in one line."""
    quality = done.quality
    assert quality is not None  # noqa: S101 - a pilot without one is an error
    return f"pilot {done.pilot.number} of {done.pilot.extractor}: {quality.line}. Report: {quality.path}"


def finish(report: "Report", words: Words) -> None:
    """Print which batches failed or need a person, and end with the exit code of that, or of a failed gate."""
    terminal = Terminal()
    for number, why in report.failed.items():
        said = f"batch {number} failed at the API ({why})"
        terminal.error(said) if report.is_down else terminal.warn(f"{said}; its {words.many} were released")
    if report.is_down:
        free = f"; {plural(report.left, words.one, words.many)} can be asked" if report.left else ""
        later = f"nothing more was sent{free}: run it again later" if report.left or report.under_way else ""
        listed = f"{plural(report.parked, words.one, words.many)} parked: `{words.make('parked')}`"
        parts = [later, listed if report.parked else ""]
        terminal.hint("; ".join(filter(None, parts)) or words.make("status"))
    finish_polled(report.polled, words)
    if report.is_down:
        sys.exit(4)
    for quality in report.reports.values():
        quality.check()


def finish_polled(report: PollReport, words: Words) -> None:
    """Print what polling met, and end with the exit code of that."""
    errors, terminal = report.errors(words), Terminal()
    for error in errors:
        terminal.error(error.message)
        terminal.hint(error.hint)
    if errors:
        sys.exit(errors[0].exit_code)


def show_live(report: "TagLiveReport", words: Words) -> None:
    """Print what came of a run, what failed, was skipped or is left, and what comes next."""
    asked, samples = report.asked, report.samples
    if report.total == report.skipped:
        print_line(f"nothing to ask: {words.all_done}")
        return
    parts = [f"{asked.answered:,} {words.done}"]
    if report.skipped:
        parts.append(f"{report.skipped:,} skipped")
    parts += [f"{count:,} failed ({reason})" for reason, count in asked.failed.most_common()]
    if asked.elsewhere:
        parts.append(f"{asked.elsewhere:,} answered or claimed elsewhere")
    if report.left:
        parts.append(f"{report.left:,} left")
    after = f". Next: {words.after}" if asked.answered else ""
    print_line(f"{', '.join(parts)}; {plural(asked.calls, 'call')}, {usd(asked.cost)}{after}")
    for name, reason in samples:
        Terminal().warn(f"{name}: {reason}")


def finish_live(report: "TagLiveReport") -> None:
    """End with the exit code of what stopped the run, or of a failed gate."""
    if report.asked.interrupted:
        raise KeyboardInterrupt
    if report.asked.stopped is not None:
        raise report.asked.stopped
    if report.quality is not None:
        report.quality.check()


def show_tagged(report: "Report", words: Words) -> None:
    """Print the result, and what to type next."""
    if report.pilot is not None:
        Terminal().say(pilot_line(report.pilot))
    parked = f", {report.parked:,} parked" if report.parked else ""
    waiting = f"{plural(report.under_way, words.one, words.many)} in batches that are not over"
    later = f"Next: {words.make('tag WAIT=1')}, or {words.make('run')} now and then"
    if not report.mode:
        print_line(f"nothing to tag: {words.all_done}")
    elif report.ingested:
        answered = sum(one.batch.taken for one in report.ingested)
        came = plural(len(report.ingested), "batch", "batches")
        after = f"; {waiting}. {later}" if report.under_way else "" if report.is_down else f". Next: {words.after}"
        after = "" if report.live else after  # live calls say it
        print_line(f"{answered:,} {words.done} in {came}{parked}, {usd(report.spent)} spent{after}")
    elif report.live is None and not report.under_way:
        print_line(f"0 {words.done}{parked}, no batch is under way")
    elif report.live is None:
        sent = 0 if report.is_down else report.items
        print_line(f"{plural(sent, words.one, words.many)} submitted. {later}" if sent else f"{waiting}. {later}")
    if report.live is not None:
        show_live(report.live, words)
    if report.out_of_money:
        Terminal().warn(f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left")
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        Terminal().warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")
    if report.overrun > 0:
        Terminal().warn(f"spent {usd(report.overrun)} more than the budget: an estimate was too low")


def finish_tagged(report: "Report", words: Words) -> None:
    """End with the exit code of what stopped the run, or of a failed gate."""
    if report.live is not None:
        finish_live(report.live)
    finish(report, words)


def show_import(done: "ImportReport", *, words: tuple[str, str], released: str, more: str = "") -> None:
    """Print the findings of an import by reason, the notes, and one line of result."""
    terminal = Terminal()
    for group in done.groups.values():
        terminal.warn(_group_line(group) if group.count > 1 else _line(group.examples[0]))
    if done.report is None and any(group.count > len(group.examples) for group in done.groups.values()):
        terminal.say("note: REPORT=rejects.csv lists all of them (--report)")
    for note in done.notes:
        terminal.say(f"note: {note}")
    if done.rows_in:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in done.counts.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged{more}"
        would, untouched = (" would go", "; nothing was written") if done.dry else ("", "")
        print_line(f"{plural(done.rows_in, *words)}{would} in: {counts}{'; ' + found if found else ''}{untouched}")
    if done.released:
        would = "would be " if done.dry else ""
        print_line(f"{plural(done.released, *words)} {would}unparked, to be asked again {released}")


def _group_line(group: "FindingGroup") -> str:
    """Return the findings of one reason as one line: how many, and the first three."""
    shown = []
    for finding in group.examples:
        value = f" ({finding.value})" if finding.value else ""
        shown.append(f"line {finding.line}{value}")
    column = f" in {group.column}" if group.column else ""
    more = ", …" if group.count > len(shown) else ""
    return f"{group.kind.value}: {group.count:,} times{column}: {group.reason}: {', '.join(shown)}{more}"


def _line(finding: "Finding") -> str:
    where = f"line {finding.line}" + (f", {finding.column}" if finding.column else "")
    whose = f" [{finding.key}]" if finding.key else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{whose}"
