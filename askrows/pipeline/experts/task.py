"""The task of people: build the prompt, write tags and scores, and describe the export."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache, cached_property, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import orjson
from sqlalchemy import Connection, Table, delete, exc

from askrows.pipeline.core.declaration import Declaration
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.row_listing import NO_FILTER
from askrows.pipeline.core.states import UNSUPPORTED_REASON
from askrows.pipeline.experts import HOW_TO_BEGIN, table
from askrows.pipeline.rows.cells import (
    cell_to_text,
    hash_text,
    parse_text_list,
    stripped_text,
    to_compact_json,
)
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.reflection import is_sqlite
from askrows.pipeline.rows.refusals import is_constraint_error
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.store import answers, tag_merges
from askrows.pipeline.store import rows as row_store
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.database import (
    describe_error,
)
from askrows.pipeline.store.edits import NewEdit
from askrows.pipeline.tasks.prompt_builder import PromptBuilder
from askrows.pipeline.tasks.task import IndexedTask, Task
from askrows.pipeline.tasks.task_values import (
    ExportOptions,
    ExportRows,
    RequestOutcome,
    RowFault,
    TaskNouns,
    WriteResult,
)

if TYPE_CHECKING:
    from askrows.pipeline.experts.declaration import Tags

NOTHING_CHANGED = "nothing was changed"
_DATABASE_KEEPS_ROW = (
    "answered, but a trigger or a rule of the database prevented the change of the row"
)
_SUPPORTS_NO_TAG = f"{UNSUPPORTED_REASON} tag"

NOUNS = TaskNouns(
    singular="person",
    plural="people",
    answered="tagged",
    none_open_message="everyone with a bio is tagged, claimed or parked",
    input_noun="biography",
    inputs_noun="biographies",
)
# The text of a version never changes: another wording needs another version.
PROMPT_VERSION = f"{table.TASK}@2"


class PeopleTask(Task):
    """The task that tags people by their biographies, in the table `experts`."""

    name = table.TASK
    subject = "experts"
    nouns = NOUNS
    fill_hint = HOW_TO_BEGIN
    row_columns = table.PROMPT_COLUMNS
    name_columns = (table.USERNAME,)
    # The mean of the local engine's answers.
    answer_tokens = 11
    exported_noun = "expert"

    def __init__(self, index: IndexedTask, *, vocabulary_file: Path | None = None) -> None:
        """Make the task; its answer model is imported when it is first used.

        Args:
            index: See `make_people_index`.
            vocabulary_file: File with the only tags that people may get; None allows all.

        Raises:
            InputError: The vocabulary is invalid.
        """
        self.index = index
        self.prompt_version = PROMPT_VERSION
        # The declaration with a vocabulary; None without one.
        self._listed_declaration: Declaration | None = None
        if vocabulary_file is not None:
            from askrows.pipeline.experts.declaration import declare_with_vocabulary

            self._listed_declaration, self.prompt_version = declare_with_vocabulary(vocabulary_file)

    def select_task_rows(self, tx: Connection) -> TaskRows:
        """Return the table of people."""
        return table.people_table(tx)

    def find_row_id(self, tx: Connection, name: str) -> str:
        """Return the id of the person with a username.

        Raises:
            InputError: There is no such person.
        """
        return str(table.find_person(tx, name)["id"])

    def make_grid(self, tx: Connection) -> Grid:
        """Return the description of the list of people."""
        from askrows.pipeline.experts.show import make_people_grid

        return make_people_grid(tx)

    def hash_input(self, row: Mapping[str, Any], text: str | None = None) -> str:
        """Return `person:text:biography`, three hashes of what a person is asked with.

        They are hashes of the username, of the prompt's text and of the biography. The first and
        the last are shortened.

        Args:
            row: Row with the columns of the prompt.
            text: Text of the prompt; None builds it from the row.
        """
        username_hash = hash_text(stripped_text(row["username"]))
        prompt_text = _make_builder().fill_prompt(row) if text is None else text
        biography_hash = hash_text(stripped_text(row["bio"]))
        return (
            f"{username_hash[: table.HASH_PART_DIGITS]}:{hash_text(prompt_text)}"
            f":{biography_hash[: table.HASH_PART_DIGITS]}"
        )

    def delete_row(
        self,
        tx: Connection,
        row_id: str,
        *,
        unchanged_text: str = "nothing more was changed",
    ) -> None:
        """Delete a person's row and stored cells of other columns, in the caller's transaction.

        If the row is already gone, only the stored cells are deleted.

        Args:
            tx: Transaction.
            row_id: Person.
            unchanged_text: End of the error message: what the command has done until now.

        Raises:
            ConfigurationError: Rows that refer to the person, or a trigger or rule of another
                program, prevent the deletion; `unchanged_text` ends the message.
        """
        people = table.people_table(tx)
        row_store.delete_row(tx, table.TASK, row_id)
        username = people.read_names(tx, [row_id]).get(row_id)
        if username is None:
            return

        try:
            tx.execute(delete(table.experts).where(people.match_ids([row_id])))
            if not is_sqlite(tx):
                # Deferred constraints would fail at the commit instead.
                tx.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
            if not people.filter_ids(tx, [row_id]):
                return
            reason = "a trigger or a rule prevented it"
        except exc.DBAPIError as error:
            if not is_constraint_error(error):
                raise
            reason = describe_error(error)
        raise ConfigurationError(
            f"the database did not delete the row of {username!r}: {reason}; {unchanged_text}",
            hint="remove the reference, trigger or rule, then repeat the command",
        )

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """Return the builder of the prompt."""
        builder = _make_builder()
        return replace(builder, declaration=self._listed_declaration or builder.declaration)

    def write_answers(
        self,
        tx: Connection,
        outcomes: Sequence[RequestOutcome],
        *,
        version: str,  # noqa: ARG002 - a row of tags does not store whose they are
        now: datetime,  # noqa: ARG002 - nor their time
    ) -> WriteResult:
        """Write the tags of answers and the resulting scores.

        The merges of tags in force are applied to the tags. The rows are locked in the caller's
        transaction.

        - A row without tags gets the tags, even if its text changed after the request.
        - Tags that a model gave are replaced, if the answer is to the current text.
        - All other tags stay. An answer without tags, or about another person who had the id,
          writes nothing.

        Returns:
            `applied`: ids whose rows have the new tags. `outdated`: ids whose text changed after
            the request. `unwritable`: people whose row has no new tags and who would be asked again
            and again, with the reason: the database prevented the change, or the model found no tag
            in the current text.
        """
        outcomes_by_id = {outcome.claim.row_id: outcome for outcome in outcomes}
        merge_rules = tag_merges.active_merge_rules(tx, table.TASK)
        rows = table.people_table(tx).read_rows(
            tx,
            list(outcomes_by_id),
            table.COLUMNS_TO_WRITE_TAGS,
            should_lock=True,
        )
        hashes = {row_id: self.hash_input(row) for row_id, row in rows.items()}

        outdated_ids: set[str] = set()
        other_person_ids: set[str] = set()
        for row_id, current_hash in hashes.items():
            asked_hash = outcomes_by_id[row_id].claim.input_hash
            if current_hash == asked_hash:
                continue
            outdated_ids.add(row_id)
            # A database may give the id of a deleted row to a new row.
            if current_hash.partition(":")[0] != asked_hash.partition(":")[0]:
                other_person_ids.add(row_id)

        tags_by_id: dict[str, str | None] = {}
        for row_id in rows.keys() - other_person_ids:
            tags = cast("Tags", outcomes_by_id[row_id].answer).tags
            if tags:
                merged_tags = tag_merges.apply_rules(tags, merge_rules) if merge_rules else tags
                tags_by_id[row_id] = orjson.dumps(merged_tags).decode()

        tagged_ids = [
            row_id
            for row_id, row in rows.items()
            if row["tags"] is not None and row_id not in outdated_ids
        ]
        replaceable_ids = set(_find_ids_with_model_tags(tx, tagged_ids))
        replacements = {
            row_id: tags for row_id, tags in tags_by_id.items() if row_id in replaceable_ids
        }
        written_ids = table.write_tags(tx, tags_by_id, rows=rows)
        written_ids |= table.write_tags(tx, replacements, rows=rows, overwrite=True)

        unwritten_ids = list(outcomes_by_id.keys() - other_person_ids - written_ids)
        open_ids = table.people_table(tx).filter_ids(tx, unwritten_ids, table.untagged)
        open_ids |= replaceable_ids - written_ids
        unwritable = {}
        for row_id in open_ids:
            if row_id in tags_by_id:
                unwritable[row_id] = _DATABASE_KEEPS_ROW
            elif row_id not in outdated_ids:
                unwritable[row_id] = _SUPPORTS_NO_TAG
        return WriteResult(applied=written_ids, outdated=outdated_ids, unwritable=unwritable)

    def remove_answers(self, tx: Connection, row_ids: Sequence[str], version: VersionCounts) -> int:
        """Remove tags that are still those of the preferred answer, and update the scores.

        Tags that were merged since are removed, too. Tags that a person edited stay.

        Args:
            tx: Transaction.
            row_ids: People.
            version: Only tags of this version.

        Returns:
            Number of people whose tags were removed.
        """
        untagged_ids = _find_ids_with_model_tags(tx, row_ids, version=version.version)
        table.write_tags(tx, dict.fromkeys(untagged_ids), overwrite=True)
        return len(untagged_ids)

    def read_current_answers(
        self, tx: Connection, row_ids: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """Return the current tags of people, whoever wrote them, as the members of an answer."""
        rows = table.people_table(tx).read_rows(tx, row_ids, ("tags",))
        cells = {row_id: row["tags"] for row_id, row in rows.items()}
        return {row_id: {"tags": parse_text_list(cells.get(row_id)) or []} for row_id in row_ids}

    def sync_corrected_rows(self, tx: Connection, new_edits: Mapping[str, NewEdit]) -> None:
        """Write the tags of the edits, with the merges applied, and the resulting scores.

        Existing tags are replaced. An undone edit may leave a person without tags.

        Args:
            tx: The caller's transaction.
            new_edits: The edits by id of the person.

        Raises:
            InputError: The stored tags of a person are not a list, or an edit (not an undo) would
                remove the last tag of a person.
            ConfigurationError: A trigger or rule of the database prevented a change.
        """
        row_ids = list(new_edits)
        rows = table.people_table(tx).read_rows(tx, row_ids, table.COLUMNS, should_lock=True)
        merge_rules = tag_merges.active_merge_rules(tx, table.TASK)
        tags_by_id: dict[str, str | None] = {}
        for row_id, new_edit in new_edits.items():
            new_tags = tag_merges.apply_rules(new_edit.edit.after["tags"], merge_rules)
            _check_corrected_tags(rows[row_id], new_edit, new_tags)
            tags_by_id[row_id] = to_compact_json(new_tags) if new_tags else None

        written_ids = table.write_tags(tx, tags_by_id, rows=rows, overwrite=True)
        for row_id in row_ids:
            if row_id not in written_ids:
                username = stripped_text(rows[row_id][table.USERNAME])
                raise ConfigurationError(
                    f"a trigger or a rule of the database prevented the change of {username!r}; "
                    f"{NOTHING_CHANGED}",
                )

    def read_export(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return every person with the additional columns of imported files and the state.

        Refused rows of imported files follow. The rows are read when iterated. If
        `options.row_filter` is set, only the people and refused rows that meet it are returned.
        Tags are those of the table: `options.answer_version` is ignored.
        """
        from askrows.pipeline.experts.show import (
            encode_experts,
            read_exported_people,
            read_exported_refusals,
            read_extra_column_names,
        )

        extra_columns = read_extra_column_names(tx)
        encode = partial(encode_experts, extra_columns=extra_columns)
        people = read_exported_refusals(tx)
        if options.row_filter is None:
            people = chain(read_exported_people(tx, NO_FILTER), people)
        elif not self.make_grid(tx).should_list_refused(options.row_filter):
            people = read_exported_people(tx, options.row_filter)
        return ExportRows(
            people,
            encode,
            version_counts=table.count_people_by_version(tx),
        )

    def check_rows(
        self, tx: Connection, display: Progress
    ) -> tuple[Mapping[str, int], Sequence[RowFault]]:
        """Return no figures, and the faults of scores, tags and texts; see `show.check_people`."""
        from askrows.pipeline.experts.show import check_people

        return {}, check_people(tx, display)

    def list_tables(
        self,
        tx: Connection,  # noqa: ARG002 - same in each database
    ) -> Sequence[Table]:
        """Return the table of people."""
        return (table.experts,)

    def make_tables(self, target: Connection) -> None:
        """Create the table of people in another database."""
        table.PEOPLE.adopt(target)


