"""Read the few rows of a JSON document that a person wrote: all of them, or an error that says where it is wrong."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.core.errors import InputError
from pipeline.tables import json_file, json_places
from pipeline.tables.findings import Finding
from pipeline.tables.layout import Layout, TextRow, row_of
from pipeline.tables.mapping import ColumnMapping, MappingChoices, map_columns, texts_by_name
from pipeline.tables.whole_rows import WholeRows

MadeOf = TypeVar("MadeOf")


@dataclass(frozen=True)
class JsonDocument(Generic[MadeOf]):
    """What was made of the rows in a JSON document, in order; by which mapping its names were read, and what was not.

    `notes` say how it was read.
    """

    made: list[MadeOf]
    mapping: ColumnMapping
    notes: list[str]
    ignored: Mapping[str, None]


@dataclass(frozen=True)
class DocumentReader(Generic[MadeOf]):
    """Reads JSON documents of rows by a layout, whose command is told in errors, and makes something of each row.

    A row is called `word`. `hint` says what a document is to be.
    """

    layout: Layout
    make: Callable[[TextRow | Finding], MadeOf | Finding]
    word: str
    hint: str

    def read(self, data: bytes, choices: MappingChoices | None, *, said: str) -> JsonDocument[MadeOf]:
        """Return what was made of the rows in a JSON object or a list of them; `said` is how errors call the document.

        Raises:
            InputError: it is no JSON, what a name means would be a guess, or anything in it would be rejected; the
                message names file, line, column and field.
        """
        text, value = self._parsed(data, said)
        elements = value if isinstance(value, list) else [value]
        as_they_are = replace(self.layout, column_of=str)
        cells = texts_by_name([row_of(element, line=1, layout=as_they_are, ignored={}) for element in elements])
        choices = choices or MappingChoices()
        mapping = map_columns(list(cells), lambda: cells, choices, layout=self.layout, path=Path(said))
        layout, ignored = mapping.layout(self.layout), dict[str, None]()
        whole, made = WholeRows(layout, mapping), list[MadeOf]()
        for number, element in enumerate(elements, start=1):
            row = row_of(element, line=number, layout=layout, ignored=ignored)
            one = self.make(whole.row(row) if isinstance(row, TextRow) else row)
            if isinstance(one, Finding):
                where = f"{self.word} {number}, " if isinstance(value, list) else ""
                found = f" (found {one.value!r})" if one.value else ""
                place = _place(text, number, one.column, layout)
                field = next((name for name, label in layout.columns.items() if label == one.column), "")
                why = f"{where}{one.column or 'the document'}: {one.reason}{found}"
                raise self._refused(said, place, why, field=field)
            made.append(one)
        if not made:
            raise self._refused(said, "", f"the list holds no {self.word}")
        return JsonDocument(made, mapping, whole.notes, ignored)

    def _parsed(self, data: bytes, said: str) -> tuple[str, object]:
        """Return the text of a JSON document and its value."""
        try:
            text = data.decode("utf-8-sig")
            return text, json_file.parse_json(text)
        except UnicodeDecodeError as error:
            place = json_places.places_of_bytes(data, error)
            raise self._refused(said, place, "no JSON: it is not valid UTF-8") from None
        except ValueError as error:
            why, _, at = str(error).removeprefix("no JSON: ").partition(": line ")
            place = f"line {at.partition(' (')[0].replace(' c', ', c')}" if at else ""
            raise self._refused(said, place, f"no JSON: {why}") from None

    def _refused(self, said: str, place: str, why: str, *, field: str = "") -> InputError:
        """Return the error for a document that is not taken."""
        where = f"{said}{f', {place}' if place else ''}"
        return InputError(f"{where}: {why}; nothing was stored", hint=self.hint, field=field)


def _place(text: str, number: int, label: str, layout: Layout) -> str:
    """Return line and column of a row's value, or of the row where the value is not there."""
    try:
        element = json_places.element_places(text)[number - 1]
    except (ValueError, RecursionError, IndexError):  # one parser reads what another one does not
        return ""
    named = (at for name, at in element.values.items() if layout.columns.get(layout.column_of(name) or "") == label)
    return json_places.line_and_column(text, next(named, element.start))
