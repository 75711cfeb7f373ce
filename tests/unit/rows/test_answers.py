"""Views contain the answers of a task, and a field is written to a table of the user."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.rows.answer_views import create_or_replace_views
from askrows.pipeline.rows.write_to import TargetValue, make_answer_target
from askrows.pipeline.store.answers import VersionPreference
from askrows.pipeline.store.schema import answers
from askrows.pipeline.store.task_record import TaskRecord
from tests.delivery import workspace_at
from tests.integration.rows.sources import record_of
from tests.lab import ON_POSTGRESQL

ANSWERED_AT = datetime(2026, 5, 1, 10, tzinfo=UTC)
VERSION = "reviews@1/model"
ID_KEY = (("id", "text"),)


@contextmanager
def database(tmp_path: Path) -> Iterator[Connection]:
    """Open a transaction in the database of a new workspace."""
    with workspace_at(tmp_path / "data").open() as ws, ws.workspace.store.write() as tx:
        yield tx


def insert_answers(tx: Connection, rows: Sequence[TargetValue]) -> None:
    """Insert answers into the database."""
    default_columns: dict[str, Any] = {
        "input_hash": "",
        "applied": True,
        "outdated": False,
        "tokens_in": 0,
        "tokens_out": 0,
    }
    default_columns |= {"cost": 0, "model_version": "", "response_id": "", "shares": None}
    default_columns |= {"task": "reviews", "batch": None, "fingerprint": None}
    for target_value in rows:
        answer_columns = {
            **default_columns,
            "row_id": target_value.row_id,
            "version": target_value.version,
            "answer": target_value.answer_json,
            "at": target_value.answered_at,
        }
        tx.execute(insert(answers), [answer_columns])


def make_record(
    fields: Sequence[tuple[str, str]], key: Sequence[tuple[str, str]] = ID_KEY
) -> TaskRecord:
    """Return the record of a task with views."""
    return record_of("reviews", prefix="reviews", key=tuple(key), fields=tuple(fields))


def select_rows(tx: Connection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT without parameters."""
    result_rows = tx.exec_driver_sql(sql, execution_options={"no_parameters": True})
    return [tuple(row) for row in result_rows]


def test_missing_or_invalid_field_is_null_in_a_view(tmp_path: Path) -> None:
    """Answers of older versions with fields of other types do not break a view."""
    fields = tuple(
        (kind, kind) for kind in ("text", "integer", "real", "boolean", "date", "time", "json")
    )
    answer_documents: list[Any] = [
        {},
        dict.fromkeys(dict(fields)),
        *(dict.fromkeys(dict(fields), invalid) for invalid in INVALID_VALUES),
    ]
    spec = make_record(fields)
    with database(tmp_path) as tx:
        create_or_replace_views(tx, spec)
        answer_rows = [
            TargetValue(str(number), VERSION, json.dumps(document), ANSWERED_AT)
            for number, document in enumerate(answer_documents)
        ]
        insert_answers(tx, answer_rows)

        rows = {row[0]: row[1:-2] for row in select_rows(tx, "SELECT * FROM reviews_answers")}
        assert set(rows["0"]) == set(rows["1"]) == {None}

        for number, invalid in enumerate(INVALID_VALUES, start=2):
            text, integer, real, boolean, day, moment, document = rows[str(number)]
            assert (document if ON_POSTGRESQL else json.loads(document)) == invalid
            if isinstance(invalid, str | float | int):
                assert [integer, real] == STORED_NUMBERS.get(invalid, [None, None])
            assert boolean == (invalid is True or None)
            assert day == moment == text
            assert text == invalid or not isinstance(invalid, str)


INVALID_VALUES: Sequence[Any] = (
    "no number",
    "1e999",
    "2026-02-30",
    "2026-13-45T25:00:00",
    "NaN",
    1.5,
    True,
    [1],
    {"a": None},
)
STORED_NUMBERS: Mapping[Any, list[Any]] = {1.5: [None, 1.5]}


def test_view_is_recreated_and_dependent_views_stay_or_are_named(tmp_path: Path) -> None:
    """A new field is the last column; a changed column is refused if a view depends on it."""
    first_record = make_record((("said", "text"),))
    with database(tmp_path) as tx:
        create_or_replace_views(tx, first_record)
        tx.exec_driver_sql("CREATE VIEW theirs AS SELECT said FROM reviews_answers")
        create_or_replace_views(tx, make_record((("stars", "integer"), ("said", "text"))))
        insert_answers(tx, [TargetValue("a", VERSION, '{"said": "x", "stars": 5}', ANSWERED_AT)])
        assert select_rows(tx, "SELECT * FROM theirs") == [("x",)]
        assert select_rows(tx, "SELECT stars FROM reviews_answers") == [(5,)]
        changed_record = make_record((("said", "integer"), ("stars", "integer")))
        if ON_POSTGRESQL:
            with pytest.raises(ConfigurationError, match="`reviews_answers` cannot change"):
                create_or_replace_views(tx, changed_record)
        else:
            create_or_replace_views(tx, changed_record)
        tx.exec_driver_sql("DROP VIEW theirs")
        create_or_replace_views(tx, changed_record)
        assert select_rows(tx, "SELECT said FROM reviews_answers") == [(None,)]


