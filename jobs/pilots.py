"""How a pilot is told, and in `make status` the version in use with its backfill."""

from typing import TYPE_CHECKING, Any

from jobs.output import print_line, usd

if TYPE_CHECKING:
    from pipeline.routines.pilot import Report


def told(done: "Report") -> str:
    """Return in one line what came of a pilot."""
    compared = f"; asked live as well: {done.compared.said}" if done.compared and done.compared.compared else ""
    quality = done.quality
    assert quality is not None  # noqa: S101 - a pilot without one is an error
    return f"pilot {done.pilot.number} of {done.pilot.extractor}: {quality.line}{compared}. Report: {quality.path}"


def show(document: dict[str, Any]) -> None:
    """Print them, where the task has them."""
    if "extractor" not in document:
        return
    print_line(f"extractor  {document['extractor']}")
    if pilot := document["pilot"]:
        report = f", {pilot['report']}" if pilot["report"] else ""
        print_line(
            f"pilot      {pilot['number']}, up to {pilot['size']:,} drawn: {pilot['verdict'] or 'not over'}{report}"
        )
    if going := document["backfill"]:
        cost = usd(going["estimated_cost"])
        print_line(f"backfill   {going['extractor']} since {going['since'][:16]}: {going['items']:,}, about {cost}")
    for one in document["withdrawn"]:
        print_line(f"withdrawn  {one}: make rollback EXTRACTOR={one} goes on")
