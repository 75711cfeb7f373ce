"""`make import-images FOLDER=photos/`: take the images below a folder into the library."""

from pathlib import Path

import click

from jobs.command import WritingCommand, json_option, make_workspace
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.images import import_ as images
from pipeline.ops import status

SHOWN = 10  # broken files that are named


@click.command(name="import-images", cls=WritingCommand)
@click.argument("folder", type=click.Path(path_type=Path), envvar="FINDABLE_FOLDER")
@json_option
def main(folder: Path, *, as_json: bool) -> None:
    """Import the images below FOLDER: paths, sizes, when they were taken.

    Repeating it changes nothing; a file that was moved is known again by its bytes, and a changed one is looked at
    anew. Links are not followed. A broken file is kept with the reason, and is not tried again until its bytes change.
    Exit code 2 if there is no image.
    """
    images.check_folder(folder)
    with make_workspace(task="images") as ws:
        done = images.run(ws, folder)
        ws.bring_items()
        then = "" if as_json else status.run(ws).document["next"]
    print_json(done.document) if as_json else _show(done)
    done.check()
    if then:
        Terminal().hint(then)


def _show(done: images.ImagesImportReport) -> None:
    """Print what is broken or was left out, and one line of result."""
    terminal = Terminal()
    for one in done.broken_files[:SHOWN]:
        terminal.warn(f"broken: {one['path']}: {one['reason']}")
    if done.broken > SHOWN:
        terminal.say(f"note: {done.broken - SHOWN:,} more are broken; JSON=1 and `assets.problem` tell of them")
    if done.gone:
        terminal.say(f"note: {plural(done.gone, 'image is', 'images are')} not there any more, and not asked about")
    for why, count in done.left_out.items():
        terminal.say(f"note: {count:,} left out: {why}")
    if done.total:
        counts = f"{done.added:,} added, {done.updated:,} changed, {done.moved:,} moved, {done.unchanged:,} unchanged"
        print_line(
            f"{plural(done.total, 'image', 'images')} in: {counts}{f'; {done.broken:,} broken' * bool(done.broken)}"
        )
    if done.released:
        print_line(f"{plural(done.released, 'image', 'images')} unparked, to be asked again with other bytes")
