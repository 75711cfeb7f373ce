"""The views of a task's answers say what the record says, and a field goes into a table of the user's own."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from enum import Enum, IntEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NewType

import pytest
from pydantic import BaseModel, Field, create_model
from sqlalchemy import Connection, insert

from pipeline.core.errors import ConfigurationError, InputError, RefusedRowError
from pipeline.core.quotes import Quote
from pipeline.store.schema import TaskRecord, answers
from pipeline.tables.answer_views import make_views
from pipeline.tables.column_values import list_fields
from pipeline.tables.write_to import TargetValue, check_column_target, write_column
from tests.delivery import workspace_at
from tests.integration.tables.sources import record_of
from tests.lab import ON_POSTGRESQL

AT = datetime(2026, 5, 1, 10, tzinfo=UTC)
ONE = "reviews@1/model"
ID = (("id", "text"),)


@contextmanager
def database(tmp_path: Path) -> Iterator[Connection]:
    """Open a transaction in the database of a new workspace."""
    with workspace_at(tmp_path / "data").open() as ws, ws.store.write() as tx:
        yield tx


def keep(tx: Connection, rows: Sequence[TargetValue]) -> None:
    """Put answers into the record."""
    kept: dict[str, Any] = {
        "input_hash": "",
        "applied": True,
        "outdated": False,
        "tokens_in": 0,
        "tokens_out": 0,
    }
    kept |= {"cost": 0, "model_version": "", "response_id": "", "shares": None}
    kept |= {"task": "reviews", "batch": None, "fingerprint": None}
    for one in rows:
        said = {
            **kept,
            "item_id": one.item_id,
            "extractor": one.extractor,
            "answer": one.answer_json,
            "at": one.answered_at,
        }
        tx.execute(insert(answers), [said])


def spec_of(fields: Sequence[tuple[str, str]], key: Sequence[tuple[str, str]] = ID) -> TaskRecord:
    """Return what views are made of."""
    return record_of("reviews", prefix="reviews", key=tuple(key), fields=tuple(fields))


def rows_of(tx: Connection, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a SELECT that is sent as it is."""
    found = tx.exec_driver_sql(sql, execution_options={"no_parameters": True})
    return [tuple(row) for row in found]


def test_a_field_that_is_left_out_or_no_value_of_its_kind_is_null(tmp_path: Path) -> None:
    """No answer makes a view fail, whatever an older version of the task said in a field of another kind."""
    fields = tuple(
        (kind, kind) for kind in ("text", "integer", "real", "boolean", "date", "time", "json")
    )
    odd: list[Any] = [
        {},
        dict.fromkeys(dict(fields)),
        *(dict.fromkeys(dict(fields), one) for one in ODD),
    ]
    spec = spec_of(fields)
    with database(tmp_path) as tx:
        make_views(tx, spec)
        keep(
            tx,
            [TargetValue(str(number), ONE, json.dumps(one), AT) for number, one in enumerate(odd)],
        )
        rows = {row[0]: row[1:-2] for row in rows_of(tx, "SELECT * FROM reviews_answers")}
        assert set(rows["0"]) == set(rows["1"]) == {None}
        for number, one in enumerate(ODD, start=2):
            text, integer, real, boolean, day, moment, document = rows[str(number)]
            assert (document if ON_POSTGRESQL else json.loads(document)) == one
            assert (
                [integer, real] == NUMBERS.get(one, [None, None])
                if isinstance(one, str | float | int)
                else True
            )
            assert boolean == (one is True or None)
            assert day == moment == text
            assert text == one or not isinstance(one, str)


