"""`make demo`: run the whole chain on sample people, passages and pictures, locally, in a workspace made anew."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import click

from jobs.cli import main as findable
from jobs.output import Terminal, print_text
from jobs.variables import GIVEN, read_settings
from pipeline.core.settings import PREFIX, Settings
from pipeline.core.step import Step, current_form, write_as

SAMPLE = Path(__file__).parents[1] / "data" / "sample"
PASSAGES = "passages"
IMAGES = "images"
STEPS = (
    Step("import", experts=SAMPLE / "experts.csv"),
    *(Step(command) for command in ("batch-submit", "batch-poll", "batch-ingest", "index")),
    Step("add-expert", expert=SAMPLE / "new_expert.json"),
    Step("index"),
    Step("search", q="sign language interpreter", k=3),
    Step("status"),
    Step("import-passages", passages=SAMPLE / "passages.jsonl"),
    Step("passages-pilot", n=4),
    Step("passages-backfill", wait=True, yes=True),
    Step(
        "tag", task=PASSAGES, version="passage-concepts@2", limit=3, mode="live"
    ),  # beside the first
    Step("index", task=PASSAGES),
    Step("search", task=PASSAGES, q="how is wood bent for a boat?", k=2),
    Step("import-images", folder=SAMPLE / "photos"),
    Step("tag", task=IMAGES, mode="live"),
    Step("index", task=IMAGES),
    Step("search", q="help me restore a wooden boat", k=3),
)


def demo() -> None:
    """Import 150 invented people, tag, score, index, add one more, and search; then passages and images, all locally.

    Removes `demo/` in the workspace and uses it anew; reads no key, and nothing leaves this machine.
    """
    yours = str(Step("import", experts="people.csv"))
    data = read_settings().data / "demo"
    _start_afresh(data)
    form = replace(
        current_form(), places={"data": str(data)}
    )  # what is typed below is about the demo
    for step in STEPS:
        write_as(form)
        _run(step, data)
    write_as(form)
    print_text(
        "\nThat was the whole chain on what we invented. Look further in it, or begin with yours:"
    )
    print_text(f"  {Step('search', q='who knows water law')}\n  {yours}")
    print_text(f"All of it as a page in the browser:\n  {Step('web')}")


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


def _run(step: Step, data: Path) -> None:
    Terminal().say("")
    shown = {
        name: os.path.relpath(one) if isinstance(one, Path) else one
        for name, one in step.options.items()
    }
    click.secho(f"$ {Step(step.command, **shown)}", bold=True)
    given = {PREFIX + name.upper(): str(value) for name, value in step.options.items()}
    os.environ.update(given)
    findable.main(args=[step.command, "--data", str(data)], standalone_mode=False)
    for name in given:
        del os.environ[name]
