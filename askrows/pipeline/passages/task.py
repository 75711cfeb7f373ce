"""The task of passages: request texts, stored concepts, index entries and exports."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Connection, false

from askrows.pipeline.core.answer_fields import AnswerField, list_answer_fields
from askrows.pipeline.core.command_hint import CommandHint, HintTemplate
from askrows.pipeline.core.declaration import Declaration
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.quotes import NO_QUOTE_REASON
from askrows.pipeline.core.ranking import Entry, FieldGroup, Ranking
from askrows.pipeline.core.row_listing import RowFilter
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.passages import HOW_TO_BEGIN, PASSAGES, table
from askrows.pipeline.passages.table import ConceptRow, PassagesShape
from askrows.pipeline.rows.cells import cell_to_text, hash_text, parse_cell_if_json
from askrows.pipeline.rows.grid import Grid
from askrows.pipeline.rows.task_rows import TaskRows
from askrows.pipeline.rows.task_tables import DEFAULT_SETTINGS, TaskTables
from askrows.pipeline.store import answers as stored_answers
from askrows.pipeline.store.answers import VersionCounts
from askrows.pipeline.store.edits import NewEdit
from askrows.pipeline.store.task_record import TaskRecord, belongs_to_version
from askrows.pipeline.tasks.prompt_builder import PromptBuilder
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_file import make_python_path
from askrows.pipeline.tasks.task_values import (
    ExportOptions,
    ExportRows,
    IndexedTask,
    RequestOutcome,
    RowFault,
    TaskNouns,
    WriteResult,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

    from askrows.pipeline.passages.declaration import PassageConcepts
    from askrows.pipeline.passages.evidence import GroundedConcepts


# About 5,000 tokens. The prompt has only the beginning of a longer text.
MAX_ASKED_CHARS = 20_000
CUT_INSTRUCTION = (
    "The passage is longer; only its beginning is shown. Quote from what is shown alone."
)

# Characters of the text in a search hit.
_MAX_HIT_CHARS = 1_000
# `json.dumps` with an option would create an encoder in each call.
_JSON_ENCODER = json.JSONEncoder(ensure_ascii=False)

NOUNS = TaskNouns(
    singular="passage",
    plural="passages",
    answered="with concepts",
    none_open_message="every passage with a text has concepts, is claimed or is parked",
    input_noun="text",
    inputs_noun="texts",
    ask_command=CommandHint("passages-backfill"),
    task_option="passages",
)


# What a task file would declare; the model of answers is imported when it is first used.
RECORD = TaskRecord(
    name=table.TASK,
    path=str(make_python_path(PASSAGES)),
    prefix=PASSAGES,
    items="SELECT id, text FROM passages",
    key=(("id", "text"),),
    columns={"text": "text"},
    fields=(("concepts", "json"),),
    version=1,
    fingerprint="",
    at=datetime.min.replace(tzinfo=UTC),
    # Nine concepts of about a hundred tokens, mostly quotations.
    answer_tokens=900,
    asked_columns=("text",),
)


class PassagesTask(Task):
    """The task of concepts of passages, stored as rows of a table of their own."""

    no_rows_hint = HOW_TO_BEGIN
    source_hint = ""
    row_columns = ("text",)
    needs_row = True
    needs_pilot = True
    has_views = False
    exported_noun = "concept"
    export_options = frozenset({"answer_version"})
    export_formats = MappingProxyType(
        {
            ".jsonl": "jsonl",
            ".ndjson": "jsonl",
            ".csv": "csv",
            ".xlsx": "xlsx",
            ".parquet": "parquet",
        },
    )
    index_hint = HintTemplate(
        "`{}` builds the index of passages with concepts",
        CommandHint("index", task="passages"),
    )

    def __init__(
        self,
        shape: PassagesShape,
        settings: Settings = DEFAULT_SETTINGS,
        prompt_version: str = RECORD.prompt_version,
        skipped_versions: tuple[str, ...] | None = None,
    ) -> None:
        """Make the task; its answer model is imported when it is first used.

        Args:
            shape: The tables of the database.
            settings: The settings of the run.
            prompt_version: The version that answers are attributed to.
            skipped_versions: Passages with concepts of these prompt versions are not asked. By
                default this applies to all versions.
        """
        super().__init__(RECORD, settings)
        self.shape = shape
        self.subject = PASSAGES
        self.nouns = NOUNS
        # Answers are checked by the declaration that is installed now.
        self.fingerprint = None
        self.prompt_version = prompt_version
        self.skipped_versions = skipped_versions
        self.parked_version = "" if skipped_versions is None else prompt_version

    @property
    def tables(self) -> TaskTables:
        """The tables of passages and of their concepts."""
        return table.TABLES

    @cached_property
    def index(self) -> IndexedTask:
        """How passages are searched."""
        return _make_passage_index(self)

    @cached_property
    def declaration(self) -> Declaration:
        """The declaration. The answer model is imported on first use, because this is slow."""
        from askrows.pipeline.passages.declaration import task

        return task

    @property
    def answer_fields(self) -> Sequence[AnswerField]:
        """The fields of an answer."""
        return list_answer_fields(self.answer_model)

    @cached_property
    def rows(self) -> TaskRows:
        """Return the table of passages, with the condition for open passages."""
        return table.make_passage_rows(
            self.shape,
            skipped_versions=self.skipped_versions,
            prompt_version=self.parked_version,
        )

    def unpack_row(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row of the table of passages as it is."""
        return row

    def hash_input(self, row: Mapping[str, Any]) -> str:
        """Return the hash of the whole text, because offsets are valid for this text alone."""
        return hash_text(cell_to_text(row["text"]))

    def make_grid(self, tx: Connection) -> Grid:
        """Return the grid that lists passages."""
        from askrows.pipeline.passages.show import make_passages_grid

        return make_passages_grid(tx, self.shape, self)

    def delete_row(
        self,
        tx: Connection,  # noqa: ARG002
        row_id: str,  # noqa: ARG002
    ) -> None:
        """Refuse to delete a passage, because other rows of the user refer to it.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            "a single passage cannot be forgotten; nothing was changed",
            hint=f"`{CommandHint('rollback')}` deletes the concepts of a version in all passages",
        )

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """The prompt builder, which cuts long texts."""
        return PromptBuilder(
            self.declaration,
            {"passage": "text"},
            data_instruction="",
            format_cell=_cut_cell,
        )

    def make_prompt_text(self, row: Mapping[str, Any]) -> str:
        """Return the prompt text of a passage; a notice follows a text that was cut."""
        text = super().make_prompt_text(row)
        if len(cell_to_text(row["text"])) > MAX_ASKED_CHARS:
            text = f"{text}\n{CUT_INSTRUCTION}"
        return text

    @property
    def stored_answer_model(self) -> "type[BaseModel]":
        """The model of stored answers: concepts with evidence."""
        from askrows.pipeline.passages.evidence import GroundedConcepts

        return GroundedConcepts

    def locate_quotations_and_check(
        self,
        answer: "BaseModel",
        row: Mapping[str, Any] | None,
    ) -> "tuple[BaseModel | None, str]":
        """Check the quotations of an answer against the text of its passage.

        A reply of a model has quotations without offsets, which are located in the text. An answer
        that was copied from a row with the same input has located quotations already. It is valid
        if this text has them at the same offsets. If `row` is None, nothing is checked.

        Returns:
            The answer with evidence (located quotations) and "", or None and the reason. Without a
            row, the answer as it is and "".
        """
        if row is None:
            return answer, ""

        from askrows.pipeline.passages.evidence import GroundedConcepts, ground

        text = cell_to_text(row["text"])
        if not isinstance(answer, GroundedConcepts):
            return ground(cast("PassageConcepts", answer), text)
        if answer.matches_text(text):
            return answer, ""
        return None, f"{NO_QUOTE_REASON}passage"

    def apply_answers_to_rows(
        self,
        tx: Connection,
        outcomes: Sequence[RequestOutcome],
        *,
        version: str,
        now: datetime,
    ) -> WriteResult:
        """Insert the concepts of answers, in the caller's transaction, and lock their passages.

        An answer is applied, that is, its concepts are inserted, except in three cases: it is
        outdated, its passage was deleted, or the passage has concepts of the same prompt version
        that no answer of a model is about. The concepts of earlier answers under the prompt version
        are deleted.
        An answer is outdated if the text of its passage changed after the request, or if its
        quotations were not located, so that it was not checked against the text.

        Args:
            version: The version (`task@n/model`) of all answers.
            now: Time of the concepts.

        Returns:
            The ids of passages whose concepts were inserted, and of those with outdated answers.

        Raises:
            RefusedRowError: A rule of the table refuses a row.
        """
        from askrows.pipeline.passages.evidence import GroundedConcepts

        prompt_version, _, model = version.partition("/")
        outcome_by_id = {outcome.claim.row_id: outcome for outcome in outcomes}
        texts = table.read_passage_texts(tx, self.shape, list(outcome_by_id), should_lock=True)
        outdated_ids = {
            key
            for key, text in texts.items()
            if outcome_by_id[key].claim.input_hash != hash_text(text)
            or not isinstance(outcome_by_id[key].answer, GroundedConcepts)
        }
        has_concepts = table.has_concepts(self.shape, (prompt_version,))
        answered_ids = table.make_passage_rows(self.shape).filter_ids(tx, list(texts), has_concepts)
        renewed_ids = stored_answers.filter_answered_ids(
            tx, table.TASK, sorted(answered_ids), prompt_version
        )
        refused_ids = outdated_ids | (answered_ids - renewed_ids)
        applied_answers = {
            key: cast("GroundedConcepts", outcome.answer)
            for key, outcome in outcome_by_id.items()
            if key in texts and key not in refused_ids
        }
        own_versions = [
            (counts.prompt_version, counts.model)
            for counts in stored_answers.list_begun_versions(tx, table.TASK)
            if counts.prompt_version == prompt_version
        ]
        replaced_ids = sorted(renewed_ids & applied_answers.keys())
        table.remove_concepts(tx, self.shape, own_versions, ids=replaced_ids)
        self._insert_concepts(tx, applied_answers, prompt_version, model, now=now)
        return WriteResult(applied=set(applied_answers), outdated=outdated_ids)

    def _insert_concepts(
        self,
        tx: Connection,
        answer_by_id: Mapping[str, "GroundedConcepts"],
        prompt_version: str,
        model: str,
        *,
        now: datetime,
    ) -> None:
        """Insert a row for each concept of some answers, in the caller's transaction.

        A concept without evidence gets NULL. Aliases and evidence are JSON text.

        Raises:
            RefusedRowError: A rule of the table refuses a row.
        """
        rows: list[ConceptRow] = []
        for key, answer in answer_by_id.items():
            for concept in answer.concepts:
                evidence = None
                if concept.evidence is not None:
                    evidence = concept.evidence.model_dump_json()
                row = ConceptRow(
                    passage_id=key,
                    concept_name=concept.name,
                    concept_type=concept.type,
                    aliases=_JSON_ENCODER.encode(concept.aliases),
                    confidence=concept.confidence,
                    extractor_model=model,
                    extractor_version=prompt_version,
                    evidence=evidence,
                    created_at=now,
                )
                rows.append(row)
        table.insert_concepts(tx, self.shape, rows)

    def to_reply_form(self, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a stored answer in the form of a reply, with quotes in the place of evidence.

        A concept whose evidence is NULL has an empty list of quotes. Elements of the list of
        concepts that are not objects stay as they are. Other members of the answer are left out.
        """
        concepts: list[Any] = []
        for concept in answer.get("concepts", ()):
            if not isinstance(concept, Mapping):
                concepts.append(concept)
                continue
            fields = dict(concept)
            if "evidence" in fields:
                support = (fields.pop("evidence") or {}).get("support", ())
                fields["quotes"] = [quotation["quote"] for quotation in support]
            concepts.append(fields)
        return {"concepts": concepts}

    def update_tables_by_edits(self, tx: Connection, new_edits: Mapping[str, NewEdit]) -> None:
        """Replace the concepts of earlier corrections by those of the new edits.

        If all edits of a passage are undone, its concepts are only deleted.
        """
        from askrows.pipeline.passages.evidence import GroundedConcepts

        person = stored_answers.PERSON
        table.remove_concepts(tx, self.shape, [(person, "")], ids=list(new_edits))
        for row_id, new_edit in new_edits.items():
            if new_edit.is_applied:
                answer = GroundedConcepts.model_validate(new_edit.edit.after)
                self._insert_concepts(tx, {row_id: answer}, person, "", now=new_edit.edit.at)

    def list_versions(self, tx: Connection) -> list[VersionCounts]:
        """Return every version that has concepts, including those of other programs."""
        return table.read_concept_versions(tx, self.shape)

    def remove_answers_from_tables(
        self,
        tx: Connection,
        row_ids: Sequence[str],  # noqa: ARG002 - other programs have written concepts, too
        version: VersionCounts,
    ) -> int:
        """Delete the concepts of a version in all passages; return their number."""
        return table.remove_concepts(tx, self.shape, [(version.prompt_version, version.model)])

    def read_export(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the concepts to export, which are read when iterated.

        - With `options.answer_version`, only the concepts of this version.
        - Otherwise the concepts of the preferred version: the first of PREFER_VERSIONS, else the
          version that began last. If only other programs wrote concepts, it is their version with
          the newest concept. A corrected passage has only the concepts of its correction.

        `options.row_filter` selects the passages. `version_counts` of the result counts the
        concepts of all versions in the whole table, also of versions that are not exported.
        """
        conditions = self._make_passage_conditions(tx, options.row_filter)
        versions = self.list_versions(tx)
        # Another program may have written the time as text, so times are compared as text.
        versions.sort(key=lambda version: str(version.last or ""), reverse=True)
        counts_by_name = {counts.version: counts for counts in versions}
        exported_version = self._choose_version(tx, list(counts_by_name), options.answer_version)

        version_keys = None
        if exported_version is not None:
            exported_counts = counts_by_name[exported_version]
            version_keys = [(exported_counts.prompt_version, exported_counts.model)]
        left_out_corrections = 0
        if exported_version is None or options.answer_version is None:
            conditions.append(table.is_current(self.shape))
            if version_keys is not None:
                version_keys.append((stored_answers.PERSON, ""))
        elif exported_version != stored_answers.PERSON and stored_answers.PERSON in counts_by_name:
            left_out_corrections = counts_by_name.pop(stored_answers.PERSON).rows
        concepts = table.iterate_concepts(tx, self.shape, *conditions, versions=version_keys)
        return ExportRows(
            (concept._asdict() for concept in concepts),
            table.EXPORT_KINDS,
            version=exported_version,
            version_counts={name: counts.rows for name, counts in counts_by_name.items()},
            left_out_corrections=left_out_corrections,
        )

    def _choose_version(
        self, tx: Connection, answered_versions: Sequence[str], requested_version: str | None
    ) -> str | None:
        """Return the most preferred version with concepts; None if there is none.

        The preferred versions of the task come first, then the version that began last. Versions
        of other programs come last, in the order of `answered_versions`. The version `person`, of
        corrections, is returned only if it is requested.

        Args:
            answered_versions: The versions (`task@n/model`) that have concepts.
            requested_version: Consider only this version, or the versions of this prompt version.
        """
        candidates = [name for name in answered_versions if name != stored_answers.PERSON]
        if requested_version is not None:
            candidates = [
                name for name in answered_versions if belongs_to_version(name, requested_version)
            ]
        preference = stored_answers.VersionPreference.read_for_task(
            tx, self.name, prompt_version="", versions=self.preferred_versions
        )
        return min(candidates, key=preference.make_sort_key, default=None)

    def _make_passage_conditions(
        self,
        tx: Connection,
        row_filter: RowFilter | None,
    ) -> list[ColumnElement[bool]]:
        """Return SQL conditions that limit concepts to the passages of a filter.

        They are empty without a filter. A filter of refused rows selects no concept.
        """
        if row_filter is None:
            return []
        grid = self.make_grid(tx)
        if grid.should_list_refused(row_filter):
            return [false()]
        selected_ids = grid.select_rows(tx, row_filter, self.shape.passages.c.id)
        return [self.shape.concepts.c.passage_id.in_(selected_ids)]

    def check_own_table(self, tx: Connection) -> tuple[Mapping[str, int], Sequence[RowFault]]:
        """Compare all quotations with their passages, and all concepts with the applied answers.

        Returns:
            Figures and faults; see `quality.compare_concepts_with_passages_and_answers`.
        """
        from askrows.pipeline.passages.quality import compare_concepts_with_passages_and_answers

        return compare_concepts_with_passages_and_answers(tx, self.shape)


def _cut_cell(_column: str, cell: Any) -> str:
    """Return the beginning of a passage's text, as long as a request may be."""
    return cell_to_text(cell)[:MAX_ASKED_CHARS]


def _make_passage_index(task: PassagesTask) -> IndexedTask:
    """Return how passages with concepts are indexed."""
    return IndexedTask(
        task=table.TASK,
        folder="tasks/passages",
        columns={"rank": "rank", "passage": "id", "concepts": "concepts", "text": "text"},
        ranking=Ranking((FieldGroup(("text",)), FieldGroup(("concepts",), 0.5))),
        count_entries=partial(_count_index_entries, task.shape),
        read_entries=partial(_read_index_entries, task),
        tags_of=_list_tags,
        hit_fields=_make_hit_fields,
        is_on_request=True,
    )


def _list_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Return the names of the concepts of an entry."""
    return [str(name) for name in metadata["concepts"]]


def _make_hit_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a hit, from the metadata of its entry."""
    return {
        "id": metadata["id"],
        "concepts": metadata["concepts"],
        "text": metadata["text"][:_MAX_HIT_CHARS],
    }


def _count_index_entries(shape: PassagesShape, tx: Connection) -> int:
    """Return how many passages have concepts."""
    passages = table.make_passage_rows(shape)
    return passages.count_rows(tx, table.has_concepts(shape, None))


def _read_index_entries(
    task: PassagesTask,
    tx: Connection,
    among: Sequence[str] | None = None,
) -> Iterator[Entry]:
    """Yield an index entry for each passage with concepts, by id.

    Its metadata are id, text, names of concepts, source and metadata. A corrected passage has only
    the names of its correction. The names are embedded with the text.

    Args:
        among: Ids of the passages; None means all passages.
    """
    grid = task.make_grid(tx)
    has_concepts = table.has_concepts(task.shape, None)
    # WHERE= of a search can name the columns after the text.
    _, *extra_columns = task.shape.value_columns
    for row in grid.read_rows(tx, conditions=[has_concepts], row_ids=among):
        values = grid.list_values(row, ("text", "concepts"))
        text = values["text"]
        concepts = values["concepts"] or []
        extra_fields = {name: parse_cell_if_json(row.values[name]) for name in extra_columns}
        embedded_text = f"{text} Concepts: {', '.join(concepts)}." if concepts else text
        fields = {"text": text, "concepts": "\n".join(concepts)}
        metadata = {"id": row.id, "text": text, "concepts": concepts, **extra_fields}
        yield Entry(row.id, embedded_text, metadata, [concepts, extra_fields], fields)
