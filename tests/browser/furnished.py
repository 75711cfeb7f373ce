"""Fill a workspace with people, passages in two versions, images and batches."""

import csv
from pathlib import Path

from PIL import Image

from tests.integration.many_passages import import_passages, insert_foreign_concept
from tests.lab import Workspace

SAMPLE = Path(__file__).parents[2] / "askrows" / "sample"
PEOPLE = 16
PASSAGES = 12
OTHER_VERSION = "notes@1"
COLOURS = {"blue": "navy", "green": "lime", "red": "crimson"}


def furnish_people(workspace: Workspace) -> None:
    """Import the first people of the sample, tag them by batch, and build the index twice."""
    workspace.begin()
    path = workspace.data.with_name("people.csv")
    with (SAMPLE / "experts.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.reader(source))
    with path.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target).writerows(rows[: PEOPLE + 1])
    workspace.ran("import", EXPERTS=str(path))
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", "index", "index")


def furnish_passages(workspace: Workspace) -> None:
    """Import and tag passages; a passage has an answer of another program as well."""
    workspace.begin()
    import_passages(workspace, PASSAGES)
    workspace.ran("tag", MODE="live", TASK="passages")
    insert_foreign_concept(workspace, "p-0001", OTHER_VERSION)


def furnish_images(workspace: Workspace) -> None:
    """Import three images and an invalid file, and tag the images."""
    workspace.begin()
    folder = workspace.data.with_name("photos")
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (48, 32), colour).save(folder / f"{name}.png")
    (folder / "cut.jpg").write_bytes(b"")
    workspace.ran("import-images", str(folder))
    workspace.ran("tag", MODE="live", TASK="images")
