"""Ask about items: live, by batch or whichever fits; poll, ingest and cancel batches; what it will cost, and did."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import click

from jobs.options import (
    COUNT,
    MONEY,
    Deadline,
    Dry,
    Limit,
    NoResume,
    Pilot,
    Report,
    Seed,
    SkipPilot,
    Strict,
    Taken,
    Wait,
)
from jobs.output import Terminal, print_line, print_table, raise_all
from pipeline.batch import cancel, poll, submit
from pipeline.batch import report as accounts
from pipeline.batch.ask import LiveReport
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.prepare import Selection
from pipeline.batch.report import KEYS, BatchSummary, list_batches, time_words
from pipeline.batch.submit import Submitted
from pipeline.core.states import SUPPORTS_NONE
from pipeline.core.step import Step
from pipeline.core.text import first_few, plural, usd
from pipeline.engine.questions import check_any_items
from pipeline.engine.task import Words
from pipeline.engine.workspace import OpenWorkspace
from pipeline.workflows import preflight as estimates
from pipeline.workflows import rounds
from pipeline.workflows import tag as tagging
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import Rounds

OUTDATED = 10  # of what was answered for an earlier text, that are named
COUNTS = (
    *("requests", "answered", "refused", "invalid", "missing", "not_applied", "unknown", "duplicates", "unreadable"),
    *("tokens_in", "tokens_out", "cost"),
)


def batch_submit(
    ws: OpenWorkspace, *, limit: Limit = None, dry: Dry = False, pilot: Pilot = None, skip_pilot: SkipPilot = False
) -> Report:
    """Submit batches for all items that are open: for all untagged people with a bio, or for those of TASK.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to interrupt: no item is
    asked twice, and a batch whose create call was lost is found again. Above FINDABLE_CONFIRM_ABOVE (USD) it asks
    first.
    """
    words = ws.task.words
    if dry:
        ws.bring_items()
        would = Submitted(submit.plan_all(ws, Selection(limit)))
        document = would.document(ws.model, dry=True)
        if would.plan.items:
            said = f"would submit {submit.priced(ws, would.plan)}; no batch was written or sent"
            return Report(document, said)
        check_any_items(ws.store, ws.task)
        return Report(document, _submitted(would, words))

    rounds.begin(ws)
    going = Rounds(ws, limit=limit, judges=False)
    if done := tagging.clear(ws, size=pilot, skip=skip_pilot, limit=limit, agreed=False):
        ws.display.say(_pilot_line(done))
    limit = going.left()
    sent = going.submit(agreed=False, patient=False)
    if (no_money := going.end().no_money) is not None:
        raise no_money
    said = f"{words.step('batch-submit')} asks the rest" if limit == 0 else _submitted(sent, words)
    return Report(sent.document(ws.model, dry=False), said)


def _submitted(sent: Submitted, words: Words) -> str:
    if not sent.plan.items and not sent.sent:
        return f"nothing to submit: {words.all_done}"
    if not sent.sent:
        if sent.summary:
            return f"nothing was submitted: {sent.summary}. Next: {words.step('batch-poll')}"
        return "nothing was left to submit: it is under way already"
    after = words.step("batch-poll" if set(sent.sent.values()) != {"rebuilt"} else "status")
    return f"submitted {plural(sent.items, words.one, words.many)}: {sent.summary}. Next: {after}"


def batch_poll(
    ws: OpenWorkspace, *, wait: Annotated[bool, Taken("Wait until all are over, or look once.", bool)] = True
) -> Report:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not show a batch any more; 4:
    it is unclear whether a batch was created, `batch-submit` finds out.
    """
    report, words = poll.run(ws, wait=wait), ws.task.words
    return Report(report.document(), _polled(report, words), lambda: raise_all(report.errors(words)))


