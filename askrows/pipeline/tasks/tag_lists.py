"""Count the tags in a list of the answers, merge tags, and undo merges.

A tag is a text in a list of an answer. The tags of a single row are corrected like any answer, see
`askrows.pipeline.tasks.corrections`.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import InputError, RefusedRowError
from askrows.pipeline.core.report import Report, make_table
from askrows.pipeline.core.text import plural
from askrows.pipeline.rows.refusals import write_rows_and_list_refused
from askrows.pipeline.rows.write_to import TargetValue
from askrows.pipeline.store import answers, tag_merges
from askrows.pipeline.store.database import Connection, Store, split_into_pages, update_rows_by_id
from askrows.pipeline.store.schema import answers as answers_table
from askrows.pipeline.store.workspace import record_row_change
from askrows.pipeline.tasks.corrections import UNCHANGED_MESSAGE, normalize_editor_name
from askrows.pipeline.tasks.derived_values import update_derived_values
from askrows.pipeline.tasks.task import Task

Document = dict[str, Any]
MAX_MERGE_ROWS = 10
# Columns of merges; see `make_table`.
MERGE_COLUMNS = "merge=number from=old into=new who when=at undone=undone_at by=undone_by"


def parse_merges(text: str) -> list[tuple[str, str]]:
    """Return the (old, new) pairs of a text such as `ml=machine learning; ai=deep learning`.

    Blank parts are skipped. A part is split at its first `=`. The tags are not checked, and keep
    blanks at their ends, as ` ai` would in this example.

    Raises:
        InputError: There is no pair, or one side of a pair is empty.
    """
    parts = (part.partition("=") for part in text.split(";") if part.strip())
    pairs = [(old, new) for old, _, new in parts]
    if not pairs or not all(old.strip() and new.strip() for old, new in pairs):
        raise InputError(
            f"{text!r} is not of the form OLD=NEW; {UNCHANGED_MESSAGE}",
            hint=f"write it like {OptionHint(merge='ml=machine learning')}",
        )
    return pairs


def list_tag_lists(task: Task) -> list["TagList"]:
    """Return the lists of texts in an answer of a task, in the order of its fields."""
    return [TagList(task, field) for field in task.answer_fields if _has_tags(field)]


def _has_tags(field: AnswerField) -> bool:
    """Return whether a field is a list of texts or of choices that are texts."""
    if field.kind != "list":
        return False
    (member,) = field.parts
    are_texts = all(isinstance(choice, str) for choice in member.choices)
    return member.kind in {"text", "choice"} and are_texts


def require_tag_list(task: Task, field_name: str) -> "TagList":
    """Return the list of texts with a name; without a name the only one.

    Raises:
        InputError: An answer has no such list, or several lists and none was named.
    """
    lists_by_name = {tag_list.field.name: tag_list for tag_list in list_tag_lists(task)}
    names = ", ".join(lists_by_name)
    if not lists_by_name:
        raise InputError(
            f"the answers of {task.subject} have no list of texts; {UNCHANGED_MESSAGE}"
        )
    if not field_name and len(lists_by_name) > 1:
        raise InputError(
            f"the answers of {task.subject} have several lists of texts: {names}; "
            f"{UNCHANGED_MESSAGE}",
            hint=f"name one: {OptionHint(field=next(iter(lists_by_name)))}",
        )
    tag_list = lists_by_name.get(field_name or names)
    if tag_list is None:
        raise InputError(
            f"the answers of {task.subject} have no list of texts {field_name!r}; "
            f"{UNCHANGED_MESSAGE}",
            hint=f"their lists of texts are {names}",
        )
    return tag_list


@dataclass(frozen=True)
class TagList:
    """A list of texts in the answers of a task."""

    task: Task
    field: AnswerField

    @property
    def journal_name(self) -> str:
        """Return the name of the list in the journal."""
        return tag_merges.make_list_name(self.task.name, self.field.name)

    @property
    def rows_member(self) -> str:
        """Return the member of JSON documents with a number of rows: the plural of a row."""
        return self.task.nouns.plural.replace(" ", "_")

    def count_tags_and_list_merges(self, store: Store) -> Document:
        """Return all tags with the rows that have them, the most used first, and all merges.

        Equal counts are sorted by tag. The tags are those of preferred answers to rows in the
        source. Undone merges are included.

        Returns:
            `rows` (rows with tags, named by the task's word for them), `different` (number of
            tags), `used_once` (number of tags of one row), `tags` (tag and rows) and `merges`.
        """
        use_counts = Counter[str]()
        row_count = 0
        with store.read() as tx:
            for _, answer in self._read_answers(tx):
                tags = set(tag_merges.get_tags(answer, self.field.name))
                row_count += bool(tags)
                use_counts.update(tags)
            merges = tag_merges.list_merges(tx, self.journal_name)

        tags_by_use = sorted(use_counts, key=lambda tag: (-use_counts[tag], tag))
        return {
            self.rows_member: row_count,
            "different": len(use_counts),
            "used_once": sum(use_count == 1 for use_count in use_counts.values()),
            "tags": [{"tag": tag, self.rows_member: use_counts[tag]} for tag in tags_by_use],
            "merges": [tag_merge._asdict() for tag_merge in merges],
        }

    def report_tags_and_merges(self, store: Store, *, search_text: str, max_tags: int) -> Report:
        """Report the tags that contain a text (in any case), and all merges.

        The JSON document has all of these tags and merges. The tables have the first `max_tags`
        tags and the newest MAX_MERGE_ROWS merges.

        Args:
            search_text: The text; "" for all tags.
            max_tags: Tags in the table.
        """
        nouns = self.task.nouns
        counts = self.count_tags_and_list_merges(store)
        matching_tags = [tag for tag in counts["tags"] if search_text.lower() in tag["tag"].lower()]
        rows = plural(counts[self.rows_member], nouns.singular, nouns.plural)
        different_tags = plural(counts["different"], "different tag")
        rare_tags = plural(counts["used_once"], "tag")
        title = f"{rows} with {different_tags}; {rare_tags} of a single {nouns.singular}"
        report = Report({**counts, "tags": matching_tags}, title)
        report.parts.append(make_table(matching_tags[:max_tags], f"tag {self.rows_member}"))
        if counts["merges"]:
            report.parts.append(make_table(counts["merges"][-MAX_MERGE_ROWS:], MERGE_COLUMNS))
        return report

    def merge_tags(
        self,
        store: Store,
        pairs: Sequence[tuple[str, str]],
        editor: str,
        *,
        merged_at: datetime,
    ) -> Report:
        """Merge tags into others, in all stored answers and in later ones.

        Stores the merges and rewrites the answers in one transaction, or nothing. A pair that is
        already merged is skipped.

        Args:
            store: Store of the workspace.
            pairs: Old and new tag of each merge; they are cleaned here.
            editor: Name of the editor.
            merged_at: Time of the merges.

        Raises:
            InputError: A tag is invalid, no row has an old tag, an old tag is already merged into
                another tag, or the merges form a circle. Nothing was changed.
            ConfigurationError: Code of the task's file failed.
        """
        with store.write() as tx:
            rules = {
                tag_merge.old: tag_merge.new
                for tag_merge in tag_merges.list_merges(tx, self.journal_name)
                if tag_merge.undone_at is None
            }
            used_tags = set[str]()
            example: tuple[str, Document] | None = None
            for row_id, answer in self._read_answers(tx):
                used_tags.update(tag_merges.get_tags(answer, self.field.name))
                example = example or (row_id, answer)

            valid_pairs = dict.fromkeys(
                (
                    self._validate_typed_tag(old, used_tags, example),
                    self._validate_typed_tag(new, used_tags, example),
                )
                for old, new in pairs
            )
            # A command that is repeated, such as after a kill, finds its merges in force.
            new_pairs = [(old, new) for old, new in valid_pairs if rules.get(old) != new]
            check_and_add_merge_rules(
                rules, new_pairs, used_tags=used_tags, noun=self.task.nouns.singular
            )
            editor = normalize_editor_name(editor)
            merge_numbers = {
                tag_merges.record_merge(
                    tx, self.journal_name, old, new, editor=editor, now=merged_at
                )
                for old, new in new_pairs
            }
            return self._apply_merge_rules_to_answers(tx, merge_numbers)

    def undo(self, store: Store, number: int, editor: str, *, undone_at: datetime) -> Report:
        """Undo a merge by its number, and restore the tags of the answers; all or nothing.

        Args:
            store: Store of the workspace.
            number: Number of the merge.
            editor: Name of the editor.
            undone_at: Time of the undoing.

        Raises:
            InputError: No merge with this number is in force.
            ConfigurationError: Code of the task's file failed.
        """
        with store.write() as tx:
            editor = normalize_editor_name(editor)
            if not tag_merges.record_merge_undone(
                tx, self.journal_name, number, editor=editor, now=undone_at
            ):
                raise InputError(
                    f"there is no active merge {number}; {UNCHANGED_MESSAGE}",
                    hint=f"`{CommandHint('tags', task=self.task.subject)}` lists the merges",
                )
            return self._apply_merge_rules_to_answers(tx, {number})

    def _read_answers(self, tx: Connection) -> Iterator[tuple[str, Document]]:
        """Yield the id of each row in the source, and its preferred answer."""
        preference = self.task.make_version_preference(tx)
        for row_id, answer_json in answers.iterate_newest_answers(
            tx, self.task.name, None, preference=preference
        ):
            yield row_id, json.loads(answer_json)

    def _validate_typed_tag(
        self, text: str, used_tags: Collection[str], example: tuple[str, Document] | None
    ) -> str:
        """Return a typed tag as the task's class stores it.

        Args:
            text: The typed tag; blanks around it do not matter.
            used_tags: Tags in use, which are valid as they are.
            example: A row id and its answer, in which the tag is validated. None means that there
                is no answer; then the tag is not validated.

        Raises:
            InputError: The tag is invalid.
            ConfigurationError: Code of the task's file failed.
        """
        tag = text.strip()
        if tag in used_tags or example is None:
            return tag

        row_id, answer = example
        # A list may need several members.
        tags = [tag] * max(1, self.field.min_members)
        values = self.task.to_reply_form({**answer, self.field.name: tags})
        validation = self.task.validate_values_as_answer(
            values, None, self.task.answer_model, row_id=row_id
        )
        valid_tags: list[str] = []
        if validation.answer is not None:
            document = validation.answer.model_dump(mode="json")
            valid_tags = tag_merges.get_tags(document, self.field.name)
        if not valid_tags:
            reason = "; ".join(validation.reasons) or "the task leaves it out"
            raise InputError(f"{tag!r} is not a valid tag: {reason}; {UNCHANGED_MESSAGE}")
        return valid_tags[0]

    def _apply_merge_rules_to_answers(
        self, tx: Connection, merge_numbers: Collection[int]
    ) -> Report:
        """Apply the rules that are now in force to the stored answers.

        Reads the answers to all rows, page by page, and writes only answers that change. An answer
        is made from its form before all merges.

        Args:
            tx: Transaction in which the rules were changed.
            merge_numbers: Merges that were added or undone; if empty, no answer is read.

        Returns:
            The report of the merge or undoing: `merges` (those that were added or undone), `rows`
            (rows whose preferred answer changed, named by the task's word for them) and `kept`
            (rows whose answers stay, because another program's table refused them).
        """
        changed_count = 0
        refused_count = 0
        row_ids = answers.list_row_ids(tx, self.task.name) if merge_numbers else []
        rules_by_field = tag_merges.read_rules_by_field(tx, self.task.name)
        for page_ids in split_into_pages(row_ids):
            records = dict[str, list[tuple[str, str | None, int]]]()
            for stored in answers.read_answers_before_merges(tx, self.task.name, page_ids):
                answer_json, unmerged_json = tag_merges.merge_tags_in_json(
                    stored.original, rules_by_field
                )
                if answer_json != stored.answer:
                    record = (answer_json, unmerged_json, stored.id)
                    records.setdefault(stored.row_id, []).append(record)
            refused_ids = self._write_records(tx, records)
            changed_ids = {record[-1] for row_id in records for record in records[row_id]}
            preferred_answers = self.task.read_preferred_answers(
                tx, list(records.keys() - refused_ids)
            )
            changed_count += sum(answer.id in changed_ids for answer in preferred_answers.values())
            refused_count += len(refused_ids)

        if changed_count:
            record_row_change(tx, self.task.name)
        return self._make_merge_report(tx, merge_numbers, changed_count, refused_count)

    def _write_records(
        self, tx: Connection, records: Mapping[str, Sequence[tuple[str, str | None, int]]]
    ) -> set[str]:
        """Write answers as `_replace_answers_and_dependents`; return the ids of refused rows."""

        def write(row_ids: Sequence[str]) -> None:
            self._replace_answers_and_dependents(
                tx, {row_id: records[row_id] for row_id in row_ids}
            )

        refusals = write_rows_and_list_refused(tx, list(records), write, refusals=RefusedRowError)
        return {row_id for row_id, _ in refusals}

    def _replace_answers_and_dependents(
        self, tx: Connection, records: Mapping[str, Sequence[tuple[str, str | None, int]]]
    ) -> None:
        """Replace stored answers, and what `write_to=` and `derive=` make of them.

        Args:
            records: By row id, each answer with its JSON, the JSON before merges of tags, and its
                id.

        Raises:
            ConfigurationError: Code of the task's file failed.
            RefusedRowError: Another program's table refuses a value.
        """
        target = self.task.answer_target
        row_ids = list(records)
        former_answers = list[TargetValue]()
        if target is not None:
            former_answers = target.read_answers(tx, row_ids)
        columns = ("answer", "unmerged")
        update_rows_by_id(tx, answers_table, columns, list(chain.from_iterable(records.values())))
        if target is not None:
            preference = self.task.make_version_preference(tx)
            target.sync_answers(tx, row_ids, preference, former_answers=former_answers)
        update_derived_values(tx, self.task, row_ids)

    def _make_merge_report(
        self,
        tx: Connection,
        merge_numbers: Collection[int],
        changed_count: int,
        refused_count: int,
    ) -> Report:
        """Return the report of `_apply_merge_rules_to_answers`."""
        nouns = self.task.nouns
        merges = [
            tag_merge._asdict()
            for tag_merge in tag_merges.list_merges(tx, self.journal_name)
            if tag_merge.number in merge_numbers
        ]
        report = Report({"merges": merges, self.rows_member: changed_count, "kept": refused_count})
        report.title = f"tags of {plural(changed_count, nouns.singular, nouns.plural)} changed"
        report.parts.append(make_table(merges, MERGE_COLUMNS))
        if refused_count:
            report.warnings.append(
                f"{plural(refused_count, 'row')} not changed, because a trigger or rule of the "
                "database refused it"
            )
        return report


def check_and_add_merge_rules(
    rules: dict[str, str],
    new_pairs: Sequence[tuple[str, str]],
    *,
    used_tags: Collection[str],
    noun: str,
) -> None:
    """Add the merges of `new_pairs` to the mapping `rules` (new tag by old tag).

    Args:
        noun: Word for a row.

    Raises:
        InputError: An old tag is already merged, no row has it, or the rules form a circle.
    """
    for old, new in new_pairs:
        if old in rules:
            raise InputError(
                f"{old!r} is already merged into {rules[old]!r}; {UNCHANGED_MESSAGE}",
                hint=f"undo that merge first; `{CommandHint('tags')}` lists its number",
            )
        if old not in used_tags:
            raise InputError(
                f"no {noun} has the tag {old!r}; {UNCHANGED_MESSAGE}",
                hint=f"`{CommandHint('tags', find='…')}` finds tags",
            )
        rules[old] = new

    circular_tags = rules.keys() - tag_merges.resolve_chains_and_drop_circles(rules).keys()
    if circular_tags:
        message = f"the merges of {min(circular_tags)!r} would form a circle; {UNCHANGED_MESSAGE}"
        raise InputError(message, hint="leave out a merge of the circle")
