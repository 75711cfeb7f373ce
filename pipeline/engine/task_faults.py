"""Check the members of a declaration against the columns of its rows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipeline.core.column_placeholders import (
    find_column,
    invalid_placeholders,
    list_template_columns,
)
from pipeline.core.declaration import Declaration
from pipeline.core.quotes import has_quotes
from pipeline.tables.row_sync import KEY_KINDS

MAX_LISTED_COLUMNS = 12
# How to mend a member that names a missing column.
MISSING_COLUMN_HINTS = {
    "prompt": "name one of these columns; other braces may stay, binary columns are left out",
    "key": 'key="row" makes a key from each row',
    "index": "each name in braces must be a column or a field of the answer",
}


class _MemberFault(NamedTuple):
    """A fault of a member of a declaration."""

    member: str
    # Continues "member= ".
    message: str
    hint: str


def match_columns(names: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """Return the column that each name means; a name without a column stays as it is."""
    return [find_column(name, columns) or name for name in names]


def find_column_faults(
    declaration: Declaration,
    columns: Mapping[str, str],
) -> Iterator[_MemberFault]:
    """Yield the faults of a declaration that concern the columns of its rows.

    `columns` has the kinds of these columns (text, integer and so on) by name. These are faults:

    - The prompt, the index or the label has a column in braces whose name has characters other than
      letters, digits and _.
    - The prompt names no column, and the declaration has no images.
    - A member names a column that the rows do not have.
    - A column of the key has values of a kind that cannot be a key.
    """
    for member in ("prompt", "index", "label"):
        template = getattr(declaration, member)
        for column, placeholder in invalid_placeholders(template, columns).items():
            message = f"has {{{column}}}, but a name in braces may have only letters, digits and _"
            hint = f"write {{{placeholder}}} for the column {column!r}"
            yield _MemberFault(member, message, hint)
    if not declaration.prompt_columns and not declaration.images:
        hint = "write {column} to insert that column's value"
        yield _MemberFault("prompt", "names no column", hint)

    listed_columns = ", ".join(list(columns)[:MAX_LISTED_COLUMNS])
    if len(columns) > MAX_LISTED_COLUMNS:
        listed_columns += " …"
    answer_fields = declaration.answer.model_fields
    index_columns = [
        name for name in list_template_columns(declaration.index) if name not in answer_fields
    ]
    names_by_member: dict[str, Sequence[str]] = {
        "prompt": declaration.prompt_columns,
        "key": () if declaration.has_made_key else declaration.keys,
        "quotes_in": () if declaration.quotes_in is None else (declaration.quotes_in,),
        "index": index_columns,
        "label": list_template_columns(declaration.label),
        "images": declaration.images,
        "cursor": (declaration.cursor,) if declaration.cursor else (),
    }
    for member, names in names_by_member.items():
        hint = MISSING_COLUMN_HINTS.get(member, "name one of these columns")
        for name in match_columns(names, columns):
            if name not in columns:
                message = f"names the column {name!r}, but the rows have {listed_columns}"
                yield _MemberFault(member, message, hint)

    for name in match_columns(names_by_member["key"], columns):
        kind = columns.get(name, "text")
        if kind not in KEY_KINDS:
            message = (
                f"names the column {name!r}, which has {kind} values; "
                "a key must be text, whole numbers or UUIDs"
            )
            hint = 'name other columns, or set key="row" to make a key from each row'
            yield _MemberFault("key", message, hint)


def find_image_and_quote_faults(
    declaration: Declaration,
    columns: Mapping[str, str],
) -> Iterator[_MemberFault]:
    """Yield the faults of a declaration in its image columns and in the column of quotations.

    An image column must contain texts (paths of images) and must not be in the prompt.
    If answers have quotations, it must be clear which column they quote: `quotes_in=` is set, or
    the prompt has a single text column, or one of its text columns is `text`. Whether the columns
    exist is not checked here.

    Args:
        columns: Kinds of the columns of the rows (text, integer and so on) by name.
    """
    prompt_columns = match_columns(declaration.prompt_columns, columns)
    for name in match_columns(declaration.images, columns):
        if columns.get(name, "text") != "text":
            message = f"names the column {name!r}, which has {columns[name]} values"
            yield _MemberFault("images", message, "name a column of paths")
        if name in prompt_columns:
            message = f"names the image column {name!r}, whose image is sent before the text"
            yield _MemberFault("prompt", message, "leave it out")

    if declaration.quotes_in is not None or not has_quotes(declaration.answer):
        return
    text_columns = find_text_columns(declaration, columns)
    is_quoted_column_clear = len(text_columns) == 1 or "text" in text_columns
    # Missing columns are reported by `find_column_faults`.
    if not is_quoted_column_clear and columns.keys() >= set(prompt_columns):
        message = f"names {len(text_columns)} text columns, but quotations need a single column"
        hint = "set quotes_in= to the column that is quoted"
        yield _MemberFault("prompt", message, hint)


def find_text_columns(declaration: Declaration, columns: Mapping[str, str]) -> list[str]:
    """Return the columns of the prompt that contain text."""
    prompt_columns = match_columns(declaration.prompt_columns, columns)
    return [name for name in prompt_columns if columns.get(name) == "text"]
