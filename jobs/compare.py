"""`make compare TASK=reviews A=1 B=2`: two versions, models or files of a task on one sample, side by side."""

from pathlib import Path

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import Terminal, plural, print_json, raw_writer, usd
from jobs.values import COUNT, Count
from pipeline.ops import export
from pipeline.quality.pilot import SEED
from pipeline.workflows import compare
from pipeline.workflows.compare import SIZE, CompareWanted


@click.command(name="compare", cls=WritingCommand)
@click.argument("a", type=values.username, envvar="FINDABLE_A")
@click.argument("b", type=values.username, envvar="FINDABLE_B")
@click.option("--n", "size", type=COUNT, default=SIZE, show_default=True, envvar="FINDABLE_N", help="How many items.")
@click.option(
    "--seed",
    type=Count(0, 2**63 - 1),
    default=SEED,
    show_default=True,
    envvar="FINDABLE_SEED",
    help="The seed of the draw.",
)
@click.option("--to", type=click.Path(path_type=Path), envvar="FINDABLE_TO", help="Write it to this file.")
@yes_option
@json_option
def main(a: str, b: str, *, size: int, seed: int, to: Path | None, yes: bool, as_json: bool) -> None:
    """Compare two ways to ask about the same items: agreement by field, tokens and cost a row, each item side by side.

    A and B are two of: a version, as its number or as `versions` names it, whose stored answers are taken; a model; the
    file of a task. The last two are asked now, at full price, but for what is stored already; these answers are not
    stored, and their calls count against budgets and quotas as any. Above FINDABLE_CONFIRM_ABOVE (USD) it asks first,
    and refuses without --yes off a terminal. It prints Markdown.
    """
    with open_workspace() as ws:
        words = ws.task.words

        def announce(calls: int, cost: float) -> None:
            """Say what will be asked and what it will cost."""
            ws.display.say(f"{plural(calls, words.one, words.many)} to ask, estimated {usd(cost)}")

        report = compare.run(
            ws,
            CompareWanted(a, b, size, seed),
            announce=announce,
            confirm=lambda _cost: confirmed("Go on?", yes=yes),
        )
    text = compare.markdown(report).encode()
    if to is not None:
        export.write_file(to, [text])
        Terminal().say(f"written to {to}")
    if as_json:
        print_json(compare.document(report))
    elif to is None:
        raw_writer()(text)
    Terminal().say(f"{plural(report.asked, words.one, words.many)} asked for it, {usd(report.cost)}; none was stored")
    report.check()
