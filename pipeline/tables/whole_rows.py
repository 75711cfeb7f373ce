"""Make a row whole: the parts of a whole name, and a key where a file has none; with examples of both."""

from collections.abc import Iterator
from dataclasses import replace

from pipeline.tables.findings import Finding, excerpt, rejected
from pipeline.tables.layout import Layout, TextRow
from pipeline.tables.made_keys import split_name
from pipeline.tables.mapping import ColumnMapping

EXAMPLES = 3  # in a note


class WholeRows:
    """Makes the rows of one file whole, whose names mean what a mapping says."""

    def __init__(self, layout: Layout, mapping: ColumnMapping) -> None:
        """Start without examples."""
        self._layout = layout
        self._mapping = mapping
        self._examples: dict[str, list[str]] = {}  # of what was made of other columns, by column
        self._wholes = [spec for spec in layout.specs if spec.parts and mapping.name_of(spec.name)]
        self._rule = layout.key_rule if mapping.name_of(layout.key) is None else None

    @property
    def notes(self) -> list[str]:
        """Return how names were taken for columns, and what was made of the rows so far, with examples."""
        return [*self._mapping.notes, *self._made()]

    def _made(self) -> Iterator[str]:
        """Yield a line for each column that was made of others, with examples."""
        for column, examples in self._examples.items():
            spec = next((spec for spec in self._layout.specs if spec.name == column), None)
            what = " and ".join(map(self._layout.label, spec.parts)) if spec and spec.parts else ""
            said = f"split into {what}" if what else "made for each row, the same at every import"
            yield f"{self._layout.label(column)}: {said}, such as {', '.join(examples)}"

    def row(self, row: TextRow) -> TextRow | Finding:
        """Return a row with the parts of whole names, and with a key by a rule where it has none."""
        if not self._wholes and self._rule is None:
            return row
        values = dict(row.values)
        for spec in (one for one in self._wholes if one.name in values):
            whole = values.pop(spec.name)
            parts = split_name(whole) if isinstance(whole, str) else (whole, None)
            for part, text in zip(spec.parts, parts, strict=True):
                values.setdefault(part, text)
            if isinstance(whole, str) and all(parts):
                self._show(spec.name, f"{excerpt(whole)!r} as {excerpt(parts[0])!r} and {excerpt(parts[1])!r}")
        if self._rule is not None:
            key_column = self._layout.key
            if key_column not in values:
                key = self._rule.key(values)
                if key is None:
                    label = self._layout.label(key_column)
                    reason = f"no {label.lower()}, and {self._rule.shown} to make one of"
                    return rejected(row.line, reason, "", column=label)
                values[key_column] = key
                self._show(key_column, key)
            values.pop(self._rule.address, None)
        return replace(row, values=values)

    def _show(self, column: str, example: str) -> None:
        """Keep the first three examples of what was made."""
        examples = self._examples.setdefault(column, [])
        if len(examples) < EXAMPLES and example not in examples:
            examples.append(example)
