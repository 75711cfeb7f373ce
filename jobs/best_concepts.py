"""`make best-concepts`: the preferred concepts of one passage, or of all."""

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line, print_table, raw_writer
from jobs.values import USERNAME

HEADERS = ("concept", "type", "confidence", "version", "model", "quotation")
SHOWN = 60  # characters of a quotation


@click.command(name="best-concepts", cls=Command)
@click.argument("passage", type=USERNAME, required=False, envvar="FINDABLE_PASSAGE")
@json_option
def main(passage: str | None, *, as_json: bool) -> None:
    """Print the best concepts of PASSAGE: of each name the preferred version's, from MIN_CONFIDENCE on.

    Without an id those of every passage, as JSON lines, or with --json as one list. The database has the same as the
    view best_concepts.
    """
    from pipeline.steps import best_concepts

    with open_workspace(task="passages") as rt:
        if passage is None:
            count = best_concepts.write_all(rt, raw_writer(), as_list=as_json)
            Terminal().say(f"{plural(count, 'concept')} written")
            return
        found = best_concepts.of(rt, passage)
    if as_json:
        print_json(found)
    elif found:
        print_table(HEADERS, [_cells(one) for one in found])
    else:
        print_line(f"{passage} has no concept that is sure enough")


def _cells(one: dict[str, object]) -> tuple[object, ...]:
    """Return one concept as a line of the table, with its first quotation."""
    evidence = one["evidence"]
    support = evidence.get("support") if isinstance(evidence, dict) else None
    quote = str(support[0].get("quote", "")) if isinstance(support, list) and support else "-"
    names = (one[name] for name in ("concept_name", "concept_type", "confidence", "extractor_version"))
    return (*names, one["extractor_model"], quote if len(quote) <= SHOWN else f"{quote[:SHOWN]}…")
