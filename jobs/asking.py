"""Ask about items: live, by batch or whichever fits; poll, ingest and cancel batches; what it will cost, and did."""

import contextlib
import sys
from typing import Annotated

import click

from jobs.command import (
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
    Taken,
    command,
    confirmed,
    goes_on,
    look_at_workspace,
    open_workspace,
    read_workspace,
    wants_json,
)
from jobs.output import Terminal, for_money, plural, print_json, print_line, print_table, usd
from pipeline.batch import cancel, poll, submit
from pipeline.batch import report as accounts
from pipeline.batch.ask import LiveReport
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.batch.report import KEYS, Amounts, BatchSummary, list_batches
from pipeline.batch.submit import Submitted
from pipeline.core.states import SUPPORTS_NONE
from pipeline.core.text import first_few
from pipeline.engine.questions import check_any_items
from pipeline.engine.task import Words
from pipeline.workflows import preflight as estimates
from pipeline.workflows import rounds, tag
from pipeline.workflows.preflight import ModeEstimate, Preflight, format_duration
from pipeline.workflows.rounds import Rounds

OUTDATED = 10  # of what was answered for an earlier text, that are named
COUNTS = (
    *("requests", "answered", "refused", "invalid", "missing", "not_applied", "unknown", "duplicates", "unreadable"),
    *("tokens_in", "tokens_out", "cost"),
)


@command("batch-submit")
def submit_open(*, limit: Limit = None, dry: Dry = False, pilot: Pilot = None, skip_pilot: SkipPilot = False) -> Report:
    """Submit batches for all untagged people with a bio; with TASK=passages, or your own task, for all open items.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to interrupt: no item is
    asked twice, and a batch whose create call was lost is found again. Above FINDABLE_CONFIRM_ABOVE (USD) it asks
    first.
    """
    with (look_at_workspace if dry else open_workspace)() as ws:
        words, day = ws.task.words, ws.model.priced_on.isoformat()

        def announce(plan: BatchPlan) -> None:
            what = _sentence(plan, day, words) if plan.items else "resuming an earlier run"
            ws.display.say(f"{ws.model.name}, {what}")

        if dry:
            ws.bring_items()
            sent = Submitted(submit.plan_all(ws, Selection(limit)))
            if not sent.plan.items:
                check_any_items(ws.store, ws.task)
        else:
            rounds.begin(ws)
            going = Rounds(ws, limit=limit, judges=False)
            if pilot is None:
                tag.check_first(ws, skip=skip_pilot)
            elif done := tag.run_first(
                ws, size=pilot, skip=skip_pilot, limit=limit, announce=announce, confirm=goes_on
            ):
                ws.display.say(_pilot_line(done))
            limit = going.left()
            sent = going.submit(agree=submit.agreeing(ws, announce=announce, confirm=goes_on), patient=False)
            if (no_money := going.end().no_money) is not None:
                raise no_money
        document = sent.document(ws.model, dry=dry)
    if dry and sent.plan.items:
        return Report(document, f"would submit {_sentence(sent.plan, day, words)}; no batch was written or sent")
    return Report(document, f"{words.make('batch-submit')} asks the rest" if limit == 0 else _submitted(sent, words))


def _sentence(plan: BatchPlan, priced_on: str, words: Words) -> str:
    tokens = f"about {plan.usage.prompt:,} tokens in and {plan.usage.answer + plan.usage.thoughts:,} out"
    what = f"{_asked_about(plan, words)} in {plural(plan.batches, 'batch', 'batches')}"
    return f"{what}: {tokens}, estimated {usd(plan.cost)} (prices of {priced_on})"


def _asked_about(plan: BatchPlan, words: Words) -> str:
    """Return how many items a plan is about and, where some ask the same, how many questions they are."""
    items = plural(plan.items, words.one, words.many)
    return items if plan.requests == plan.items else f"{items}, {plural(plan.requests, 'question')}"


