"""`make init EXPERTS=people.csv`: settings, the first import, and what the first answers cost."""

import sys
from functools import partial
from pathlib import Path

import click

from jobs import asking, values
from jobs.command import WritingCommand, confirm_guess, make_workspace, map_option, yes_option
from jobs.dotenv import read_settings
from jobs.output import Terminal, plural, print_line, usd
from jobs.render import show_import
from pipeline.ops import status
from pipeline.workflows import init


@click.command(name="init", cls=WritingCommand)
@click.option("--file", type=click.Path(path_type=Path), envvar="FINDABLE_EXPERTS", help="The people to begin with.")
@click.option(
    "--backend", type=click.Choice(asking.BACKENDS), envvar="FINDABLE_BACKEND", help="Where the work is done."
)
@click.option("--budget", type=values.amount, envvar="FINDABLE_BUDGET", help="Most USD a day, by all commands.")
@map_option
@yes_option
def main(file: Path | None, backend: str | None, budget: float | None, *, mapping: str, yes: bool) -> None:
    """Begin: write `.env`, import the people in a file, and say what the first answers will cost.

    At a terminal it asks for what is not given; without one, --file is needed, and --backend and --budget or --yes,
    which takes their defaults. No key is ever written, and nothing in an `.env` is changed unasked. Run again, it goes
    on where it was.
    """
    before, terminal = read_settings(), Terminal()
    backend, budget = backend or before.backend, before.budget_per_day if budget is None else budget
    asking.check_terminal({"--file": file, "--backend": backend or yes, "--budget": budget is not None or yes})
    people = asking.existing(file or asking.ask_file())
    place = backend or asking.ask_backend(before.wanted_backend, yes=yes)
    most = asking.ask_budget(yes=yes) if budget is None else budget
    may_change = partial(click.confirm, default=False, err=True) if sys.stdin.isatty() and not yes else None
    terminal.say(init.settle_dotenv(before, backend=place, budget=most, confirm=may_change, yes=yes))
    if place == "gemini" and not before.api_key:
        terminal.say("the key is kept in no file: export GEMINI_API_KEY=… (https://aistudio.google.com/apikey)")
    with make_workspace(task="experts") as ws:
        done = init.run(ws, people, mapping=mapping, confirm=confirm_guess())
        then, model = status.run(ws).document["next"], ws.settings.model
    show_import(done.imported, words=("person", "people"), released="with a new biography")
    if (first := done.first) is not None:
        cost = f"about {usd(first.live.cost)} at once, or {usd(first.batch.cost)} as a batch"
        cost = cost if first.live.cost else "it costs nothing"
        what = plural(first.plan.items, "person", "people")
        print_line(f"asking {model} about {what} first: {cost}; all commands together spend at most {usd(most)} a day")
        then = f"make tag LIMIT={init.FEW}"
    terminal.hint(then)
