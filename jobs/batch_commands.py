"""Ask about items: live, by batch or whichever fits; poll, ingest and cancel batches; what it will cost, and did."""

from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import click

from jobs.command import wants_json
from jobs.options import (
    COUNT,
    MONEY,
    CommandReport,
    Deadline,
    Dry,
    Limit,
    NoResume,
    Parameter,
    Pilot,
    Seed,
    SkipPilot,
    Strict,
    Wait,
)
from jobs.output import Terminal, TextTable, print_line, print_table, raise_all
from pipeline.batch import cancel, poll, submit
from pipeline.batch import report as accounts
from pipeline.batch.budget import MIN_CALIBRATION_ANSWERS
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.live import LiveReport
from pipeline.batch.prepare import Selection
from pipeline.batch.report import COST_KEYS, duration_in_words, list_batches
from pipeline.batch.submit import SubmitReport
from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import Progress
from pipeline.core.states import UNSUPPORTED_REASON
from pipeline.core.text import first_few, format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import TaskLabels
from pipeline.ops import status
from pipeline.workflows import preflight as estimates
from pipeline.workflows import rounds
from pipeline.workflows import tag as tagging
from pipeline.workflows.preflight import Preflight
from pipeline.workflows.rounds import TagRounds

OUTDATED = 10  # of what was answered for an earlier text, that are named
COUNTS = (
    *(
        "requests",
        "answered",
        "refused",
        "invalid",
        "missing",
        "not_applied",
        "unknown",
        "duplicates",
        "unreadable",
    ),
    *("tokens_in", "tokens_out", "cost"),
)


def batch_submit(
    ws: WorkspaceSession,
    *,
    limit: Limit = None,
    dry: Dry = False,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
) -> CommandReport:
    """Submit batches for all items that are open: for all untagged people with a bio, or for those of TASK.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to interrupt: no item is
    asked twice, and a batch whose create call was lost is found again. Above FINDABLE_CONFIRM_ABOVE (USD) it asks
    first.
    """
    words = ws.task.words
    if dry:
        ws.bring_items()
        would = SubmitReport(submit.plan_submit(ws, Selection(limit)))
        if not would.plan.items:
            ws.check_any_items()
        said = f"would submit {submit.describe_plan(ws, would.plan)}; no batch was written or sent"
        return CommandReport(
            would.document(ws.model, dry=True),
            said if would.plan.items else _submitted(would, words),
        )

    rounds.prepare_task(ws)
    going = TagRounds(ws, limit=limit, judges=False)
    if done := tagging.ensure_pilot_passed(
        ws, size=pilot, skip=skip_pilot, limit=limit, agreed=False
    ):
        ws.display.say(_pilot_line(done))
    limit = going.left()
    sent = going.submit(agreed=False, patient=False)
    if (no_money := going.end().no_money) is not None:
        raise no_money
    said = f"{words.step('batch-submit')} asks the rest" if limit == 0 else _submitted(sent, words)
    return CommandReport(sent.document(ws.model, dry=False), said)


def _submitted(sent: SubmitReport, words: TaskLabels) -> str:
    if not sent.plan.items and not sent.sent:
        return f"nothing to submit: {words.all_done}"
    if not sent.sent:
        return f"nothing was submitted: {sent.summary or 'it is under way already'}. Next: {words.step('batch-poll')}"
    after = words.step("batch-poll" if set(sent.sent.values()) != {"rebuilt"} else "status")
    return f"submitted {plural(sent.items, words.one, words.many)}: {sent.summary}. Next: {after}"


