"""Show one item, one person, the best concepts of a passage, or the newest requests."""

from typing import Any

import click

from jobs import values
from jobs.command import Command, json_option, read_workspace
from jobs.items_shown import amounts, came_of, edit_cells, indexed, item_fields, origin, outcome, print_wire, way
from jobs.output import Terminal, plural, print_fields, print_json, print_line, print_table, raw_writer
from jobs.values import COUNT
from pipeline.core.answer_paths import likeness_told
from pipeline.experts import show
from pipeline.experts.tags import BY_HAND
from pipeline.ops import show as any_item
from pipeline.passages import show as concepts

HEADERS = ("concept", "type", "confidence", "version", "model", "quotation")
SHOWN = 60  # characters of a quotation


@click.command(name="show", cls=Command)
@click.argument("username", type=values.username, required=False, envvar="FINDABLE_EXPERT")
@click.option("--item", type=values.username, envvar="FINDABLE_ITEM", help="An item of any task, by its key.")
@click.option("--raw", is_flag=True, envvar="FINDABLE_RAW", help="Requests and replies as they went over the wire.")
@json_option
def main(username: str | None, *, item: str | None, raw: bool, as_json: bool) -> None:
    """Show everything known about one person: row, tags and their origin, attempts, index.

    USERNAME may be a part of the username or of the name, where it stands in no other person's. With --item one item of
    the task that TASK= names: its row, state, answers, attempts, requests and cost.
    """
    if item is None and username is None:
        raise click.UsageError("Missing argument 'USERNAME'. With make: EXPERT=…, or TASK=… ITEM=…")
    with read_workspace(task="experts" if item is None else None) as ws:
        if item is not None:
            document = any_item.run(ws, item, raw=raw)
        else:
            document = show.run(ws, username or "")
            if raw:
                document["requests"] = any_item.requests_of(ws, str(document["id"]), raw=True)
    if as_json:
        print_json(document)
        return
    print_fields(_person_fields(document) if item is None else item_fields(document))
    if raw:
        print_wire(document["requests"])


def _person_fields(document: dict[str, Any]) -> list[tuple[str, str]]:
    fields = []
    for name, value in document["expert"].items():
        shown = ", ".join(value) if isinstance(value, list) else "-" if value is None else str(value)
        fields.append((name, shown))
    where = f" in batch {document['batch']}" if document["batch"] is not None else ""
    why = f": {document['parked']}" if document["parked"] else ""
    state = "no bio (cannot be searched)" if document["state"] == "no_bio" else document["state"]
    fields.append(("state", f"{state}{where}{why}"))
    fields += [("answer", origin(answer)) for answer in document["answers"] if answer["extractor"] != BY_HAND]
    fields += [("edit", "{0}, {2} {1}: {3}".format(*edit_cells(edit))) for edit in document["edits"]]
    fields += [
        ("attempt", f"{one['at']:%Y-%m-%d %H:%M} {one['outcome']}: {one['reason']}") for one in document["attempts"]
    ]
    return [*fields, ("index", indexed(document["index"]))]


@click.command(name="best-concepts", cls=Command)
@click.argument("passage", type=values.username, required=False, envvar="FINDABLE_PASSAGE")
@json_option
def best_concepts(passage: str | None, *, as_json: bool) -> None:
    """Print the best concepts of PASSAGE: of each name the preferred version's, from MIN_CONFIDENCE on.

    Without an id those of all passages, as JSON lines, or with --json as one list. The view best_concepts in the
    database has the same.
    """
    with read_workspace(task="passages") as ws:
        if passage is None:
            count = concepts.write_all_best(ws, raw_writer(), as_list=as_json)
            Terminal().say(f"{plural(count, 'concept')} written")
            return
        found = concepts.best_of_passage(ws, passage)
    if as_json:
        print_json(found)
    elif found:
        print_table(HEADERS, [_concept(one) for one in found])
    else:
        print_line(f"{passage} has no concept of MIN_CONFIDENCE")


def _concept(one: dict[str, object]) -> tuple[object, ...]:
    evidence = one["evidence"]
    support = evidence.get("support") if isinstance(evidence, dict) else None
    quote = str(support[0].get("quote", "")) if isinstance(support, list) and support else "-"
    names = (one[name] for name in ("concept_name", "concept_type", "confidence", "extractor_version"))
    told = likeness_told(support[0]) if isinstance(support, list) and support else ""
    return (*names, one["extractor_model"], (quote if len(quote) <= SHOWN else f"{quote[:SHOWN]}…") + told)


OF_REQUESTS = ("when", "item", "way", "model", "outcome", "tokens in", "out", "price", "answer or reason")
NEWEST = 10
SHOWN_ANSWER = 100  # characters of an answer


@click.command(name="log", cls=Command)
@click.option(
    "-n",
    "--n",
    "size",
    type=COUNT,
    default=NEWEST,
    show_default=True,
    envvar="FINDABLE_N",
    help="How many requests to list.",
)
@click.option("--all", "every", is_flag=True, envvar="FINDABLE_ALL", help="Those of all tasks.")
@click.option("--raw", is_flag=True, envvar="FINDABLE_RAW", help="Requests and replies as they went over the wire.")
@json_option
def list_requests(size: int, *, every: bool, raw: bool, as_json: bool) -> None:
    """List the newest requests of the task that TASK= names, newest first: when, how, by what model, what came of each.

    `show` has all of one item.
    """
    with read_workspace() as ws:
        found = any_item.newest_requests(ws, limit=size, every=every, raw=raw)
    if as_json:
        print_json(found)
        return
    if not found:
        print_line("nothing was asked yet")
        return
    rows = []
    for one in found:
        said = came_of(one)
        shown = said if len(said) <= SHOWN_ANSWER else f"{said[:SHOWN_ANSWER]}…"
        item = f"{one['task']} {one['name']}" if every else one["name"]
        rows.append(
            (f"{one['at']:%Y-%m-%d %H:%M:%S}", item, way(one), one["model"], outcome(one), *amounts(one), shown)
        )
    print_table(OF_REQUESTS, rows)
    if raw:
        print_wire(found)