def _polled(report: poll.PollReport, words: Words) -> str:
    parts = []
    if report.downloaded:
        parts.append(f"{plural(len(report.downloaded), 'batch', 'batches')} downloaded")
    parts += [
        f"batch {number} failed ({why}), its {words.many} can be asked again" for number, why in report.failed.items()
    ]
    if report.waiting:
        parts.append(f"{plural(len(report.waiting), 'batch', 'batches')} not over yet")
    if not parts:
        troubled = report.gone or report.unclear
        return "no batch was downloaded" if troubled else "nothing to poll: no batch is at the API"
    following = "batch-ingest" if report.downloaded else "batch-poll" if report.waiting else ""
    return f"{'; '.join(parts)}. Next: {words.step(following) if following else words.again}"


def batch_ingest(ws: OpenWorkspace, *, strict: Strict = False) -> Report:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is counted as answered, refused, invalid or missing; failed ones are asked once more in the next
    batch, then parked. Safe to repeat and to interrupt. A report on the answers is written into DATA/reports; if a gate
    fails it is a warning, with --strict exit code 6, and the answers are stored anyway.
    """
    (report, failures), words = rounds.ingest_all(ws), ws.task.words
    for quality in (one for one in report.reports.values() if any(gate.passed is not None for gate in one.gates)):
        ws.display.say(f"quality: {quality.line} ({quality.path})")
    is_any_failed = any(one.batch.refused or one.batch.invalid or one.batch.missing for one in report.ingested)
    after = f"Next: {words.after}{f', and {words.again} for what failed' if is_any_failed else ''}"

    def show() -> None:
        for account in report.ingested:
            _show_account(account, words)
        if not failures:
            print_line(after if report.ingested else "nothing to ingest: no batch is downloaded")

    def check() -> None:
        raise_all(failures)
        report.finish(words, Terminal(), strict=strict)

    return Report([_account_document(one) for one in report.ingested], show, check)


def _show_account(account: IngestSummary, words: Words) -> None:
    """Print one line for a batch, and a table of what went wrong in it; what comes next is the command's to say."""
    batch, terminal = account.batch, Terminal()
    failed = {name: getattr(batch, name) for name in ("refused", "invalid", "missing") if getattr(batch, name)}
    rest = "".join(f", {count:,} {name}" for name, count in failed.items())
    answered = plural(batch.answered or 0, "answer")
    print_line(
        f"batch {batch.number}: {answered} of {batch.requests:,}{rest}; "
        f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {usd(batch.cost or 0)}"
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
            f"{plural(batch.not_applied, 'answer')} not applied ({first_few(account.unapplied)}): the {words.one} was "
            f"removed or answered meanwhile, or is parked: `{words.step('parked')}` says why"
        )
    if account.outdated:
        terminal.warn(f"answered for an earlier {words.input}: {first_few(account.outdated, OUTDATED)}")
    if account.other_versions:
        terminal.warn(f"asked {batch.model}, answered by {', '.join(account.other_versions)}")


def _account_document(account: IngestSummary) -> dict[str, object]:
    batch = account.batch
    return {
        "batch": batch.number,
        **{name: getattr(batch, name) for name in COUNTS},
        "reasons": [
            {"outcome": odd.outcome, "reason": odd.reason, "count": odd.count, "examples": odd.examples}
            for odd in account.anomalies
        ],
        **{name: getattr(account, name) for name in ("unapplied", "outdated", "other_versions")},
    }


