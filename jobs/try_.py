"""Write the file of a task of your own, and ask about a few items to see all that goes out and comes back."""

from collections.abc import Callable

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, make_workspace, open_workspace, yes_option
from jobs.items_shown import INDENT, attached, cut, value_lines
from jobs.output import Terminal, plural, print_json, print_line, print_text, usd
from jobs.values import COUNT, Count
from jobs.variables import read_settings
from pipeline.engine.task import Words
from pipeline.engine.workspace import OpenWorkspace
from pipeline.quality import pilot
from pipeline.workflows import new_task, try_out
from pipeline.workflows.try_out import SIZE, TriedItem, TryReport, TryWanted


@click.command(name="new-task", cls=WritingCommand)
@click.argument("name", envvar="FINDABLE_NAME")
@click.option(
    "--from",
    "source",
    required=True,
    envvar="FINDABLE_FROM",
    help="The rows to ask about: a CSV, JSON, JSON lines or Parquet file, or a SELECT on the workspace's database.",
)
@json_option
def write_task(name: str, source: str, *, as_json: bool) -> None:
    """Write `tasks/NAME.py`, which asks about the rows of a table of your own and runs as it is.

    The columns of the key and of the text are guessed by their names and what stands in them, and the guess is told;
    edit the file where it is wrong. Nothing is overwritten. A workspace is made where there is none.
    """
    new = new_task.prepared(name, source, data=read_settings().data)
    with make_workspace(task="experts") as ws:
        written = new_task.run(ws, new)
    if as_json:
        print_json(written.document)
    else:
        for note in written.guess.notes:
            print_line(note)
        print_line(f"{written.path} is written: the question, the answer and the prompt are yours to change")
    Terminal().hint(f"make try TASK={name}")


@click.command(name="try", cls=WritingCommand)
@click.option("--n", "size", type=COUNT, envvar="FINDABLE_N", help="How many to try; 3 without it.")
@click.option("--item", type=values.username, envvar="FINDABLE_ITEM", help="The one to try, whatever its state.")
@click.option("--seed", type=Count(0, 2**63 - 1), envvar="FINDABLE_SEED", help="Draw them by this, not the first ones.")
@click.option("--a", metavar="WAY", envvar="FINDABLE_A", help="A version, a model, or a task's file, beside --b.")
@click.option("--b", metavar="WAY", envvar="FINDABLE_B", help="Another one, on the same items.")
@yes_option
@json_option
def main(
    size: int | None, item: str | None, seed: int | None, *, a: str | None, b: str | None, yes: bool, as_json: bool
) -> None:
    """Ask about a few items of TASK at once, and show what is sent, what comes back, tokens, cost and time.

    The answers are judged and not stored: only the calls and their cost are, and they count against budgets and quotas
    as any. The first that are to be asked are tried, or those that --seed draws; an answered or parked one by --item.
    Above FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.

    With --a and --b two ways stand side by side on a sample: a version (its number) by its stored answers, a model or
    the file of a task by asking now.
    """
    if (a is None) != (b is None) or (a is not None and (a == b or item is not None)):
        raise click.UsageError("--a and --b are two ways, and no --item goes with them")
    if item is not None and (size is not None or seed is not None):
        raise click.UsageError("one item is tried by its name, or some by a number and a seed")
    with open_workspace() as ws:
        words = ws.task.words

        def announce(count: int, cost: float) -> None:
            """Say what will be asked and what it will cost."""
            ws.display.say(f"{ws.extractor}: {plural(count, words.one, words.many)}, estimated {usd(cost)}")

        if a and b:
            _show_two(
                ws, (a, b), size or SIZE, pilot.SEED if seed is None else seed, announce, yes=yes, as_json=as_json
            )
            return
        wanted = TryWanted(size or try_out.FEW, item, seed)
        report = try_out.run(ws, wanted, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes))
    print_json(try_out.document(report)) if as_json else _show(report, words)
    report.check()


def _show(report: TryReport, words: Words) -> None:
    """Print what is sent with each, then each item with what came back."""
    if system := report.items[0].system:
        print_text("sent with each, as the system instruction:")
        print_text(cut(system), indent=INDENT)
    for number, one in enumerate(report.items, start=1):
        print_text(f"\n{words.one} {number} of {len(report.items)}: {one.name}")
        for part in one.parts:
            print_text(cut(part["text"]) if "text" in part else attached(part), indent=INDENT)
        _show_end(one)
    asked, cost = [one for one in report.items if one.calls], sum(one.cost for one in report.items)
    told = (
        f"{plural(len(asked), words.one, words.many)} tried with {report.extractor}, {usd(cost)}; no answer was stored"
    )
    is_good = any(one.answer is not None for one in asked)
    print_text("")
    print_line(told + (f". Next: {words.again}" if is_good else ""))


def _show_two(
    ws: OpenWorkspace,
    sides: tuple[str, str],
    size: int,
    seed: int,
    announce: Callable[[int, float], None],
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Try two ways, and print item by item what both say."""
    report = try_out.run_pair(
        ws, sides, size=size, seed=seed, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes)
    )
    cost = sum(one.cost for asked in report.asked for one in asked.items)
    if as_json:
        items = [{"id": one.id, "name": one.name, "a": one.said[0], "b": one.said[1]} for one in report.pairs]
        print_json({"a": report.sides[0], "b": report.sides[1], "items": items, "cost": cost})
    else:
        for one in report.pairs:
            print_text(f"\n{one.name}{' ≠' if one.said[0] != one.said[1] else ''}")
            for letter, said in zip("AB", one.said, strict=True):
                print_text(f"{letter}: {said}" if isinstance(said, str) else f"{letter}:", indent=INDENT)
                for name, value in {} if isinstance(said, str) else said.items():
                    for line in value_lines(name, value, INDENT * 2):
                        print_text(line)
        alike = sum(one.said[0] == one.said[1] for one in report.pairs)
        print_line(f"A is {report.sides[0]}, B {report.sides[1]}: {alike} of {len(report.pairs)} alike; {usd(cost)}")
    for asked in report.asked:
        asked.check()


def _show_end(one: TriedItem) -> None:
    out = one.usage.answer + one.usage.thoughts
    calls = f" and {one.calls} calls" if one.calls > 1 else ""
    used = f" in {one.seconds:.1f} s{calls}; {one.usage.prompt:,} tokens in, {out:,} out, {usd(one.cost)}"
    print_text(f"{one.outcome}{used if one.calls else ''}" + (f": {one.reason}" if one.reason else ""))
    if one.answer is not None:
        for name, value in one.answer.items():
            for line in value_lines(name, value, INDENT):
                print_text(line)
    elif one.reply:
        print_text(cut(one.reply), indent=INDENT)
