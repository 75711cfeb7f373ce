"""Export of the rows and answers of a user's task."""

from dataclasses import dataclass
from functools import partial

from sqlalchemy import ColumnElement, Connection, select

from pipeline.core.row_listing import RowFilter
from pipeline.engine.task_parts import ExportOptions, ExportRows, TaskExport
from pipeline.engine.user_rows import UserRows
from pipeline.store import answers
from pipeline.store.schema import answers as answers_table
from pipeline.tables.export import encode_rows, read_answer_rows
from pipeline.tables.row_table import GONE_STATE


@dataclass(eq=False, kw_only=True)
class UserExport(TaskExport):
    """Rows of a user's task with their answers."""

    row_noun = "row"
    options = frozenset({"extractor", "cost", "gone"})

    rows: UserRows

    def read_rows(self, tx: Connection, options: ExportOptions) -> ExportRows:
        """Return the rows to export, each with its state and its answer if it has one.

        Rows that are no longer in their source are left out, unless `options.gone` is set or the
        row filter asks for their state or names ids.

        The answer of a row is the first of these:

        - With `options.extractor`: the answer of this version or prompt version; no other.
        - A correction.
        - If the task prefers versions (PREFER_VERSIONS): the most preferred answer.
        - The answer under the prompt version that `choose_version` returns, of any of its models.

        Returns:
            The rows, which are read when iterated, and the number of answers by version. The member
            `version` is None if the answers are of several versions.

        Raises:
            InputError: `options.extractor` has no answers.
        """
        row_filter = options.row_filter or RowFilter()
        include_missing = options.gone or row_filter.state == GONE_STATE or bool(row_filter.ids)
        counts = _count_answers(tx, self.rows.record.name)
        version = self.choose_version(
            tx, list(counts), options, prompt_version=self.rows.prompt_version
        )

        in_source = list[ColumnElement[bool]]()
        if not include_missing:
            columns = self.rows.subquery.c
            source_ids = select(columns.findable_key).where(columns.findable_gone_at.is_(None))
            in_source.append(answers_table.c.item_id.in_(source_ids))
            counts = _count_answers(tx, self.rows.record.name, *in_source)

        is_any_version = options.extractor is None
        exported_version = version or self.rows.prompt_version
        if is_any_version:
            exported_version = answers.join_models(exported_version, counts)
        is_answer = answers.is_preferred(
            answers.VersionPreference(self.rows.record.name),
            version=exported_version,
            corrected=is_any_version,
        )
        has_several_models = version is not None and exported_version != version
        if self.rows.preferred_versions and is_any_version:
            is_answer = answers.is_preferred(self.rows.preference(tx))
        is_corrected = is_any_version and answers.PERSON in counts
        if is_any_version and (self.rows.preferred_versions or has_several_models or is_corrected):
            preferred_counts = _count_answers(tx, self.rows.record.name, is_answer, *in_source)
            if preferred_counts.keys() - {version, answers.PERSON}:
                version = None
                counts = preferred_counts
            elif version is not None:
                # A corrected row counts as a correction, not for the version that was asked.
                names = (version, answers.PERSON)
                counts |= {name: preferred_counts.get(name, 0) for name in names}

        rows, kinds = read_answer_rows(
            tx,
            self.rows.record,
            self.rows.table(tx),
            is_answer=is_answer,
            cost=options.cost,
            conditions=self.rows.grid(tx).make_conditions(tx, row_filter),
            include_missing=include_missing,
            prompt_version=self.rows.prompt_version,
            is_single_version=not is_any_version,
        )
        corrected_rows = counts.get(answers.PERSON, 0)
        is_single_model = not is_any_version and version != answers.PERSON
        model_counts = {name: count for name, count in counts.items() if name != answers.PERSON}
        return ExportRows(
            rows,
            partial(encode_rows, kinds=kinds),
            version=version,
            version_counts=model_counts,
            corrected_rows=corrected_rows if is_any_version else 0,
            left_out_corrections=corrected_rows if is_single_model else 0,
        )


def _count_answers(
    tx: Connection,
    task_name: str,
    *conditions: ColumnElement[bool],
) -> dict[str, int]:
    """Return the number of answered rows by version."""
    version_counts = answers.count_by_version(tx, task_name, *conditions)
    return {counts.version: counts.items for counts in version_counts}
