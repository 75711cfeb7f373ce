"""Submit batches, poll, ingest and cancel them, list them all, and add up what was spent."""

import contextlib

import click

from jobs.command import (
    Command,
    WritingCommand,
    confirmed,
    json_option,
    limit_option,
    look_at_workspace,
    open_workspace,
    pilot_option,
    read_workspace,
    skip_pilot_option,
    yes_option,
)
from jobs.output import plural, print_json, print_line, print_table, usd
from jobs.render import account_document, asked_about, finish, finish_polled, pilot_line, show_account
from jobs.values import COUNT
from pipeline.batch import cancel, poll, report, submit
from pipeline.batch.ingest import IngestSummary
from pipeline.batch.prepare import BatchPlan, Selection
from pipeline.batch.report import KEYS, Amounts, BatchSummary, list_batches
from pipeline.batch.submit import Submitted
from pipeline.engine.questions import check_any_items
from pipeline.engine.task import Words
from pipeline.workflows import pilot as pilot_run
from pipeline.workflows import rounds
from pipeline.workflows.rounds import Rounds


@click.command(name="batch-submit", cls=WritingCommand)
@limit_option
@click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only show what would happen.")
@pilot_option
@skip_pilot_option
@yes_option
@json_option
def submit_open(limit: int | None, pilot: int | None, *, skip_pilot: bool, dry: bool, yes: bool, as_json: bool) -> None:
    """Submit batches for all untagged people with a bio; with TASK=passages, or your own task, for all open items.

    Writes request files, uploads them, and creates one batch for each. Safe to repeat and to interrupt: no item is
    asked twice, and a batch whose create call was lost is found again. Above FINDABLE_CONFIRM_ABOVE (USD) it asks
    first.
    """
    with (look_at_workspace if dry else open_workspace)() as ws:
        words = ws.task.words

        def announce(plan: BatchPlan) -> None:
            """Say what will be asked and what it will cost."""
            day = ws.model.priced_on.isoformat()
            what = _sentence(plan, day, words) if plan.items else "resuming an earlier run"
            ws.display.say(f"{ws.model.name}, {what}")

        def confirm(_cost: float) -> bool:
            """Ask whether to go on."""
            return confirmed("Go on?", yes=yes)

        if dry:
            ws.bring_items()
            sent = Submitted(submit.plan_all(ws, Selection(limit)))
            if not sent.plan.items:
                check_any_items(ws.store, ws.task)
        else:
            rounds.begin(ws)
            going = Rounds(ws, limit=limit, judges=False)
            if pilot is None:
                pilot_run.check_first(ws, skip=skip_pilot)
            else:
                done = pilot_run.run_first(
                    ws, size=pilot, skip=skip_pilot, limit=limit, announce=announce, confirm=confirm
                )
                if done is not None:
                    ws.display.say(pilot_line(done))
            limit = going.left()
            sent = going.submit(agree=submit.agreeing(ws, announce=announce, confirm=confirm), patient=False)
            if (no_money := going.end().no_money) is not None:
                raise no_money
        document = sent.document(ws.model, dry=dry)
        day = str(document["priced_on"])
    if as_json:
        print_json(document)
    elif dry and sent.plan.items:
        print_line(f"would submit {_sentence(sent.plan, day, words)}; no batch was written or sent")
    else:
        print_line(f"{words.make('batch-submit')} asks the rest" if limit == 0 else _submitted(sent, words))


def _sentence(plan: BatchPlan, priced_on: str, words: Words) -> str:
    tokens = f"about {plan.usage.prompt:,} tokens in and {plan.usage.answer + plan.usage.thoughts:,} out"
    what = f"{asked_about(plan, words)} in {plural(plan.batches, 'batch', 'batches')}"
    return f"{what}: {tokens}, estimated {usd(plan.cost)} (prices of {priced_on})"


def _submitted(sent: Submitted, words: Words) -> str:
    if not sent.plan.items and not sent.sent:
        return f"nothing to submit: {words.all_done}"
    if not sent.sent:
        if sent.summary:
            return f"nothing was submitted: {sent.summary}. Next: {words.make('batch-poll')}"
        return "nothing was left to submit: another process took it"
    after = words.make("batch-poll" if set(sent.sent.values()) != {"rebuilt"} else "status")
    return f"submitted {plural(sent.items, words.one, words.many)}: {sent.summary}. Next: {after}"