def batch_poll(
    ws: WorkspaceSession,
    *,
    wait: Annotated[bool, Parameter("Wait until all are over, or look once.", bool)] = True,
) -> CommandReport:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not show a batch any more; 4:
    it is unclear whether a batch was created, `batch-submit` finds out.
    """
    report = poll.poll_batches(ws, wait=wait)
    words = ws.task.words
    return CommandReport(
        report.document(), _polled(report, words), lambda: raise_all(report.errors(words))
    )


def _polled(report: poll.PollReport, words: TaskLabels) -> str:
    parts = []
    if report.downloaded:
        parts.append(f"{plural(len(report.downloaded), 'batch', 'batches')} downloaded")
    parts += [
        f"batch {number} failed ({why}), its {words.many} can be asked again"
        for number, why in report.failed.items()
    ]
    if report.waiting:
        parts.append(f"{plural(len(report.waiting), 'batch', 'batches')} not over yet")
    if not parts:
        troubled = report.gone or report.unclear
        return "no batch was downloaded" if troubled else "nothing to poll: no batch is at the API"

    next_command = words.again
    if report.downloaded:
        next_command = words.step("batch-ingest")
    elif report.waiting:
        next_command = words.step("batch-poll")
    return f"{'; '.join(parts)}. Next: {next_command}"


def batch_ingest(ws: WorkspaceSession, *, strict: Strict = False) -> CommandReport:
    """Judge every line of the downloaded results and write the answers, with scores.

    Every request is counted as answered, refused, invalid or missing; failed ones are asked once more in the next
    batch, then parked. Safe to repeat and to interrupt. A report on the answers is written into DATA/reports; if a gate
    fails it is a warning, with --strict exit code 6, and the answers are stored anyway.
    """
    report, failures = rounds.ingest_all(ws)
    words = ws.task.words
    for quality in (
        one for one in report.reports.values() if any(gate.passed is not None for gate in one.gates)
    ):
        ws.display.say(f"quality: {quality.line} ({quality.path})")
    is_any_failed = any(
        one.batch.refused or one.batch.invalid or one.batch.missing for one in report.ingested
    )
    after = f"Next: {words.after}{f', and {words.again} for what failed' if is_any_failed else ''}"
    after = after if report.ingested else "nothing to ingest: no batch is downloaded"

    def check() -> None:
        for one in report.ingested:
            _warn_of(one, words, ws.display)
        raise_all(failures)
        report.finish(words, ws.display, strict=strict)

    shown = [_accounted(one) for one in report.ingested] + [after] * (not failures)
    documents = [
        {
            "batch": one.batch.number,
            **{name: getattr(one.batch, name) for name in COUNTS},
            "reasons": [asdict(odd) for odd in one.anomalies],
            **{
                name: getattr(one, name)
                for name in (
                    "unapplied",
                    "outdated",
                    "other_versions",
                    "copied_rows",
                    "left_out_values",
                )
            },
        }
        for one in report.ingested
    ]
    return CommandReport(documents, shown, check)


def _accounted(account: IngestSummary) -> list[Any]:
    """Return one line for a batch, and a table of what went wrong in it."""
    batch = account.batch
    failed = {
        name: getattr(batch, name)
        for name in ("refused", "invalid", "missing")
        if getattr(batch, name)
    }
    rest = "".join(f", {count:,} {name}" for name, count in failed.items())
    used = f"{batch.tokens_in:,} tokens in, {batch.tokens_out:,} out, {format_usd(batch.cost or 0)}"
    shared = f", {account.copied_rows:,} more rows share them" if account.copied_rows else ""
    said = f"batch {batch.number}: {plural(batch.answered or 0, 'answer')} of {batch.requests:,}{rest}{shared}; {used}"
    rows = [
        (
            one.outcome,
            one.count,
            one.reason,
            "; ".join(f"{name} {text}".strip()[:60] for name, text in one.examples),
        )
        for one in account.anomalies
    ]
    return [said, *([TextTable(("outcome", "count", "reason", "examples"), rows)] if rows else [])]


def _warn_of(account: IngestSummary, words: TaskLabels, display: Progress) -> None:
    batch = account.batch
    told = list[str]()
    if batch.not_applied:
        told.append(
            f"{plural(batch.not_applied, 'answer')} not applied ({first_few(account.unapplied)}): the {words.one} was "
            f"removed or answered meanwhile, or is parked: `{words.step('parked')}` says why"
        )
    if account.outdated:
        told.append(
            f"answered for an earlier {words.input}: {first_few(account.outdated, OUTDATED)}"
        )
    if account.other_versions:
        told.append(f"asked {batch.model}, answered by {', '.join(account.other_versions)}")
    for line in told:
        display.warn(f"batch {batch.number}: {line}")


def batch_cancel(
    ws: WorkspaceSession, *, batch: Annotated[int, Parameter("", COUNT)]
) -> CommandReport:
    """Cancel a batch at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    said, after = cancel.cancel_batch(ws, number=batch)
    return CommandReport(
        {"batch": batch, "said": said, "next": str(after)}, f"batch {batch}: {said}. Next: {after}"
    )


def batches(ws: WorkspaceSession) -> CommandReport:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    found = list_batches(ws.store, now=ws.now())
    headers = (
        "batch",
        "task",
        "state",
        "remote",
        "rows",
        "done",
        "cost",
        "begun",
        "took",
        "reason",
    )
    rows = [
        (
            *(
                str(one.batch.number),
                one.batch.task,
                one.batch.state.value,
                one.batch.remote_name,
                one.batch.requests,
            ),
            *(
                one.done,
                f"{'' if one.is_actual else '~'}{format_usd(one.cost)}",
                one.batch.created_at,
            ),
            *(f"{one.age_words}{'' if one.batch.is_over else ' …'}", one.batch.reason or ""),
        )
        for one in found
    ]
    none = f"no batches yet. Next: {ws.task.words.step('batch-submit')}"
    return CommandReport(
        [one.document for one in found], TextTable(headers, rows) if rows else none
    )