def _check_corrected_tags(
    row: Mapping[str, Any],
    new_edit: NewEdit,
    new_tags: Sequence[str],
) -> None:
    """Check that an edit may replace the tags of a person; only an undo may leave no tags.

    Args:
        row: Stored row of the person.
        new_edit: The edit, or the undoing of an edit.
        new_tags: The tags that the person would get.

    Raises:
        InputError: The stored tags are not a list, or an edit would remove the last tag.
    """
    username = stripped_text(row[table.USERNAME])
    tags_before = parse_text_list(row["tags"])
    if tags_before is None:
        raise InputError(
            f"the tags of {username!r}, which another program wrote, are not a JSON list; "
            f"{NOTHING_CHANGED}",
        )

    is_new_correction = new_edit.is_applied and new_edit.edit.undoes is None
    if not new_tags and tags_before and is_new_correction:
        raise InputError(
            f"{username!r} would have no tags, and would be asked about again; {NOTHING_CHANGED}",
            hint="add or rename a tag in the same edit",
        )


def _find_ids_with_model_tags(
    tx: Connection,
    ids: Sequence[str],
    *,
    version: str | None = None,
) -> list[str]:
    """Return the ids of people whose tags in the table are still those that a model gave.

    A person has these if the list of tags in the row is equal to that of the person's preferred
    answer, to which the merges of tags in force are applied. People without an answer are left out,
    and so are people whose preferred answer is a correction.

    Args:
        tx: Transaction.
        ids: People to check.
        version: If set, people whose preferred answer is of another version are left out, too.
    """
    last_answers = answers.preferred_answers(tx, table.TASK, ids)
    answers_by_id = {
        row_id: last_answer.answer
        for row_id, last_answer in last_answers.items()
        if not last_answer.is_corrected and version in {None, last_answer.version}
    }

    merge_rules = tag_merges.active_merge_rules(tx, table.TASK)
    rows = table.people_table(tx).read_rows(tx, list(answers_by_id), ("tags",))
    ids_with_own_tags = []
    for row_id, row in rows.items():
        answered_tags = json.loads(answers_by_id[row_id]).get("tags") or []
        if parse_text_list(row["tags"]) == tag_merges.apply_rules(answered_tags, merge_rules):
            ids_with_own_tags.append(row_id)
    return ids_with_own_tags


@cache
def _make_builder() -> PromptBuilder:
    """Return the builder of the prompt without a vocabulary.

    The answer model is imported on first use, because this is slow.
    """
    from askrows.pipeline.experts.declaration import COLUMN_BY_PLACEHOLDER, task

    return PromptBuilder(task, COLUMN_BY_PLACEHOLDER, data_instruction="", format_cell=_prompt_text)


def _prompt_text(column: str, cell: Any) -> str:
    """Return a cell as text of the prompt; all but the biography on one line with single blanks."""
    if column == "bio":
        return stripped_text(cell)
    return " ".join(cell_to_text(cell).split())
