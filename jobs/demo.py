"""`make demo`: run the whole chain on sample people, passages and pictures, locally, in a workspace made anew."""

import os
import shutil
from pathlib import Path

import click

from jobs.cli import main as findable
from jobs.command import Command
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_line
from jobs.typed import GIVEN, OPTIONS, as_typed
from pipeline.core.settings import Settings
from pipeline.core.variables import PREFIX

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
QUERIES, QRELS = SAMPLE / "queries.jsonl", SAMPLE / "qrels.tsv"
SEARCHES = ("sign language interpreter", "help me restore a wooden boat", "who casts bells for belfries?")
KEPT = frozenset({"FINDABLE_DEBUG", GIVEN})


@click.command(name="demo", cls=Command)
def main() -> None:
    """Import 150 invented people, tag, score, index, add one more, and search; then passages and images, all locally.

    Removes `demo/` in the workspace and uses it anew; reads no key, and nothing leaves this machine.
    """
    yours = as_typed("make init EXPERTS=people.csv")
    data = read_settings().data / "demo"
    _start_afresh(data)
    click.get_current_context().find_root().meta[OPTIONS["data"]] = str(data)  # what is typed below is about the demo
    _run("import", EXPERTS=str(SAMPLE / "experts.csv"))
    for target in ("batch-submit", "batch-poll", "batch-ingest", "index"):
        _run(target)
    _run("add-expert", EXPERT=str(SAMPLE / "new_expert.json"))
    _run("index")
    for question in SEARCHES:
        _run("search", Q=question, K="3")
    _run("lab-import", QUERIES=str(QUERIES), QRELS=str(QRELS))
    _run("status")
    _ask_of_passages_and_images()
    print_line("")
    print_line(
        "That was the whole chain on invented people, passages and pictures. Look further in it, or begin with yours:"
    )
    print_line("  " + as_typed('make search Q="who knows water law"'))
    print_line(f"  {yours}")
    print_line("All of it as a page in the browser:")
    print_line("  " + as_typed("make web"))


def _ask_of_passages_and_images() -> None:
    """Run the chain on the sample passages, a pilot first, and on the sample pictures."""
    _run("import-passages", PASSAGES=str(SAMPLE / "passages.jsonl"))
    _run("passages-pilot", N="4")
    _run("passages-backfill", WAIT="1", YES="1")
    _run("tag", TASK="passages", VERSION="passage-concepts@2", LIMIT="3", MODE="live")  # two versions side by side
    _run("index", TASK="passages")
    _run("search", TASK="passages", Q="how is wood bent for a boat?", K="2")
    _run("import-images", FOLDER=str(SAMPLE / "photos"))
    _run("tag", TASK="images", MODE="live")
    _run("index", TASK="images")


def _start_afresh(data: Path) -> None:
    """Remove an earlier demo, and set the environment to the demo's own settings."""
    shutil.rmtree(data, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith(PREFIX) and name not in KEPT]:
        del os.environ[name]
    fixed = {
        "DATA": str(data),
        "DATABASE_URL": Settings(data=data).url,
        "BACKEND": "local",
        "MODEL": "findable-local-1",
        "EMBEDDING_MODEL": "findable-local-embedding-1",
        "DIM": "768",
    }
    os.environ.update({PREFIX + name: value for name, value in fixed.items()})


def _run(target: str, **values: str) -> None:
    """Print a command as the caller would type it, and run it as make does."""
    shown = {name: os.path.relpath(value) if Path(value).is_absolute() else value for name, value in values.items()}
    words = [f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in shown.items()]
    Terminal().say("")
    click.secho(f"$ {as_typed(' '.join(['make', target, *words]))}", bold=True)
    given = {PREFIX + name: value for name, value in values.items()}
    os.environ.update(given)
    findable.main(args=[target, "--data", os.environ[f"{PREFIX}DATA"]], standalone_mode=False)
    for name in given:
        del os.environ[name]
