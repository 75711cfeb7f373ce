"""Placeholders such as {job_title} in prompts and labels, and the columns that they name."""

import re
from collections.abc import Callable, Iterable, Sequence

from askrows.pipeline.core.text import join_first, suggest_similar

# Names of columns that a hint lists.
MAX_LISTED_COLUMNS = 12


_PLACEHOLDER = re.compile(r"\{([^\W\d]\w*)\}")


def fill_template(template: str, value_of: Callable[[str], str]) -> str:
    """Return a template with `value_of(column)` in the place of each `{column}`.

    Other braces stay.
    """
    return _PLACEHOLDER.sub(lambda placeholder: value_of(placeholder[1]), template)


def list_template_columns(template: str | None) -> tuple[str, ...]:
    """Return the distinct columns that a template names, in their order."""
    return tuple(dict.fromkeys(_PLACEHOLDER.findall(template or "")))


def map_invalid_placeholders_to_valid(
    template: str | None, columns: Iterable[str]
) -> dict[str, str]:
    """Return the columns that a template has in braces with an invalid name, and a valid name.

    For example, `{Job Title}` in the template gives {"Job Title": "job_title"}.
    """
    valid_names: dict[str, str] = {}
    for column in columns:
        placeholder = f"{{{column}}}"
        if _PLACEHOLDER.fullmatch(placeholder):
            continue
        if placeholder in (template or ""):
            valid_names[column] = _fold_name(column)
    return valid_names


def find_column_by_exact_or_folded_name(name: str, columns: Iterable[str]) -> str | None:
    """Return the column that a placeholder means, or None if there is none or several.

    It is the column of the same name. If there is none, it is the only column whose name is the
    same if case does not matter and blanks and punctuation count as `_`. For example `{job_title}`
    means `Job Title`, because a placeholder has no blanks.

    Args:
        name: The name in the braces.
    """
    all_columns = list(columns)
    if name in all_columns:
        return name
    similar_columns = [column for column in all_columns if _fold_name(column) == _fold_name(name)]
    if len(similar_columns) == 1:
        return similar_columns[0]
    return None


def format_column_hint(name: str, columns: Iterable[str], more_names: Sequence[str] = ()) -> str:
    """Return a hint that lists the columns and suggests one of them; "" if there are no columns.

    At most MAX_LISTED_COLUMNS columns are listed. The suggestion is the column most
    similar to the name; it is left out if no column is similar enough.

    Args:
        name: The name that is not a column.
        columns: The columns that exist.
        more_names: Other names that can be used like columns. All are listed, and may be suggested.
    """
    all_columns = list(columns)
    if not all_columns:
        return ""

    hint = f"the columns are {join_first(all_columns, MAX_LISTED_COLUMNS)}"
    if more_names:
        hint += f"; there are also {', '.join(more_names)}"

    return f"{suggest_similar(name, [*all_columns, *more_names])} {hint}".lstrip()


def _fold_name(name: str) -> str:
    return re.sub(r"[\W_]+", "_", name.casefold()).strip("_")