@click.command(name="batch-poll", cls=WritingCommand)
@click.option("--wait/--no-wait", default=True, envvar="FINDABLE_WAIT", help="Wait until all are over, or look once.")
@json_option
def poll_open(*, wait: bool, as_json: bool) -> None:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not show a batch any more; 4:
    it is unclear whether a batch was created, `batch-submit` finds out.
    """
    with open_workspace() as ws:
        report = poll.run(ws, wait=wait)
        words = ws.task.words
    print_json(report.document()) if as_json else print_line(_polled(report, words))
    finish_polled(report, words)


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
    step = words.make(following) if following else words.again
    return f"{'; '.join(parts)}. Next: {step}"


@click.command(name="batch-ingest", cls=WritingCommand)
@json_option
def ingest_downloaded(*, as_json: bool) -> None:
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

        going = Rounds(ws, ingested=show)
        going.ingest()
        report = going.end()
        for quality in (one for one in report.reports.values() if one.is_judged):
            ws.display.say(f"quality: {quality.line} ({quality.path})")
    if not as_json:
        print_line(_after_ingest(report.ingested, words))
    finish(report, words)


def _after_ingest(accounts: list[IngestSummary], words: Words) -> str:
    if not accounts:
        return "nothing to ingest: no batch is downloaded"
    is_any_failed = any(one.batch.refused or one.batch.invalid or one.batch.missing for one in accounts)
    return f"Next: {words.after}{f', and {words.again} for what failed' if is_any_failed else ''}"


@click.command(name="batch-cancel", cls=WritingCommand)
@click.argument("number", type=COUNT, envvar="FINDABLE_BATCH")
@yes_option
@json_option
def cancel_one(number: int, *, yes: bool, as_json: bool) -> None:
    """Cancel batch NUMBER at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    with open_workspace(whole=True) as ws:
        report = cancel.run(ws, number=number, confirm=lambda question: confirmed(question, yes=yes))
    document = {"batch": report.number, "said": report.said, "next": report.next}
    print_json(document) if as_json else print_line(f"batch {report.number}: {report.said}. Next: {report.next}")


HEADERS = ("batch", "task", "state", "remote", "rows", "done", "cost", "begun", "took", "reason")


@click.command(name="batches", cls=Command)
@json_option
def list_all(*, as_json: bool) -> None:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    with read_workspace(whole=True) as ws:
        rows, words = list_batches(ws.store, now=ws.now()), ws.task.words
    if as_json:
        print_json([row.document for row in rows])
    elif rows:
        several = len({row.batch.task for row in rows}) > 1
        shown = [one for one in range(len(HEADERS)) if several or HEADERS[one] != "task"]
        print_table([HEADERS[one] for one in shown], [[_cells(row)[one] for one in shown] for row in rows])
    else:
        print_line(f"no batches yet. Next: {words.make('batch-submit')}")


def _cells(row: BatchSummary) -> tuple[object, ...]:
    """Return one batch as a line of the table; estimated costs are marked, and times of batches that are not over."""
    cost, batch = usd(row.cost) if row.is_actual else f"~{usd(row.cost)}", row.batch
    took = row.age_words if batch.is_over else f"{row.age_words} …"
    return (
        *(batch.number, batch.task, batch.state.value, batch.remote_name or "-", batch.requests),
        *(row.done, cost, f"{batch.created_at:%Y-%m-%d %H:%M}", took, batch.reason or ""),
    )


OF_COSTS = ("batches", "live calls", "tokens in", "tokens out", "cost", "lost calls", "perhaps lost", "under way")
FIRST = {"day": "day (US/Pacific)"}  # the heading of the first column, where it is not the word itself


@click.command(name="costs", cls=Command)
@click.option("--by", type=click.Choice(KEYS), default="day", envvar="FINDABLE_BY", help="Add up by which of these.")
@json_option
def list_costs(by: str, *, as_json: bool) -> None:
    """Add up what batches and live calls have cost, by day, task, model or batch.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and is told apart, as what is
    under way is, at estimates. Embeddings are not counted.
    """
    with read_workspace(whole=True) as ws:
        spent = report.costs(ws.store, ws.tasks, by=by)
    if as_json:
        print_json(spent.document)
    elif spent.rows:
        rows = [*spent.rows.items(), ("all", spent.total)]
        print_table((FIRST.get(by, by), *OF_COSTS), [(key, *_spent(amounts)) for key, amounts in rows])
    else:
        print_line("nothing was sent yet. Next: make preflight")


def _spent(amounts: Amounts) -> tuple[str, ...]:
    """Return amounts as the cells of a line; estimates are marked."""
    counts = (amounts.batches, amounts.calls, amounts.tokens_in, amounts.tokens_out)
    lost, under_way = (f"~{usd(one)}" if one else "-" for one in (amounts.lost, amounts.under_way))
    return (*(f"{one:,}" for one in counts), usd(amounts.cost), f"{amounts.lost_calls or '-'}", lost, under_way)
