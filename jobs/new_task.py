"""`make new-task NAME=reviews FROM=reviews.csv`: write the file of a task of one's own, which runs as it is."""

import click

from jobs.command import WritingCommand, json_option, make_workspace
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_json, print_line
from pipeline.workflows import new_task


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
def main(name: str, source: str, *, as_json: bool) -> None:
    """Write `tasks/NAME.py`, which asks about the rows of a table of your own and runs as it is.

    The columns of the key and of the text are guessed by their names and what stands in them, and the guess is told;
    edit the file where it is wrong. Nothing is overwritten. A workspace is made where there is none.
    """
    new = new_task.prepared(name, source, data=read_settings().data)
    with make_workspace(task="experts") as ws:
        written = new_task.run(ws, new)
    if as_json:
        print_json(new_task.document(written))
    else:
        for note in written.guess.notes:
            print_line(note)
        print_line(f"{written.path} is written: the question, the answer and the prompt are yours to change")
    Terminal().hint(f"make try TASK={name}")
