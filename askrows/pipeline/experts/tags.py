"""Count the tags of people, merge tags, and undo merges.

The tags of a single person are corrected like any answer, see
`askrows.pipeline.tasks.corrections`.
"""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.text import plural
from askrows.pipeline.experts import table
from askrows.pipeline.rows.cells import parse_text_list, to_compact_json
from askrows.pipeline.store import answers, tag_merges, workspace
from askrows.pipeline.store.database import Connection, Store, split_into_pages
from askrows.pipeline.tasks import corrections
from askrows.pipeline.tasks.corrections import UNCHANGED_MESSAGE
from askrows.pipeline.tasks.tag_lists import MAX_MERGE_ROWS, MERGE_COLUMNS, add_rules

Document = dict[str, Any]


def count_tags(store: Store) -> Document:
    """Return all tags of people with their counts, the most used first, and all merges.

    Equal counts are sorted by tag. Tags that another program wrote as plain text, not as a list,
    are not counted. Undone merges are included.

    Returns:
        `people` (tagged people), `different` (number of tags), `used_once` (number of tags of one
        person), `tags` (tag and people) and `merges`.
    """
    use_counts = Counter[str]()
    people_count = 0
    with store.read() as tx:
        for (cell,) in table.people_table(tx).read_cells(tx, ("tags",), table.tagged):
            people_count += 1
            use_counts.update(set(parse_text_list(cell) or ()))
        merges = tag_merges.list_merges(tx, table.TASK)

    tags_by_use = sorted(use_counts, key=lambda tag: (-use_counts[tag], tag))
    return {
        "people": people_count,
        "different": len(use_counts),
        "used_once": sum(use_count == 1 for use_count in use_counts.values()),
        "tags": [{"tag": tag, "people": use_counts[tag]} for tag in tags_by_use],
        "merges": [tag_merge._asdict() for tag_merge in merges],
    }


def report_tags(store: Store, *, search_text: str, max_tags: int) -> Report:
    """Report the tags that contain a text (in any case), and all merges.

    The JSON document has all of these tags and merges. The tables have the first `max_tags` tags
    and the newest MAX_MERGE_ROWS merges.

    Args:
        search_text: The text; "" for all tags.
        max_tags: Tags in the table.
    """
    counts = count_tags(store)
    matching_tags = [tag for tag in counts["tags"] if search_text.lower() in tag["tag"].lower()]
    people = plural(counts["people"], "person", "people")
    different_tags = plural(counts["different"], "different tag")
    rare_tags = plural(counts["used_once"], "tag")
    title = f"{people} with {different_tags}; {rare_tags} of a single person"
    report = Report({**counts, "tags": matching_tags}, title)
    report.parts.append(make_table(matching_tags[:max_tags], "tag people"))
    if counts["merges"]:
        report.parts.append(make_table(counts["merges"][-MAX_MERGE_ROWS:], MERGE_COLUMNS))
    return report


def merge_tags(
    store: Store,
    pairs: Sequence[tuple[str, str]],
    editor: str,
    *,
    merged_at: datetime,
) -> Report:
    """Merge tags into others, for all people who have them and for later answers.

    Stores the merges and rewrites the tags in one transaction, or nothing. A pair that is already
    merged is skipped.

    Args:
        store: Store of the workspace.
        pairs: Old and new tag of each merge; they are cleaned here.
        editor: Name of the editor.
        merged_at: Time of the merges.

    Raises:
        InputError: A tag is invalid, no person has an old tag, an old tag is already merged
            into another tag, or the merges form a circle. Nothing was changed.
    """
    from askrows.pipeline.experts.declaration import validate_tag

    with store.write() as tx:
        rules_before = tag_merges.active_merge_rules(tx, table.TASK)
        rules = {
            tag_merge.old: tag_merge.new
            for tag_merge in tag_merges.list_merges(tx, table.TASK)
            if tag_merge.undone_at is None
        }
        valid_pairs = dict.fromkeys((validate_tag(old), validate_tag(new)) for old, new in pairs)
        # A command that is repeated, such as after a kill, finds its merges in force.
        new_pairs = [(old, new) for old, new in valid_pairs if rules.get(old) != new]

        used_tags = set[str]()
        for (cell,) in table.people_table(tx).read_cells(tx, ("tags",), table.tagged):
            used_tags.update(parse_text_list(cell) or ())
        add_rules(rules, new_pairs, used_tags=used_tags, noun="person")
        editor = corrections.normalize_editor_name(editor)
        merge_numbers = {
            tag_merges.add_merge(tx, table.TASK, old, new, editor=editor, now=merged_at)
            for old, new in new_pairs
        }
        return _rewrite_tags(tx, rules_before, merge_numbers)


