"""`make tags`: the tags of people, `MERGE="ml=machine learning"`; `EXPERT=username ADD=law`: those of one, edited."""

from functools import partial
from pathlib import Path

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, open_workspace, read_workspace, yes_option
from jobs.output import for_money, print_json
from jobs.tags_of_person import Edits, edit_people, person_options
from jobs.tags_shown import show_tags, tell_merged
from jobs.values import COUNT, Count
from pipeline.core.who import this_person
from pipeline.experts import tags
from pipeline.index.alike import alike_texts


@click.command(name="tags", cls=WritingCommand)
@click.option("-k", "--most", type=COUNT, default=20, show_default=True, envvar="FINDABLE_K", help="How many to show.")
@click.option("--find", default="", envvar="FINDABLE_FIND", help="Only tags with this in them.")
@click.option("--meaning", is_flag=True, envvar="FINDABLE_MEANING", help="Look for tags that mean the same, too.")
@click.option("--to", type=click.Path(path_type=Path), envvar="FINDABLE_TO", help="Write what may be merged here.")
@click.option("--merge", type=values.username, envvar="FINDABLE_MERGE", help='"old=new; old=new", or an edited plan.')
@click.option("--undo", type=Count(1, values.LARGEST), envvar="FINDABLE_UNDO", help="The merge or edit to undo.")
@click.option("--who", type=values.username, envvar="FINDABLE_WHO", help="Who says so; else the user of the system.")
@click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only say how many people it would concern.")
@person_options
@yes_option
@json_option
def main(
    *,
    most: int,
    find: str,
    meaning: bool,
    to: Path | None,
    merge: str | None,
    undo: int | None,
    who: str | None,
    dry: bool,
    one: Edits | None,
    yes: bool,
    as_json: bool,
) -> None:
    """List the tags of people, with examples, those that may say the same, and what was merged.

    With --to they are written as a plan, a line a merge; edited, --merge carries it out. A merge holds for all who have
    the tag and for answers to come; --undo gives back what was there before. --meaning embeds the tags: at Gemini that
    is paid for, and said first. With --person the tags of one, and every edit; --add, --remove and --rename edit them,
    --undo takes back an edit by its number, and no model touches them from then on. --from sets those of many people.
    """
    if merge is not None and undo is not None:
        raise click.UsageError("--merge and --undo exclude each other")
    if one is not None:
        if merge is not None or (dry and one.source is None) or (undo is not None and any(one.change)):
            raise click.UsageError("an edit of one --person goes without --merge, --dry, and --undo of another edit")
        edit_people(one, who or this_person(), undo=undo, dry=dry, as_json=as_json)
        return
    if merge is None and undo is None:
        with open_workspace(task="experts") if meaning else read_workspace(task="experts") as ws:
            confirm = partial(_confirmed, yes=yes)
            report = tags.run(ws.store, alike=partial(alike_texts, ws, confirm=confirm) if meaning else None)
        show_tags(report, find=find, most=most, to=to, as_json=as_json)
        return
    how = tags.Merging(who or this_person(), dry=dry)
    with (read_workspace if dry else open_workspace)(task="experts") as ws:
        if merge is not None:
            done = tags.merge(ws.store, tags.asked_merges(merge), how, at=ws.now())
        else:
            done = tags.undo(ws.store, undo or 0, how, at=ws.now())
    print_json(tags.merged_document(done)) if as_json else tell_merged(done, dry=dry)


def _confirmed(cost: float, *, yes: bool) -> bool:
    """Ask before tags are embedded that cost more than CONFIRM_ABOVE."""
    return confirmed(for_money("Embed the tags?", cost), yes=yes)
