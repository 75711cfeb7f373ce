"""`make demo`: run the whole chain on the sample people, on the local engine, in a new workspace."""

import os
import shutil
from pathlib import Path

import click

from jobs.cli import main as findable
from jobs.command import Command
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_line
from pipeline.core.settings import Settings

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
SEARCHES = ("sign language interpreter", "help me restore a wooden boat", "who casts bells for belfries?")
KEPT = frozenset({"FINDABLE_DEBUG"})


@click.command(name="demo", cls=Command)
def main() -> None:
    """Import 150 invented people, tag, score, index, add one more, and search, on the local engine.

    Removes `demo/` in the workspace and uses it anew; reads no key, and nothing leaves this machine.
    """
    data = read_settings().data / "demo"
    _start_afresh(data)
    commands = [
        ("import", str(SAMPLE / "experts.csv")),
        ("batch-submit",),
        ("batch-poll",),
        ("batch-ingest",),
        ("index",),
        ("add-expert", str(SAMPLE / "new_expert.json")),
        ("index",),
        *(("search", question, "-k", "3") for question in SEARCHES),
        ("status",),
    ]
    for command in commands:
        _run(command)
    print_line("")
    print_line("That was the whole chain on invented people. Now with yours:")
    print_line("  make import EXPERTS=people.csv && make batch-submit batch-poll batch-ingest index")
    print_line(f'  make search Q="who knows water law" DATA={data}      (or look further in the demo)')


def _start_afresh(data: Path) -> None:
    """Remove an earlier demo, and set the environment to the demo's own settings."""
    shutil.rmtree(data, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith("FINDABLE_") and name not in KEPT]:
        del os.environ[name]
    fixed = {
        "DATA": str(data),
        "DATABASE_URL": Settings(data=data).url,
        "BACKEND": "local",
        "MODEL": "findable-local-1",
        "EMBEDDING_MODEL": "findable-local-embedding-1",
        "DIM": "768",
    }
    os.environ.update({f"FINDABLE_{name}": value for name, value in fixed.items()})


def _run(command: tuple[str, ...]) -> None:
    """Print a command as typed, and run it."""
    words = [os.path.relpath(word) if Path(word).is_absolute() else word for word in command]
    shown = " ".join(f'"{word}"' if " " in word else word for word in words)
    Terminal().say("")
    click.secho(f"$ findable {shown}", bold=True)
    findable.main(args=list(command), standalone_mode=False)
