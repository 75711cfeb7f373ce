"""`make demo`: run the whole chain on sample people, passages and pictures, locally, in a workspace made anew."""

import os
import shutil
from pathlib import Path

import click

from jobs.cli import main as findable
from jobs.command import command
from jobs.output import Terminal, print_text
from jobs.variables import GIVEN, OPTIONS, as_typed, read_settings
from pipeline.core.settings import PREFIX, Settings

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
STEPS: tuple[tuple[str, dict[str, str]], ...] = (
    ("import", {"EXPERTS": f"{SAMPLE}/experts.csv"}),
    *((target, {}) for target in ("batch-submit", "batch-poll", "batch-ingest", "index")),
    ("add-expert", {"EXPERT": f"{SAMPLE}/new_expert.json"}),
    ("index", {}),
    *(("search", {"Q": asked, "K": "3"}) for asked in ("sign language interpreter", "help me restore a wooden boat")),
    ("status", {}),
    ("import-passages", {"PASSAGES": f"{SAMPLE}/passages.jsonl"}),
    ("passages-pilot", {"N": "4"}),
    ("passages-backfill", {"WAIT": "1", "YES": "1"}),
    ("tag", {"TASK": "passages", "VERSION": "passage-concepts@2", "LIMIT": "3", "MODE": "live"}),  # beside the first
    ("index", {"TASK": "passages"}),
    ("search", {"TASK": "passages", "Q": "how is wood bent for a boat?", "K": "2"}),
    ("import-images", {"FOLDER": f"{SAMPLE}/photos"}),
    ("tag", {"TASK": "images", "MODE": "live"}),
    ("index", {"TASK": "images"}),
)


@command("demo", has_json=False)
def main() -> None:
    """Import 150 invented people, tag, score, index, add one more, and search; then passages and images, all locally.

    Removes `demo/` in the workspace and uses it anew; reads no key, and nothing leaves this machine.
    """
    yours = as_typed("make import EXPERTS=people.csv")
    data = read_settings().data / "demo"
    _start_afresh(data)
    click.get_current_context().find_root().meta[OPTIONS["data"]] = str(data)  # what is typed below is about the demo
    for target, values in STEPS:
        _run(target, **values)
    print_text("\nThat was the whole chain on what we invented. Look further in it, or begin with yours:")
    print_text("  " + as_typed('make search Q="who knows water law"') + f"\n  {yours}")
    print_text("All of it as a page in the browser:\n  " + as_typed("make web"))


def _start_afresh(data: Path) -> None:
    """Remove an earlier demo, and set the environment to the demo's own settings."""
    shutil.rmtree(data, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith(PREFIX) and name not in {"FINDABLE_DEBUG", GIVEN}]:
        del os.environ[name]
    fixed = {
        "DATA": str(data),
        "DATABASE_URL": Settings(data=data).url.reveal(),
        "BACKEND": "local",
        "MODEL": "findable-local-1",
        "EMBEDDING_MODEL": "findable-local-embedding-1",
        "DIM": "768",
    }
    os.environ.update({PREFIX + name: value for name, value in fixed.items()})


def _run(target: str, **values: str) -> None:
    shown = {name: os.path.relpath(value) if Path(value).is_absolute() else value for name, value in values.items()}
    words = [f'{name}="{value}"' if " " in value else f"{name}={value}" for name, value in shown.items()]
    Terminal().say("")
    click.secho(f"$ {as_typed(' '.join(['make', target, *words]))}", bold=True)
    os.environ.update(given := {PREFIX + name: value for name, value in values.items()})
    findable.main(args=[target, "--data", os.environ[f"{PREFIX}DATA"]], standalone_mode=False)
    for name in given:
        del os.environ[name]
