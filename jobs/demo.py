"""`make demo`: run the whole chain on sample people, passages and pictures, locally, in a workspace made anew."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import click

from jobs.cli import main as findable
from jobs.output import Terminal, print_text
from jobs.variables import GIVEN, read_settings
from pipeline.core.command_hint import CommandHint, current_form, set_command_form
from pipeline.core.settings import PREFIX, Settings

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
PASSAGES = "passages"
IMAGES = "images"
STEPS = (
    CommandHint("import", experts=SAMPLE / "experts.csv"),
    *(CommandHint(command) for command in ("batch-submit", "batch-poll", "batch-ingest", "index")),
    CommandHint("add-expert", expert=SAMPLE / "new_expert.json"),
    CommandHint("index"),
    CommandHint("search", q="sign language interpreter", k=3),
    CommandHint("status"),
    CommandHint("import-passages", passages=SAMPLE / "passages.jsonl"),
    CommandHint("passages-pilot", n=4),
    CommandHint("passages-backfill", wait=True, yes=True),
    CommandHint(
        "tag", task=PASSAGES, version="passage-concepts@2", limit=3, mode="live"
    ),  # beside the first
    CommandHint("index", task=PASSAGES),
    CommandHint("search", task=PASSAGES, q="how is wood bent for a boat?", k=2),
    CommandHint("import-images", folder=SAMPLE / "photos"),
    CommandHint("tag", task=IMAGES, mode="live"),
    CommandHint("index", task=IMAGES),
    CommandHint("search", q="help me restore a wooden boat", k=3),
)


def demo() -> None:
    """Import 150 invented people, tag, score, index, add one more, and search; then passages and images, all locally.

    Removes `demo/` in the workspace and uses it anew; reads no key, and nothing leaves this machine.
    """
    yours = str(CommandHint("import", experts="people.csv"))
    data = read_settings().data / "demo"
    _start_afresh(data)
    form = replace(
        current_form(), places={"data": str(data)}
    )  # what is typed below is about the demo
    for step in STEPS:
        set_command_form(form)
        _run(step, data)
    set_command_form(form)
    print_text(
        "\nThat was the whole chain on what we invented. Look further in it, or begin with yours:"
    )
    print_text(f"  {CommandHint('search', q='who knows water law')}\n  {yours}")
    print_text(f"All of it as a page in the browser:\n  {CommandHint('web')}")


def _start_afresh(data: Path) -> None:
    shutil.rmtree(data, ignore_errors=True)
    for name in [
        name
        for name in os.environ
        if name.startswith(PREFIX) and name not in {"FINDABLE_DEBUG", GIVEN}
    ]:
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


def _run(step: CommandHint, data: Path) -> None:
    Terminal().say("")
    shown = {
        name: os.path.relpath(one) if isinstance(one, Path) else one
        for name, one in step.options.items()
    }
    click.secho(f"$ {CommandHint(step.command, **shown)}", bold=True)
    given = {PREFIX + name.upper(): str(value) for name, value in step.options.items()}
    os.environ.update(given)
    findable.main(args=[step.command, "--data", str(data)], standalone_mode=False)
    for name in given:
        del os.environ[name]
