"""`make lab-judge`: judge what variants of the search found, blind, with one key each."""

from functools import partial

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.lab import judge_option, next_key, seed_option, variant_names, variants_option
from jobs.output import Terminal, plural, print_json, print_line, print_text
from pipeline.core.who import this_person
from pipeline.index.lab.judge import KEYS, Card, Judging
from pipeline.index.lab.open_lab import OpenLab

MOST = 1500  # characters of an item that are shown


@click.command(name="lab-judge", cls=WritingCommand)
@variants_option
@click.option("--again", is_flag=True, envvar="FINDABLE_AGAIN", help="Pool anew, in the place of what is left.")
@judge_option
@seed_option
@json_option
def main(*, variants: str, again: bool, judge: str | None, seed: int, as_json: bool) -> None:
    """Judge the first ten of each variant for the lab's questions, shuffled, without telling which found what.

    One key each: 0 no, 1 partly, 2 good; s skips, u takes the last one back, q ends. Each is stored at once; the same
    command goes on with what is left. Without a terminal the keys are read from standard input.
    """
    with open_workspace() as ws, OpenLab(ws) as opened:
        judging = Judging(ws.store, ws.task, opened.build, judge=judge or this_person(), now=ws.now)
        if again or not judging.left():
            judging.fill([opened.system(name) for name in variant_names(variants)], seed=seed)
        acted = judging.run(show=partial(_show, err=as_json), key=next_key, say=Terminal().say)
        left, words = judging.left(), ws.task.words
    if as_json:
        print_json({"judged": acted, "left": left})
    else:
        print_line(f"{acted:,} judged or skipped, {left:,} left. Next: {words.make('lab-run')}")


def _show(card: Card, *, err: bool) -> None:
    """Show one item with its question; not among results that are one document."""
    left = plural(card.total - card.done, "item")
    print_text(f"\n{left} left. {card.question}\n\n{card.name}\n{card.text[:MOST]}\n\n{KEYS}", err=err)