SPENT = (
    "batches",
    "live calls",
    "tokens in",
    "tokens out",
    "cost",
    "lost calls",
    "perhaps lost",
    "under way",
)


def costs(
    ws: WorkspaceSession,
    *,
    by: Annotated[str, Parameter("Add up by which of these.", click.Choice(COST_KEYS))] = "day",
) -> CommandReport:
    """Add up what batches and live calls have cost, by day, task, model or batch; with TASK= of that task alone.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and is told apart, as what is
    under way is, at estimates. Embeddings are not counted.
    """
    only = ws.task.name if "task" in ws.settings.sources else None
    found = accounts.summarize_costs(ws.store, ws.tasks, group_key=by, task_name=only)
    counts = ("batches", "calls", "tokens_in", "tokens_out")
    rows = [
        (
            *(
                one[by],
                *(one[name] for name in counts),
                format_usd(one["cost"]),
                one["lost_calls"] or None,
            ),
            *(f"~{format_usd(one[name])}" if one[name] else None for name in ("lost", "under_way")),
        )
        for one in [*found["rows"], {by: "all"} | found["total"]]
    ]
    listed = TextTable(("day (US/Pacific)" if by == "day" else by, *SPENT), rows)
    return CommandReport(
        found,
        listed if found["rows"] else f"nothing was sent yet. Next: {CommandHint('tag', dry=True)}",
    )


def tag(
    ws: WorkspaceSession,
    *,
    mode: Annotated[str, Parameter("", click.Choice(tagging.MODES))] = "auto",
    limit: Limit = None,
    budget: Annotated[float | None, Parameter("Most USD that it may spend.", MONEY)] = None,
    deadline: Deadline = None,
    pilot: Pilot = None,
    skip_pilot: SkipPilot = False,
    wait: Wait = None,
    strict: Strict = False,
    dry: Dry = False,
    no_resume: NoResume = False,
    backfill: Annotated[bool, Parameter()] = False,
) -> CommandReport:
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
        return CommandReport(estimated.document(), partial(_show_estimated, estimated, words))
    if no_resume:
        tagging.switch_to_new_version(ws)
    wanted = tagging.TagOptions(mode, limit, budget, deadline, wait, pilot, skip_pilot, backfill)
    report = tagging.run(ws, wanted)
    if backfill and report.quality is not None:
        ws.display.say(f"quality: {report.quality.line} ({report.quality.path})")
    after = None if wants_json() else status.run(ws).next

    def check() -> None:
        for one in report.ingested:
            _warn_of(one, words, ws.display)
        _warn_tagged(report, words, ws.display)
        report.finish(words, ws.display, strict=strict)

    return CommandReport(report.document(), partial(_show_tagged, report, words, after), check)


def _show_tagged(report: rounds.TagReport, words: TaskLabels, after: CommandHint | None) -> None:
    """Print what was done, and what is under way; each a line, the last with what comes next, as `status` says it."""
    if report.pilot is not None:
        Terminal().say(_pilot_line(report.pilot))
    if not report.mode:
        print_line(f"nothing to tag: {words.all_done}" + (f". Next: {after}" if after else ""))
        return
    live = report.live
    lines = list[str]()
    answered = report.answered_rows
    if report.ingested or not (live or report.under_way):
        came = f" in {plural(len(report.ingested), 'batch', 'batches')}" if report.ingested else ""
        parked = f", {report.parked:,} parked" if report.parked else ""
        lines.append(f"{answered:,} {words.done}{came}{parked}, {format_usd(report.spent)} spent")
    if live is not None:
        lines.append(_live_line(report, live, words))
    elif report.under_way:
        sent = report.items and not report.is_down and not report.ingested
        count = plural(report.items if sent else report.under_way, words.one, words.many)
        lines.append(f"{count} {'submitted' if sent else 'in batches that are not over'}")
    # What stopped the run early has a hint of its own.
    is_stopped = report.is_down or bool(report.out_of_money) or bool(report.errors(words))
    lines[-1] += f". Next: {after}" if after and not is_stopped else ""
    for line in lines:
        print_line(line)