def _submitted(sent: Submitted, words: Words) -> str:
    if not sent.plan.items and not sent.sent:
        return f"nothing to submit: {words.all_done}"
    if not sent.sent:
        if sent.summary:
            return f"nothing was submitted: {sent.summary}. Next: {words.make('batch-poll')}"
        return "nothing was left to submit: another process took it"
    after = words.make("batch-poll" if set(sent.sent.values()) != {"rebuilt"} else "status")
    return f"submitted {plural(sent.items, words.one, words.many)}: {sent.summary}. Next: {after}"


@command("batch-poll")
def poll_open(
    *, wait: Annotated[bool, Taken("Wait until all are over, or look once.", names="--wait/--no-wait")] = True
) -> Report:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not show a batch any more; 4:
    it is unclear whether a batch was created, `batch-submit` finds out.
    """
    with open_workspace() as ws:
        report, words = poll.run(ws, wait=wait), ws.task.words
    return Report(report.document(), _polled(report, words), lambda: _finish_polled(report, words))


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
    return f"{'; '.join(parts)}. Next: {words.make(following) if following else words.again}"


def _finish_polled(report: poll.PollReport, words: Words) -> None:
    errors, terminal = report.errors(words), Terminal()
    for error in errors:
        terminal.error(error.message)
        terminal.hint(error.hint)
    if errors:
        sys.exit(errors[0].exit_code)


@command("batch-ingest")
def ingest_downloaded() -> Report:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is counted as answered, refused, invalid or missing; failed ones are asked once more in the next
    batch, then parked. Safe to repeat and to interrupt. A report on the answers is written into DATA/reports; if one of
    its gates fails the exit code is 6, and the answers are stored anyway.
    """
    documents: list[dict[str, object]] = []
    as_json = wants_json()
    with contextlib.ExitStack() as failing, open_workspace() as ws:
        if as_json:  # also if a batch cannot be ingested, the others are in the document
            failing.callback(lambda: print_json(documents))
        words = ws.task.words

        def show(account: IngestSummary) -> None:
            documents.append(_account_document(account)) if as_json else _show_account(account, words)

        going = Rounds(ws, ingested=show)
        going.ingest()
        report = going.end()
        for quality in (one for one in report.reports.values() if one.is_judged):
            ws.display.say(f"quality: {quality.line} ({quality.path})")
        failing.pop_all()
    is_any_failed = any(one.batch.refused or one.batch.invalid or one.batch.missing for one in report.ingested)
    after = f"Next: {words.after}{f', and {words.again} for what failed' if is_any_failed else ''}"
    said = after if report.ingested else "nothing to ingest: no batch is downloaded"
    return Report(documents, said, lambda: _finish(report, words))


def _show_account(account: IngestSummary, words: Words) -> None:
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
            f"removed or answered meanwhile, or is parked: `{words.make('parked')}` says why"
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


def _finish(report: rounds.Report, words: Words) -> None:
    """Print which batches failed or need a person, and end with the exit code of that, or of a failed gate."""
    if report.live is not None and report.live.interrupted:
        raise KeyboardInterrupt
    if report.live is not None and report.live.stopped is not None:
        raise report.live.stopped
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
    _finish_polled(report.polled, words)
    if report.is_down:
        sys.exit(4)
    report.check()


