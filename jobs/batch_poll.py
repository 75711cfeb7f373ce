"""`make batch-poll`: wait until every batch is over and its result is on disk."""

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.output import plural, print_json, print_line
from jobs.render import finish_polled
from pipeline.batch import poll
from pipeline.core.task import Words


@click.command(name="batch-poll", cls=WritingCommand)
@click.option("--wait/--no-wait", default=True, envvar="FINDABLE_WAIT", help="Wait until all are over, or look once.")
@json_option
def main(*, wait: bool, as_json: bool) -> None:
    """Wait until every submitted batch is over, and download its result.

    Ctrl-C is safe at any moment; the batch goes on at the API. Exit code 3: the API does not show a batch any more; 4:
    it is unclear whether a batch was created, `batch-submit` finds out.
    """
    with open_workspace() as ws:
        report = poll.run(ws, wait=wait)
        words = ws.task.words
    print_json(_document(report)) if as_json else print_line(_line(report, words))
    finish_polled(report, words)


def _line(report: poll.PollReport, words: Words) -> str:
    """Return the one line of result."""
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


def _document(report: poll.PollReport) -> dict[str, object]:
    """Return the report for programs."""
    return {
        "downloaded": report.downloaded,
        "failed": {str(number): why for number, why in report.failed.items()},
        "waiting": report.waiting,
        "gone": {str(number): why for number, why in report.gone.items()},
        "unclear": report.unclear,
        "stopped": report.stopped.message if report.stopped else None,
    }