def _warn_tagged(report: rounds.TagReport, words: TaskLabels, display: Progress) -> None:
    warn = display.warn
    for name, reason in report.live.samples if report.live else ():
        warn(f"{name}: {reason}")
    if report.out_of_money:
        warn(
            f"{report.out_of_money}; {plural(report.left, f'{words.one} is', f'{words.many} are')} left"
        )
    if report.no_room:
        waits = "waits" if report.no_room == 1 else "wait"
        warn(f"{plural(report.no_room, words.one, words.many)} {waits} for room at the API")


def _live_line(report: rounds.TagReport, live: LiveReport, words: TaskLabels) -> str:
    if not (live.done or report.unasked):
        return f"nothing to ask: {words.all_done}"
    parts = [f"{live.answered:,} {words.done}"]
    for reason, count in live.failed.most_common():
        is_aside = reason.startswith(UNSUPPORTED_REASON)
        parts.append(
            f"{count:,} set aside: {reason}" if is_aside else f"{count:,} failed ({reason})"
        )
    parts += [f"{report.unasked:,} left"] * bool(report.unasked)
    return f"{', '.join(parts)}; {plural(live.calls, 'call')}, {format_usd(live.cost)}"


def _show_estimated(estimated: Preflight, words: TaskLabels) -> None:
    if estimated.waiting.items:
        what = estimated.waiting.about(words)
        cost = format_usd(estimated.waiting.cost)
        print_line(
            f"{what} in batches that an earlier run prepared go out with it, estimated {cost}"
        )
    if not estimated.plan.items:
        print_line(f"nothing to ask: {words.all_done}")
        return
    measuring_command = words.step(
        "tag", pilot=MIN_CALIBRATION_ANSWERS, limit=MIN_CALIBRATION_ANSWERS
    )
    if estimated.with_key is None:
        measures = f"`{measuring_command}` measures it"
        _show_ways(estimated, words, unmeasured=f"output is guessed; {measures}")
    else:
        print_line(f"{estimated.model}: {estimated.plan.about(words)}, at no cost")
        measures = f"with a key `{measuring_command}` measures it"
        _show_ways(estimated.with_key, words, unmeasured=f"output is guessed; {measures}")
    print_line(f"recommended: {estimated.recommended or 'nothing yet'}, because {estimated.reason}")


def _show_ways(estimated: Preflight, words: TaskLabels, *, unmeasured: str) -> None:
    """Print tokens, cost and time of each way; `unmeasured` is said of tokens that no answer has measured."""
    usage = estimated.plan.usage
    calibration = estimated.known
    basis = f"learned from {calibration.answers:,} answers" if calibration.answers else unmeasured
    if calibration.error is not None:
        basis += f"; past estimates were off by {calibration.error:.0%}"
    print_line(
        f"{estimated.model}: {estimated.plan.about(words)}, about {usage.prompt:,} tokens in and "
        f"{usage.answer + usage.thoughts:,} out ({basis})"
    )
    ways = {name: way for name, way in estimated.ways.items() if name == "batch" or not way.absent}
    kinds: dict[bool, tuple[str, ...]] = {True: ("batch", "batches"), False: ("call",)}
    cells = [
        (
            name,
            way.shown_cost,
            duration_in_words(way.seconds),
            plural(way.count, *kinds[name == "batch"]),
        )
        for name, way in ways.items()
    ]
    print_table(("way", "cost", "time", "sends"), cells)
    for name, way in ways.items():
        for warning in way.warnings:
            Terminal().warn(f"{name}: {warning}")


def passages_pilot(
    ws: WorkspaceSession,
    *,
    n: Annotated[int | None, Parameter("How many passages to try; 200 without it.", COUNT)] = None,
    seed: Seed = None,
    no_resume: NoResume = False,
) -> CommandReport:
    """Ask about a few passages drawn at random, wait for them, and judge their concepts.

    The report in DATA/reports has the quality gates, plots, and samples to read; if a gate fails the exit code is 6.
    `passages-backfill` asks about all passages only after a pilot has passed. A killed pilot resumes.
    """
    plain = ws.task.label if "version" not in ws.settings.sources else None
    if no_resume:
        tagging.switch_to_new_version(ws)
    done = tagging.run_pilot(ws, size=n, seed=seed)
    after = CommandHint(
        "passages-backfill", version=None if ws.task.label == plain else ws.task.label
    )
    is_passed = done.quality is not None and done.quality.passed
    said = _pilot_line(done) + (f". Next: {after}" if is_passed else "")
    return CommandReport(done.document(), said, lambda: done.check(Terminal(), strict=True))


def _pilot_line(done: rounds.TagReport) -> str:
    quality = done.quality
    drawn = done.drawn
    assert quality is not None and drawn is not None  # noqa: S101, PT018 - a pilot without one is an error
    return f"pilot {drawn.number} of {drawn.extractor}: {quality.line}. Report: {quality.path}"