@command("batch-cancel")
def cancel_one(number: Annotated[int, Taken(None, COUNT, env="BATCH")]) -> Report:
    """Cancel batch NUMBER at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    with open_workspace(whole=True) as ws:
        report = cancel.run(ws, number=number, confirm=confirmed)
    document = {"batch": report.number, "said": report.said, "next": report.next}
    return Report(document, f"batch {report.number}: {report.said}. Next: {report.next}")


@command("batches")
def list_all() -> Report:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    with read_workspace(whole=True) as ws:
        rows, words = list_batches(ws.store, now=ws.now()), ws.task.words

    def show() -> None:
        headers = ("batch", "task", "state", "remote", "rows", "done", "cost", "begun", "took", "reason")
        several = len({row.batch.task for row in rows}) > 1
        shown = [at for at, name in enumerate(headers) if several or name != "task"]
        print_table([headers[at] for at in shown], [[_batch_cells(row)[at] for at in shown] for row in rows])

    none = f"no batches yet. Next: {words.make('batch-submit')}"
    return Report([row.document for row in rows], show if rows else none)


def _batch_cells(row: BatchSummary) -> tuple[object, ...]:
    """Return one batch as a line of the table; estimated costs are marked, and times of batches that are not over."""
    cost, batch = usd(row.cost) if row.is_actual else f"~{usd(row.cost)}", row.batch
    took = row.age_words if batch.is_over else f"{row.age_words} …"
    return (
        *(batch.number, batch.task, batch.state.value, batch.remote_name or "-", batch.requests),
        *(row.done, cost, f"{batch.created_at:%Y-%m-%d %H:%M}", took, batch.reason or ""),
    )


@command("costs")
def list_costs(*, by: Annotated[str, Taken("Add up by which of these.", click.Choice(KEYS))] = "day") -> Report:
    """Add up what batches and live calls have cost, by day, task, model or batch.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and is told apart, as what is
    under way is, at estimates. Embeddings are not counted.
    """
    with read_workspace(whole=True) as ws:
        report = accounts.costs(ws.store, ws.tasks, by=by)

    def show() -> None:
        headers = (
            "batches",
            "live calls",
            "tokens in",
            "tokens out",
            "cost",
            "lost calls",
            "perhaps lost",
            "under way",
        )
        rows = [*report.rows.items(), ("all", report.total)]
        first = "day (US/Pacific)" if by == "day" else by
        print_table((first, *headers), [(key, *_spent(amounts)) for key, amounts in rows])

    return Report(report.document, show if report.rows else "nothing was sent yet. Next: make preflight")


def _spent(amounts: Amounts) -> tuple[str, ...]:
    """Return amounts as the cells of a line; estimates are marked."""
    counts = (amounts.batches, amounts.calls, amounts.tokens_in, amounts.tokens_out)
    lost, under_way = (f"~{usd(one)}" if one else "-" for one in (amounts.lost, amounts.under_way))
    return (*(f"{one:,}" for one in counts), usd(amounts.cost), f"{amounts.lost_calls or '-'}", lost, under_way)


@command("tag")
def main(
    *,
    mode: Annotated[str, Taken("", click.Choice(tag.MODES))] = "auto",
    if_shed: Annotated[
        str, Taken("What flex shed by DEADLINE: asked by flex still, or otherwise.", click.Choice(tag.SHED))
    ] = "wait",
    limit: Limit = None,
    budget: Annotated[float | None, Taken("Most USD that it may spend.", MONEY)] = None,
    deadline: Deadline = None,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    wait: Annotated[bool | None, Taken("Poll and ingest batches, too.", names="--wait/--no-wait")] = None,
) -> Report:
    """Estimate the cost of tagging, then tag all untagged people by batch, flex or live: the cheapest that is in time.

    Flex are calls at half price, which the API sheds where it is busy, and which are tried again; at full price it asks
    first, unless MODE=live says so.

    With TASK=passages, or your own task, its items. Nothing more is started if the budget would be exceeded. A killed
    run resumes, and until no item is left its budget holds for `run` and for `tag` without one, too. Above
    FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal. If a quality gate fails, with
    a pilot or without, the exit code is 6, and the answers are stored.
    """
    wanted = tag.TagOptions(
        mode=mode,
        limit=limit,
        budget=budget,
        deadline_s=deadline,
        if_shed=if_shed,
        pilot=pilot,
        skip_pilot=skip_pilot,
        wait=wait,
    )
    with open_workspace() as ws:
        words = ws.task.words

        def announce(estimated: Preflight, mode: str, reason: str) -> None:
            plan, cost = estimated.going_out(mode)
            ws.display.say(f"{ws.model.name}: {_asked_about(plan, words)} {mode}, estimated {usd(cost)}; {reason}")

        report = tag.run(ws, wanted, announce=announce, confirm=goes_on)

    return Report(report.document(), lambda: _show_tagged(report, words), lambda: _finish(report, words))


def _show_tagged(report: rounds.Report, words: Words) -> None:
    if report.pilot is not None:
        Terminal().say(_pilot_line(report.pilot))
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
        _show_live(report, words)
    if report.out_of_money:
        Terminal().warn(f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left")
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        Terminal().warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")
    if report.overrun > 0:
        Terminal().warn(f"spent {usd(report.overrun)} more than the budget: an estimate was too low")


@command("tag-live")
def tag_live(*, limit: Limit = None, skip_pilot: SkipPilot = False) -> Report:
    """Tag all untagged people with a bio now, at full price; with TASK=passages, or your own task, its items.

    Keeps to the limits of the model and tier (FINDABLE_RPM, FINDABLE_TPM, FINDABLE_RPD). Safe to repeat and to
    interrupt: no answered item is asked again. Ctrl-C lets running calls finish; a second one does not. If a quality
    gate fails the exit code is 6, and the answers are stored.
    """
    with open_workspace() as ws:
        rounds.begin(ws)
        tag.check_first(ws, skip=skip_pilot)
        going, words = Rounds(ws, limit=limit), ws.task.words
        going.ask_live()
        report = going.end()
    return Report(report.live_document(), lambda: _show_live(report, words), lambda: _finish(report, words))


def _show_live(report: rounds.Report, words: Words) -> None:
    """Print what came of our own calls, what failed, was skipped or is left, and what comes next."""
    asked = report.live or LiveReport()
    if not (asked.done or report.unasked):
        print_line(f"nothing to ask: {words.all_done}")
        return
    parts = [f"{asked.answered:,} {words.done}"]
    if report.skipped:
        parts.append(f"{report.skipped:,} skipped")
    for reason, count in asked.failed.most_common():
        is_aside = reason.startswith(SUPPORTS_NONE)
        parts.append(f"{count:,} set aside: {reason}" if is_aside else f"{count:,} failed ({reason})")
    if asked.elsewhere:
        parts.append(f"{asked.elsewhere:,} answered or claimed elsewhere")
    if report.unasked:
        parts.append(f"{report.unasked:,} left")
    after = f". Next: {words.after}" if asked.answered else ""
    print_line(f"{', '.join(parts)}; {plural(asked.calls, 'call')}, {usd(asked.cost)}{after}")
    for name, reason in asked.samples:
        Terminal().warn(f"{name}: {reason}")


@command("preflight")
def preflight(*, limit: Limit = None, deadline: Deadline = None) -> Report:
    """Estimate cost and time of tagging all untagged people, by batch, by flex and live, and recommend one.

    With TASK=passages, or your own task, of asking about its items. Spends nothing and needs no key.
    """
    with read_workspace(brings_items=True) as ws:
        estimated, words = estimates.run(ws, limit=limit, deadline_s=deadline), ws.task.words
    return Report(estimated.document(), lambda: _show_estimated(estimated, words))


def _show_estimated(estimated: Preflight, words: Words) -> None:
    if estimated.waiting.items:
        what, cost = _asked_about(estimated.waiting, words), usd(estimated.waiting.cost)
        print_line(f"{what} in batches that an earlier run prepared go out with it, estimated {cost}")
    if not estimated.plan.items:
        print_line(f"nothing to ask: {words.all_done}")
        return
    used = estimated.plan.usage
    items = _asked_about(estimated.plan, words)
    answers = estimated.known.answers
    known = f"learned from {answers:,} answers" if answers else "from the texts alone"
    print_line(
        f"{estimated.model}: {items}, about {used.prompt:,} tokens in and {used.answer + used.thoughts:,} out "
        f"({known}; ±{estimated.known.error:.0%})"
    )
    ways = {name: one for name, one in estimated.ways.items() if name == "batch" or not one.absent}
    print_table(("way", "cost", "time", "sends", "quota", "prices"), [_way_cells(*way) for way in ways.items()])
    for name, mode in ways.items():
        for warning in mode.warnings:
            Terminal().warn(f"{name}: {warning}")
    print_line(f"recommended: {estimated.recommended or 'nothing yet'}, because {estimated.reason}")


def _way_cells(name: str, mode: ModeEstimate) -> tuple[str, ...]:
    sends = plural(mode.count, "batch", "batches") if name == "batch" else plural(mode.count, "call")
    prices = f"{mode.price_source} ({mode.priced_on})"
    return (name, usd(mode.cost), format_duration(mode.seconds), sends, mode.quota, prices)


@command("passages-pilot")
def try_few(
    *,
    n: Annotated[int | None, Taken("How many passages to try; 200 without it.", COUNT)] = None,
    seed: Seed = None,
    no_resume: NoResume = False,
) -> Report:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate fails the exit code is 6.
    `passages-backfill` asks about all passages only after a pilot has passed. A killed pilot resumes.
    """
    with open_workspace(task="passages") as ws:
        plain, words = ws.task.label if "version" not in ws.settings.sources else None, ws.task.words
        if no_resume:
            tag.choose_new_version(ws)

        def announce(plan: BatchPlan) -> None:
            if plan.items:
                ws.display.say(f"{ws.extractor}: {_asked_about(plan, words)}, estimated {usd(plan.cost)}")

        done = tag.run_pilot(ws, size=n, seed=seed, announce=announce, confirm=goes_on)
        version = "" if ws.task.label == plain else f" VERSION={ws.task.label}"

    def show() -> None:
        for account in done.ingested:
            _show_account(account, words)
        print_line(
            _pilot_line(done)
            + (f". Next: make passages-backfill{version}" if done.quality and done.quality.passed else "")
        )

    return Report(done.document(), show, done.check)


