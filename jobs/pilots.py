"""How the version in use, its pilot and its backfill are told in `make status`."""

from typing import Any

from jobs.output import print_line, usd


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