def undo_merge(store: Store, number: int, editor: str, *, undone_at: datetime) -> Report:
    """Undo a merge by its number, and restore the tags of the answers; all or nothing.

    Tags that another program wrote stay merged, because their earlier form is not stored.

    Args:
        store: Store of the workspace.
        number: Number of the merge.
        editor: Name of the editor.
        undone_at: Time of the undoing.

    Raises:
        InputError: No merge with this number is in force.
    """
    with store.write() as tx:
        rules_before = tag_merges.active_merge_rules(tx, table.TASK)
        if not tag_merges.undo_merge(
            tx,
            table.TASK,
            number,
            editor=corrections.normalize_editor_name(editor),
            now=undone_at,
        ):
            raise InputError(
                f"there is no active merge {number}; {UNCHANGED_MESSAGE}",
                hint=f"`{CommandHint('tags')}` lists the merges",
            )
        return _rewrite_tags(tx, rules_before, {number})


def _rewrite_tags(
    tx: Connection,
    rules_before: Mapping[str, str],
    merge_numbers: Collection[int],
) -> Report:
    """Write the tags of people that follow from the rules that are now in force.

    Checks all tagged people, page by page, and writes only tags that change. If the tags of a
    person followed from the preferred answer and `rules_before`, the new tags are made from that
    answer. Otherwise another program wrote the tags, and the rules are applied to the tags
    themselves, so an undone merge stays in them.

    Args:
        tx: Transaction in which the rules were changed.
        rules_before: Rules before that change.
        merge_numbers: Merges that were added or undone; if empty, nobody's tags are read or
            written.

    Returns:
        The report of the merge or undoing: `merges` (those that were added or undone), `people`
        (number of people whose tags changed) and `kept` (number of people whose tags should change,
        but whose rows the database left unchanged).
    """
    rules = tag_merges.active_merge_rules(tx, table.TASK)
    people = table.people_table(tx)
    tagged_ids: list[str] = []
    if merge_numbers:
        tagged_ids = [
            str(person_id) for (person_id,) in people.read_cells(tx, ("id",), table.tagged)
        ]

    changed_count = 0
    written_count = 0
    for page in split_into_pages(tagged_ids):
        last_answers = answers.preferred_answers(tx, table.TASK, page)
        rows = people.read_rows(tx, page, table.COLUMNS_TO_WRITE_TAGS, should_lock=True)
        changed_tags = dict[str, str | None]()
        for person_id, row in rows.items():
            tags = parse_text_list(row["tags"]) or []
            answered_tags = tags
            if person_id in last_answers:
                answered_tags = json.loads(last_answers[person_id].answer).get("tags", [])
            follows_answer = tag_merges.apply_rules(answered_tags, rules_before) == tags
            new_tags = tag_merges.apply_rules(answered_tags if follows_answer else tags, rules)
            if new_tags != tags:
                changed_tags[person_id] = to_compact_json(new_tags)
        changed_count += len(changed_tags)
        written_count += len(table.write_tags(tx, changed_tags, rows=rows, overwrite=True))

    if written_count:
        workspace.record_row_change(tx, table.TASK)
    merges = [
        tag_merge._asdict()
        for tag_merge in tag_merges.list_merges(tx, table.TASK)
        if tag_merge.number in merge_numbers
    ]
    kept_count = changed_count - written_count
    report = Report({"merges": merges, "people": written_count, "kept": kept_count})
    report.title = f"tags of {plural(written_count, 'person', 'people')} changed"
    report.parts.append(make_table(merges, MERGE_COLUMNS))
    if kept_count:
        report.warnings.append(
            f"{plural(kept_count, 'row')} not changed, because a trigger or rule of the database "
            "refused it"
        )
    return report