def _pilot_line(done: rounds.Report) -> str:
    quality, drawn = done.quality, done.drawn
    assert quality is not None and drawn is not None  # noqa: S101, PT018 - a pilot without one is an error
    return f"pilot {drawn.number} of {drawn.extractor}: {quality.line}. Report: {quality.path}"


@command("passages-backfill")
def ask_all(
    *,
    no_resume: NoResume = False,
    skip_pilot: SkipPilot = False,
    wait: Annotated[bool, Taken("Go on until all is done.", names="--wait/--no-wait")] = False,
) -> Report:
    """Ask about every passage without concepts: download finished batches, submit what the quota allows.

    Needs a passed pilot of this extractor, shows the estimate, and asks for confirmation. Run again, it resumes; with
    --wait, or with `findable run` from cron, to the end. --no-resume keeps all answers and asks about all passages
    under a new version. If a report fails a gate by far, nothing more is sent (exit code 6).
    """
    as_json = wants_json()
    with open_workspace(task="passages") as ws:
        if no_resume:
            tag.choose_new_version(ws)
        words = ws.task.words

        def announce(estimated: Preflight, mode: str, _reason: str) -> None:
            batch, (plan, cost) = estimated.ways["batch"], estimated.going_out(mode)
            batches = plural(plan.batches, "batch", "batches")
            takes = f"estimated {usd(cost)}; takes {batch.likely}"
            ws.display.say(f"{ws.extractor}: {_asked_about(plan, words)} in {batches}, {takes}")
            for warning in batch.warnings:
                ws.display.warn(warning)

        report = tag.run(
            ws,
            tag.TagOptions(wait=wait, skip_pilot=skip_pilot, backfill=True),
            announce=announce,
            confirm=lambda cost: confirmed(for_money("Go on", cost)),
            ingested=lambda account: None if as_json else _show_account(account, words),
        )

    def check() -> None:
        if report.quality is not None:
            Terminal().say(f"quality: {report.quality.line} ({report.quality.path})")
        _finish(report, words)

    return Report(report.document(), _backfilled(report, words), check)


def _backfilled(report: rounds.Report, words: Words) -> str:
    if report.is_over:
        parked = f" ({report.parked:,} just now)" if report.parked else ""
        return f"{report.extractor}: {words.all_done}{parked}. Next: {words.after}"
    held = f"; {report.held_back}" if report.held_back else ""
    return (
        f"{report.extractor}: {report.under_way:,} {words.many} under way, {report.left:,} "
        f"left{held}. Next: make passages-backfill WAIT=1, or make run TASK={words.many} now and then"
    )