def test_taken_names_get_a_prefix_in_the_views(tmp_path: Path) -> None:
    """A field may have the name of the key, of a column of answers, or of PostgreSQL."""
    fields = tuple((name, "text") for name in ("id", "Answer_version", "ctid", "tone"))
    record = replace(make_record(fields), columns={"id": "text", "Tone": "text", "state": "text"})
    names = ["id", "answer_id", "Answer_version", "ctid", "answer_tone", "answer_answer_version"]
    with database(tmp_path) as tx:
        create_or_replace_views(tx, record)
        answers_columns = list(tx.exec_driver_sql("SELECT * FROM reviews_answers").keys())
        answered_columns = list(tx.exec_driver_sql("SELECT * FROM reviews_answered").keys())
    assert answers_columns == [*names, "answered_at"]
    assert answered_columns == [*names, "answered_at", "Tone", "state", "row_state"]


CREATE_OWN_TABLE = """CREATE TABLE own (id {id}, lang TEXT, said {text}, stars BIGINT, day DATE,
seen {time}, doc {json}, sure BOOLEAN, share {real}, UNIQUE (id))"""
TARGET_TYPES = {"said": "text", "stars": "integer", "day": "date", "seen": "time", "doc": "json"}
TARGET_TYPES |= {"sure": "boolean", "share": "real"}


def create_own_table(tx: Connection, *, id_type: str) -> None:
    """Create a table of the user with ids of a type."""
    postgresql_types = {
        "text": "VARCHAR(20)",
        "time": "TIMESTAMPTZ",
        "json": "JSONB",
        "real": "DOUBLE PRECISION",
    }
    sqlite_types = {"text": "TEXT COLLATE NOCASE", "time": "TEXT", "json": "TEXT", "real": "REAL"}
    tx.exec_driver_sql(
        CREATE_OWN_TABLE.format(id=id_type, **(postgresql_types if ON_POSTGRESQL else sqlite_types))
    )


REFUSED = {
    "own": "does not name a column",
    "own.said=other": "the answer has no field `other`",
    "other.said=said": "other",
    "own.other=said": "other",
    "askrows_rows.row=said": "`askrows_rows` belongs to askrows",
    "keyless.said=said": "id",
    "loose.said=said": "the key of the task (id) is not a unique key of the table",
}
if ON_POSTGRESQL:
    REFUSED["own.stars=said"] = 'column "stars" is of type bigint'
else:
    REFUSED["seen.said=said"] = "view"


def check_target(tx: Connection, record: TaskRecord) -> None:
    """Check the target that a record names."""
    target = make_answer_target(record, str(record.write_to))
    target.check_can_write(tx)


def test_invalid_target_is_refused(tmp_path: Path) -> None:
    """The error names the table, the column or the field; a key has one column."""
    spec = make_record(tuple(TARGET_TYPES.items()))
    with database(tmp_path) as tx:
        create_own_table(tx, id_type="TEXT")
        tx.exec_driver_sql("CREATE VIEW seen AS SELECT id, lang, said FROM own")
        tx.exec_driver_sql("CREATE TABLE keyless (said TEXT PRIMARY KEY)")
        tx.exec_driver_sql("CREATE TABLE loose (id TEXT, lang TEXT, said TEXT, UNIQUE (id, said))")
        tx.exec_driver_sql("CREATE UNIQUE INDEX of_a_part ON loose (id) WHERE said IS NOT NULL")
        for write_to, message in REFUSED.items():
            record = replace(spec, write_to=write_to)
            with pytest.raises(InputError) as error_info:
                check_target(tx, record)
            assert message in error_info.value.message
        two_columns = (("id", "text"), ("lang", "text"))
        record = replace(spec, key=two_columns, write_to="own.said=said")
        with pytest.raises(InputError, match="needs a key of one column"):
            check_target(tx, record)


def test_column_shows_the_current_version_after_a_late_answer(tmp_path: Path) -> None:
    """A late answer under an earlier version does not replace that of the current version."""
    spec = make_record((("said", "text"),))
    target = make_answer_target(spec, "own.said=said")
    with database(tmp_path) as tx:
        create_own_table(tx, id_type="TEXT")
        tx.exec_driver_sql("INSERT INTO own (id) VALUES ('a')")
        for version in ("reviews@2/model", VERSION):
            answer = json.dumps({"said": version})
            insert_answers(tx, [TargetValue("a", version, answer, ANSWERED_AT)])
        target.sync_answers(tx, ["a"], VersionPreference("reviews", "reviews@2"))
        assert select_rows(tx, "SELECT said FROM own") == [("reviews@2/model",)]