def batch_cancel(ws: OpenWorkspace, *, batch: Annotated[int, Taken("", COUNT)]) -> Report:
    """Cancel a batch at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    said, after = cancel.run(ws, number=batch)
    return Report({"batch": batch, "said": said, "next": str(after)}, f"batch {batch}: {said}. Next: {after}")


def batches(ws: OpenWorkspace) -> Report:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    rows, words = list_batches(ws.store, now=ws.now()), ws.task.words

    def show() -> None:
        headers = ("batch", "task", "state", "remote", "rows", "done", "cost", "begun", "took", "reason")
        several = len({row.batch.task for row in rows}) > 1
        shown = [at for at, name in enumerate(headers) if several or name != "task"]
        print_table([headers[at] for at in shown], [[_batch_cells(row)[at] for at in shown] for row in rows])

    none = f"no batches yet. Next: {words.step('batch-submit')}"
    return Report([row.document for row in rows], show if rows else none)


def _batch_cells(row: BatchSummary) -> tuple[object, ...]:
    """Return one batch as a line of the table; estimated costs are marked, and times of batches that are not over."""
    cost, batch = usd(row.cost) if row.is_actual else f"~{usd(row.cost)}", row.batch
    took = row.age_words if batch.is_over else f"{row.age_words} …"
    return (
        *(batch.number, batch.task, batch.state.value, batch.remote_name or "-", batch.requests),
        *(row.done, cost, f"{batch.created_at:%Y-%m-%d %H:%M}", took, batch.reason or ""),
    )


SPENT = ("batches", "live calls", "tokens in", "tokens out", "cost", "lost calls", "perhaps lost", "under way")


def costs(
    ws: OpenWorkspace, *, by: Annotated[str, Taken("Add up by which of these.", click.Choice(KEYS))] = "day"
) -> Report:
    """Add up what batches and live calls have cost, by day, task, model or batch.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and is told apart, as what is
    under way is, at estimates. Embeddings are not counted.
    """
    found = accounts.costs(ws.store, ws.tasks, by=by)

    def show() -> None:
        first = "day (US/Pacific)" if by == "day" else by
        rows = [*found["rows"], {by: "all"} | found["total"]]
        print_table((first, *SPENT), [(one[by], *_spent(one)) for one in rows])

    return Report(found, show if found["rows"] else f"nothing was sent yet. Next: {Step('tag', dry=True)}")


def _spent(row: Mapping[str, Any]) -> tuple[str, ...]:
    lost, under_way = (f"~{usd(row[name])}" if row[name] else "-" for name in ("lost", "under_way"))
    counts = (f"{row[name]:,}" for name in ("batches", "calls", "tokens_in", "tokens_out"))
    return (*counts, usd(row["cost"]), f"{row['lost_calls'] or '-'}", lost, under_way)


def tag(
    ws: OpenWorkspace,
    *,
    mode: Annotated[str, Taken("", click.Choice(tagging.MODES))] = "auto",
    limit: Limit = None,
    budget: Annotated[float | None, Taken("Most USD that it may spend.", MONEY)] = None,
    deadline: Deadline = None,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    wait: Wait = None,
    strict: Strict = False,
    dry: Dry = False,
    no_resume: NoResume = False,
    backfill: Annotated[bool, Taken()] = False,
) -> Report:
    """Estimate the cost of tagging, then tag all untagged people by batch, flex or live: the cheapest that is in time.

    With --dry it shows cost and time of each way, spends nothing and needs no key. Flex are calls at half price, which
    the API sheds where it is busy, and which are tried again; at full price it asks first, unless MODE=live says so.

    With TASK=passages, or your own task, its items. Nothing more is started if the budget would be exceeded. A killed
    run resumes, and until no item is left its budget holds for `run` and for `tag` without one, too. Above
    FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal. If a quality gate of a pilot
    fails, the exit code is 6; later a failed gate is a warning, with --strict exit code 6. The answers are stored.
    """
    words = ws.task.words
    if dry:
        estimated = estimates.run(ws, limit=limit, deadline_s=deadline)
        return Report(estimated.document(), lambda: _show_estimated(estimated, words))
    if no_resume:
        tagging.choose_new_version(ws)
    wanted = tagging.TagOptions(mode, limit, budget, deadline, wait, pilot, skip_pilot, backfill)
    report = tagging.run(ws, wanted)
    if backfill and report.quality is not None:
        ws.display.say(f"quality: {report.quality.line} ({report.quality.path})")
    shown = _backfilled(report, words) if backfill else partial(_show_tagged, report, words)
    return Report(report.document(), shown, lambda: report.finish(words, Terminal(), strict=strict))


def _show_tagged(report: rounds.Report, words: Words) -> None:
    if report.pilot is not None:
        Terminal().say(_pilot_line(report.pilot))
    parked = f", {report.parked:,} parked" if report.parked else ""
    waiting = f"{plural(report.under_way, words.one, words.many)} in batches that are not over"
    later = f"Next: {words.step('tag WAIT=1')}, or {words.step('work', once=True)} now and then"
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
        _show_live(report, words)
    if report.out_of_money:
        Terminal().warn(f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left")
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        Terminal().warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")


def _show_live(report: rounds.Report, words: Words) -> None:
    asked = report.live or LiveReport()
    if not (asked.done or report.unasked):
        print_line(f"nothing to ask: {words.all_done}")
        return
    parts = [f"{asked.answered:,} {words.done}"]
    for reason, count in asked.failed.most_common():
        is_aside = reason.startswith(SUPPORTS_NONE)
        parts.append(f"{count:,} set aside: {reason}" if is_aside else f"{count:,} failed ({reason})")
    if report.unasked:
        parts.append(f"{report.unasked:,} left")
    after = f". Next: {words.after}" if asked.answered else ""
    print_line(f"{', '.join(parts)}; {plural(asked.calls, 'call')}, {usd(asked.cost)}{after}")
    for name, reason in asked.samples:
        Terminal().warn(f"{name}: {reason}")


def _show_estimated(estimated: Preflight, words: Words) -> None:
    if estimated.waiting.items:
        what, cost = estimated.waiting.about(words), usd(estimated.waiting.cost)
        print_line(f"{what} in batches that an earlier run prepared go out with it, estimated {cost}")
    if not estimated.plan.items:
        print_line(f"nothing to ask: {words.all_done}")
        return
    used = estimated.plan.usage
    items = estimated.plan.about(words)
    answers = estimated.known.answers
    known = f"learned from {answers:,} answers" if answers else "from the texts alone"
    print_line(
        f"{estimated.model}: {items}, about {used.prompt:,} tokens in and {used.answer + used.thoughts:,} out "
        f"({known}; ±{estimated.known.error:.0%})"
    )
    ways = {name: one for name, one in estimated.ways.items() if name == "batch" or not one.absent}
    kinds: dict[bool, tuple[str, ...]] = {True: ("batch", "batches"), False: ("call",)}
    cells = [
        (name, usd(one.cost), time_words(one.seconds), plural(one.count, *kinds[name == "batch"]))
        for name, one in ways.items()
    ]
    print_table(("way", "cost", "time", "sends"), cells)
    for name, mode in ways.items():
        for warning in mode.warnings:
            Terminal().warn(f"{name}: {warning}")
    print_line(f"recommended: {estimated.recommended or 'nothing yet'}, because {estimated.reason}")


def passages_pilot(
    ws: OpenWorkspace,
    *,
    n: Annotated[int | None, Taken("How many passages to try; 200 without it.", COUNT)] = None,
    seed: Seed = None,
    no_resume: NoResume = False,
) -> Report:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate fails the exit code is 6.
    `passages-backfill` asks about all passages only after a pilot has passed. A killed pilot resumes.
    """
    plain = ws.task.label if "version" not in ws.settings.sources else None
    if no_resume:
        tagging.choose_new_version(ws)
    done = tagging.run_pilot(ws, size=n, seed=seed)
    after = Step("passages-backfill", version=None if ws.task.label == plain else ws.task.label)
    is_passed = done.quality is not None and done.quality.passed
    said = _pilot_line(done) + (f". Next: {after}" if is_passed else "")
    return Report(done.document(), said, lambda: done.check(Terminal(), strict=True))


def _pilot_line(done: rounds.Report) -> str:
    quality, drawn = done.quality, done.drawn
    assert quality is not None and drawn is not None  # noqa: S101, PT018 - a pilot without one is an error
    return f"pilot {drawn.number} of {drawn.extractor}: {quality.line}. Report: {quality.path}"


def _backfilled(report: rounds.Report, words: Words) -> str:
    if report.is_over:
        parked = f" ({report.parked:,} just now)" if report.parked else ""
        return f"{report.extractor}: {words.all_done}{parked}. Next: {words.after}"
    held = f"; {report.held_back}" if report.held_back else ""
    after = f"{Step('passages-backfill', wait=True)}, or {words.step('work', once=True)} now and then"
    return f"{report.extractor}: {report.under_way:,} {words.many} under way, {report.left:,} left{held}. Next: {after}"