ODD: Sequence[Any] = (
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
NUMBERS: Mapping[Any, list[Any]] = {1.5: [None, 1.5]}


def test_a_view_is_made_anew_and_the_view_of_another_program_on_it_stays_or_is_named(
    tmp_path: Path,
) -> None:
    """A new field stands behind the others; a column that is another one now is refused where a view holds on to it."""
    before = spec_of((("said", "text"),))
    with database(tmp_path) as tx:
        make_views(tx, before)
        tx.exec_driver_sql("CREATE VIEW theirs AS SELECT said FROM reviews_answers")
        assert make_views(tx, spec_of((("stars", "integer"), ("said", "text")))) == []
        keep(tx, [TargetValue("a", ONE, '{"said": "x", "stars": 5}', AT)])
        assert rows_of(tx, "SELECT * FROM theirs") == [("x",)]
        assert rows_of(tx, "SELECT stars FROM reviews_answers") == [(5,)]
        other = spec_of((("said", "integer"), ("stars", "integer")))
        if ON_POSTGRESQL:
            with pytest.raises(ConfigurationError, match="is made of `reviews_answers`"):
                make_views(tx, other)
        else:
            make_views(tx, other)
        tx.exec_driver_sql("DROP VIEW theirs")
        make_views(tx, other)
        assert rows_of(tx, "SELECT said FROM reviews_answers") == [(None,)]


def model_of(**fields: Any) -> type[BaseModel]:
    """Return a model with these fields, all required."""
    definitions: dict[str, Any] = {name: (kind, ...) for name, kind in fields.items()}
    made: type[BaseModel] = create_model("Answer", **definitions)
    return made


def test_a_field_gets_the_column_that_its_type_says() -> None:
    """Types under other names, limits and None count for nothing; a mix is JSON."""
    limited = Annotated[str, Field(max_length=60)]
    named = NewType("named", str)
    model = model_of(
        a=limited | None, b=list[int], c=float | None, d=Literal[True], e=int | float, f=named
    )
    assert [kind for _, kind in list_fields(model)] == [
        "text",
        "json",
        "real",
        "boolean",
        "json",
        "text",
    ]
    model = model_of(
        a=IntEnum("A", "b c"), b=Enum("B", {"c": "d"}), c=Literal["a", 1], d=date, e=datetime | None
    )
    assert [kind for _, kind in list_fields(model)] == ["integer", "text", "json", "date", "time"]
    quoted = model_of(
        a=Quote, b=Annotated[str, Quote(optional=True)], c=Quote | None, d=Annotated[Quote, limited]
    )
    assert [kind for _, kind in list_fields(quoted)] == ["json"] * 4


OWN = """CREATE TABLE own (id {id}, lang TEXT, said {text}, stars BIGINT, day DATE, seen {time}, doc {json},
sure BOOLEAN, share {real}, UNIQUE (id, lang))"""
TARGETS = {"said": "text", "stars": "integer", "day": "date", "seen": "time", "doc": "json"}
TARGETS |= {"sure": "boolean", "share": "real"}


def own_table(tx: Connection, *, of: str) -> None:
    """Make a table of the user's, whose ids are of a type."""
    server = {
        "text": "VARCHAR(9)",
        "time": "TIMESTAMPTZ",
        "json": "JSONB",
        "real": "DOUBLE PRECISION",
    }
    file = {"text": "TEXT COLLATE NOCASE", "time": "TEXT", "json": "TEXT", "real": "REAL"}
    tx.exec_driver_sql(OWN.format(id=of, **(server if ON_POSTGRESQL else file)))


def test_a_field_fills_a_column_where_it_is_null(tmp_path: Path) -> None:
    """Only in rows whose key has the same bytes; what stands there stays; what is there now is told."""
    key = (("id", "text"), ("lang", "text"))
    spec = spec_of(tuple(TARGETS.items()), key)
    said = {
        "said": "it's",
        "stars": 2**53 + 1,
        "day": "0999-01-02",
        "seen": "2026-05-01T12:00:00+02:00",
    }
    said |= {"doc": {"b": [1e300, None], "a": "é"}, "sure": False, "share": 0.1}
    with database(tmp_path) as tx:
        own_table(tx, of="BIGINT")
        rows = "(1, 'de'), (2, 'de'), (2, 'DE'), (3, 'en')"
        tx.exec_driver_sql(f"INSERT INTO own (id, lang) VALUES {rows}")  # noqa: S608 - written here
        tx.exec_driver_sql("UPDATE own SET said = 'mine', stars = 9007199254740993 WHERE id = 3")
        ids = ['["1","de"]', '["2","de"]', '["3","en"]', '["4","en"]', '["01","de"]', '["x","de"]']
        answers = [TargetValue(one, ONE, json.dumps(said), AT) for one in ids]
        answers[0] = answers[0]._replace(answer_json=json.dumps(said | {"stars": None}))
        for name in TARGETS:
            to = replace(spec, words={"write_to": f"own.{name} = {name}"})
            for _ in range(2):
                write_column(tx, to, answers)
        found = rows_of(tx, "SELECT id, lang, said, stars, share FROM own ORDER BY id, lang DESC")
        assert found == [
            (1, "de", "it's", None, 0.1),
            (2, "de", "it's", 2**53 + 1, 0.1),
            (2, "DE", None, None, None),
            (3, "en", "mine", 2**53 + 1, 0.1),
        ]
        long = answers[1]._replace(
            item_id='["2","DE"]', answer_json=json.dumps(said | {"said": "ten letters"})
        )
        to = replace(spec, words={"write_to": "own.said=said"})
        if ON_POSTGRESQL:
            with pytest.raises(
                RefusedRowError, match="own of this database refuses a row: value too long"
            ):
                write_column(tx, to, [long])
        else:
            write_column(tx, to, [long])


REFUSED = {
    "own": "names no column",
    "own.said=other": "the answer has no field `other`",
    "other.said=said": "this database has no table `other`",
    "seen.said=said": "this database has no table `seen`",
    "own.other=said": "`own` has no column `other`",
    "findable_rows.row=said": "`findable_rows` is findable's own",
    "findable_answers.answer=said": "`findable_answers` is findable's own",
    "keyless.said=said": "`keyless` has no column `lang`",
    "loose.said=said": "the key of the task (id, lang) is no unique key of `loose`",
    **({"own.stars=said": "`own.stars` must hold text"} if ON_POSTGRESQL else {}),
}


def test_what_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    """The error names the table, the column or the field."""
    spec = spec_of(tuple(TARGETS.items()), (("id", "text"), ("lang", "text")))
    with database(tmp_path) as tx:
        own_table(tx, of="TEXT")
        tx.exec_driver_sql("CREATE VIEW seen AS SELECT id, lang, said FROM own")
        tx.exec_driver_sql("CREATE TABLE keyless (id TEXT PRIMARY KEY, said TEXT)")
        tx.exec_driver_sql("CREATE TABLE loose (id TEXT, lang TEXT, said TEXT, UNIQUE (id, said))")
        tx.exec_driver_sql(
            "CREATE UNIQUE INDEX of_a_part ON loose (id, lang) WHERE said IS NOT NULL"
        )
        for write_to, said in REFUSED.items():
            with pytest.raises(InputError) as refused:
                check_column_target(tx, replace(spec, words={"write_to": write_to}))
            assert said in refused.value.message
