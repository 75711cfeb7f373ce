"""Guess the key and the text column of a table, and say which columns are sent.

- A column with the usual name of a key, in a dozen languages, is the key.
- A column with the usual name of a text is the text; otherwise it is the longest column.
- Otherwise another column is the key. A key has a value in every row and no value twice.
- If no column can be the key, the key is a hash of the row.
- Columns that a person named come first.

A finding is a row that could not be read, with its fault.
"""

import csv
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import islice
from statistics import fmean
from typing import NamedTuple

from askrows.pipeline.core.column_placeholders import (
    find_column_by_exact_or_folded_name,
    format_column_hint,
    list_template_columns,
)
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import HASH_KEY
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import join_first, plural
from askrows.pipeline.rows.cells import to_prompt_text
from askrows.pipeline.rows.columns import KNOWN_COLUMN_NAMES, fold_name
from askrows.pipeline.rows.row_findings import Finding, SourceRow, make_excerpt
from askrows.pipeline.rows.row_sync import KEY_KINDS
from askrows.pipeline.tasks.task_template import (
    GUESS_ALL_COLUMNS,
    RESERVED_COLUMN_NAMES,
    ColumnChoice,
    TableGuess,
)

# Rows whose texts are measured to guess the columns.
MAX_SAMPLE_ROWS = 1_000
# Our choice: a column with a longer text is not a key, unless its name is that of a key.
MAX_KEY_CHARS = 100
MAX_COLUMNS_SHOWN = 12
MAX_KEY_FAULTS_SHOWN = 3
# Our choice: a column that names all rows but this share is nearly a key.
MAX_UNNAMED_SHARE = 0.1
# Names of columns that can be keys if no column has the usual name of a key.
_FALLBACK_KEY_NAMES = (
    "name",
    "slug",
    "url",
    "username",
    "email",
    "title",
)
_KEY_SUFFIX = re.compile(r"[\s_.-](?i:id|key|nr\.?|no\.?|code|number|nummer)$|(?<=[a-z])I[dD]$")
_IMAGE = re.compile(
    r"\S.*\.(?:jpe?g|png|gif|webp|bmp|tiff?|avif|heic)(?:\?\S*)?\s*$",
    re.IGNORECASE,
)
# A UUID, hash, address or other code: no blanks, and a digit, slash or at sign.
_CODE = re.compile(r"(?=.*[\d/@])[!-~]+")
# Our choice: a column of codes has so large a share of them.
_MIN_CODE_SHARE = 0.9
# Our choice: a column with shorter texts on average is not asked about without `TEXT=`, if another
# column has at least half of its length.
_MIN_TEXT_CHARS = 20
_MAX_LISTED_TEXT_COLUMNS = 3
_NON_WORD_CHARS = re.compile(r"\W+")


class _ContentColumn(NamedTuple):
    """The column to ask about, the reason as a phrase, and the error of a doubtful guess."""

    column: str
    reason: str
    error: InputError | None = None


def guess_key_and_content(
    columns: Mapping[str, str],
    rows: Iterable[SourceRow | Finding],
    choice: ColumnChoice = GUESS_ALL_COLUMNS,
) -> TableGuess:
    """Guess the key and the text or image column of a table, unless a person named them.

    No other column is guessed. The result also has the columns that are sent to the model: the text
    or image column, and those that a person named. The text is guessed from the first
    MAX_SAMPLE_ROWS rows. A guessed key has a value in every row and no value twice. If no column
    can be the key, it is HASH_KEY, which means a hash of the row. If no column is clearly the text,
    nothing is raised: the result has the likely column and, as `text_error`, the error. The notes
    of the result are lines to print about the choice of key, text and sent columns.

    Args:
        columns: Kinds of the columns, by name.
        rows: The rows; they are read several times. Findings, which are rows with a fault, are
            skipped.
        choice: Columns that a person named.

    Raises:
        InputError: There is no column (perhaps because each row has a fault), a chosen column does
            not exist or cannot be a key, no column is left for the text, or the name of a sent
            column cannot be made into a placeholder of a prompt.
    """
    if not columns:
        check_no_row_is_refused(rows)
        raise InputError("the table has no rows and no columns; nothing was written")

    named = _resolve_choice(choice, columns)
    cells = _sample_cells(columns, rows)
    key_candidates = _list_key_candidates(columns)
    key, key_note = _choose_key_by_name(named, key_candidates, rows)

    text_columns = [name for name, kind in columns.items() if kind == "text"]
    images = [name for name in text_columns if name != key and _are_images(cells[name])]
    wordy = [name for name in text_columns if _have_letters(cells[name])]
    if named.text:
        content = _describe_named_content(named.text, columns)
    else:
        free = _list_free_columns(columns, {*images, *named.more_columns, key})
        wordy_free = [name for name in free if name in wordy]
        content = _guess_content(free, wordy_free, images, cells)

    if key == HASH_KEY and not named.key:
        # Columns with other names can be keys, too.
        likely_keys = _list_likely_keys(key_candidates, cells)
        if len(columns) > 1:
            likely_keys = [name for name in likely_keys if name != content.column]
        key, key_note = _choose_key(likely_keys, rows)

    more_columns = [name for name in named.more_columns if name != content.column]
    sent = [*more_columns, content.column]
    sent_texts = [name for name in sent if name not in images]
    content_kind = "image" if content.column in images else "text"
    content_note = f"{content_kind} column: {make_excerpt(content.column)} ({content.reason})"
    return TableGuess(
        key=key,
        text=sent_texts[-1] if sent_texts else "",
        sent=tuple(sent),
        prompt_names=_make_prompt_names(sent_texts, columns, content),
        is_text_quotable=content.column in wordy and sent_texts == sent,
        notes=(key_note, content_note, _describe_sent_columns(sent, columns, key)),
        image_columns=tuple(name for name in sent if name in images),
        text_error=content.error,
    )


def _sample_cells(
    columns: Iterable[str], rows: Iterable[SourceRow | Finding]
) -> dict[str, list[str]]:
    """Return the texts of the first MAX_SAMPLE_ROWS rows, by column, without findings."""
    sample_rows = list(islice((row for row in rows if isinstance(row, SourceRow)), MAX_SAMPLE_ROWS))
    return {name: [to_prompt_text(row.values.get(name)) for row in sample_rows] for name in columns}


def _list_key_candidates(columns: Mapping[str, str]) -> list[str]:
    """Return the columns whose kind can be a key, and whose name is not reserved."""
    return [
        name
        for name, kind in columns.items()
        if kind in KEY_KINDS and name.casefold() not in RESERVED_COLUMN_NAMES
    ]


def _choose_key_by_name(
    named: ColumnChoice,
    key_candidates: Sequence[str],
    rows: Iterable[SourceRow | Finding],
) -> tuple[str, str]:
    """Return the key that a person named, else the first usual name of a key, and its note.

    HASH_KEY if no column has a usual name, or none of them can be the key.

    Args:
        named: Columns that a person named, as the table spells them.
        key_candidates: Columns whose kind can be a key.
        rows: All rows.

    Raises:
        InputError: The named column cannot be the key.
    """
    if named.key:
        return named.key, _describe_chosen_key(named.key, key_candidates, rows)
    usual_keys = _find_columns_named(key_candidates, KNOWN_COLUMN_NAMES["key"])
    return _choose_key([name for name in usual_keys if name != named.text], rows)


def _describe_named_content(column: str, columns: Iterable[str]) -> _ContentColumn:
    """Return the text or image column that a person named, with the reason as a phrase."""
    reason = f"named by {OptionHint('text')}"
    if f"{column} (2)".casefold() in map(str.casefold, columns):
        reason += "; the first column of this name"
    return _ContentColumn(column, reason)


def _list_free_columns(columns: Mapping[str, str], used: Container[str]) -> list[str]:
    """Return the columns that can be the text; those with the usual name of a key are the last.

    The last are the text only if they are longer than any other. The only column of a table is
    free even if it is used.
    """
    free = [name for name in columns if name not in used or len(columns) == 1]
    usual_keys = _find_columns_named(_list_key_candidates(columns), KNOWN_COLUMN_NAMES["key"])
    return sorted(free, key=usual_keys.__contains__)


def _list_likely_keys(
    key_candidates: Sequence[str], cells: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the columns whose names or values suggest a key, the most likely first.

    First the names of keys, then names such as `name` or `url`, then columns with values that are
    like keys.

    Args:
        key_candidates: Columns whose kind can be a key.
        cells: Texts of the sampled cells, by column.
    """
    key_names = _list_key_names(key_candidates)
    fallback_names = _find_columns_named(key_candidates, _FALLBACK_KEY_NAMES)
    unique_names = [name for name in key_candidates if _is_like_a_key(cells[name])]
    return list(dict.fromkeys([*key_names, *fallback_names, *unique_names]))


def _list_key_names(key_candidates: Sequence[str]) -> list[str]:
    """Return the columns with a usual name of a key, then those with a suffix such as `_id`."""
    usual_names = _find_columns_named(key_candidates, KNOWN_COLUMN_NAMES["key"])
    return [*usual_names, *filter(_KEY_SUFFIX.search, key_candidates)]


def check_no_row_is_refused(rows: Iterable[SourceRow | Finding]) -> None:
    """Raise the reason of the first refused row of a table without sound rows.

    Raises:
        InputError: The table has a row with a fault.
    """
    finding = next((row for row in rows if isinstance(row, Finding)), None)
    if finding is not None:
        raise InputError(
            f"each row of the table is refused; line {finding.line}: {finding.reason}; "
            "nothing was written",
            hint="correct the rows, or the ending of the file's name if it has another format",
        )


def _resolve_choice(choice: ColumnChoice, columns: Iterable[str]) -> ColumnChoice:
    """Return a choice with the column names as the table spells them.

    `more_columns` may be a single text of names with commas between them, in double quotes if a
    name has a comma. Blank and repeated names are dropped.

    Raises:
        InputError: The table has no such column.
    """
    extra_columns = choice.more_columns
    if isinstance(extra_columns, str):
        extra_columns = next(csv.reader([extra_columns], skipinitialspace=True), [])

    text = ""
    if choice.text:
        text = _resolve_column(choice.text, columns, "text")
    key = choice.key
    if key and key != HASH_KEY:
        key = _resolve_column(key, columns, "key")
    other_names = [_resolve_column(name, columns, "with") for name in extra_columns if name.strip()]
    return ColumnChoice(text, key, tuple(dict.fromkeys(other_names)))


def _resolve_column(name: str, columns: Iterable[str], option: str) -> str:
    """Return the column that a typed name means, as the table spells it.

    It is the column of exactly this name, else the only one with the same letters and digits
    without regard to case, blanks and punctuation.

    Args:
        name: Name as a person typed it.
        columns: Columns of the table.
        option: Option that has the name, for the message.

    Raises:
        InputError: No column has the name, or several do; the hint lists the columns.
    """
    column = find_column_by_exact_or_folded_name(name.strip(), columns)
    if column is not None:
        return column
    raise InputError(
        f"{OptionHint(option)} names no column of the table: {make_excerpt(name)!r}; "
        "nothing was asked",
        hint=format_column_hint(name, [make_excerpt(column_name) for column_name in columns]),
    )


def _guess_content(
    free: Sequence[str],
    wordy: Sequence[str],
    images: Sequence[str],
    cells: Mapping[str, Sequence[str]],
) -> _ContentColumn:
    """Return the column to ask about if no person named it.

    The rules in this order:

    1. The first image column, if there is any and no free column has letters.
    2. The first column with letters whose name is a usual name of a text. If no free column has
       letters, all free columns count.
    3. The column whose filled cells are longest on average. Columns without letters, and then
       columns of codes such as UUIDs, are left out if others remain. The guess is doubtful if the
       texts are short, and another column is at least half as long.

    Args:
        free: Columns that are not images, not the key, and not named as further sent columns.
        wordy: The free columns that have letters.
        images: Columns with image names.
        cells: Texts of the sampled cells, by column.

    Raises:
        InputError: No column is free.
    """
    if images and not wordy:
        return _ContentColumn(images[0], "its cells are images or names of image files")
    # Without rows, no column has letters.
    named_as_text = _find_columns_named(wordy or free, ("text", *KNOWN_COLUMN_NAMES["any_text"]))
    if named_as_text:
        return _ContentColumn(named_as_text[0], "found by its name")
    if not free:
        raise InputError(
            "no column is left for the text; nothing was asked",
            hint=f"{OptionHint('text')} names the text column",
        )

    filled_cells = {name: [text for text in cells[name] if text.strip()] for name in free}
    mean_lengths = {
        name: fmean(map(len, texts)) if texts else 0.0 for name, texts in filled_cells.items()
    }
    by_length = sorted(free, key=mean_lengths.__getitem__, reverse=True)
    codes = [name for name in by_length if _are_codes(filled_cells[name])]

    def rank(name: str) -> tuple[bool, bool]:
        return name in wordy, name in wordy and name not in codes

    # Of several of the same rank, the first is returned.
    longest = max(by_length, key=rank)

    reason = "longest on average"
    if longest != by_length[0]:
        reason += " of the columns with texts"
    reason += f", {plural(round(mean_lengths[longest]), 'character')}"
    if len(filled_cells[longest]) < len(cells[longest]):
        reason += f" in {plural(len(filled_cells[longest]), 'filled cell')}"

    # Codes that differ in every row are a second key.
    second_keys = [name for name in codes if _is_like_a_key(cells[name])]
    other_lengths = [
        mean_lengths[name] for name in by_length if name not in {longest, *second_keys}
    ]
    has_long_text = mean_lengths[longest] >= _MIN_TEXT_CHARS
    is_clear = 2 * max(other_lengths, default=0) < mean_lengths[longest]
    if has_long_text or is_clear or longest not in wordy:
        return _ContentColumn(longest, reason)

    listed_columns = ", ".join(
        f"{make_excerpt(name)!r} ({plural(round(mean_lengths[name]), 'character')} on average)"
        for name in by_length[:_MAX_LISTED_TEXT_COLUMNS]
    )
    error = InputError(
        "no column is clearly the text, and nothing was asked or written; "
        f"the longest: {listed_columns}",
        hint=f"{OptionHint(text=longest)} asks about {make_excerpt(longest)!r}",
    )
    return _ContentColumn(longest, reason, error)


def _describe_sent_columns(sent: Sequence[str], columns: Iterable[str], key: str) -> str:
    """Return the line that names the columns that are sent to the model, and the other columns.

    At most MAX_COLUMNS_SHOWN of the other columns are named. The line also names the key if it is a
    column that is not sent, because a batch sends it with each request.
    """
    unsent_columns = [repr(make_excerpt(name)) for name in columns if name not in sent]
    note = f"columns sent: {', '.join(repr(make_excerpt(name)) for name in sent)}"
    if unsent_columns:
        unsent_text = join_first(unsent_columns, MAX_COLUMNS_SHOWN)
        note += f"; not sent: {unsent_text} ({OptionHint('with')} adds columns)"
    if key not in {HASH_KEY, *sent}:
        note += f"; batches also send the key, {make_excerpt(key)!r}"
    return note


def _find_columns_named(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """Return the columns that have one of the names, in the order of the names.

    Names are equal if `fold_name` makes them so. If several columns are equal, the first is
    returned.
    """
    columns_by_letters = {fold_name(column): column for column in reversed(list(columns))}
    folded_names = [fold_name(name) for name in names]
    return [columns_by_letters[name] for name in folded_names if name in columns_by_letters]


def _describe_chosen_key(
    key: str,
    key_candidates: Sequence[str],
    rows: Iterable[SourceRow | Finding],
) -> str:
    """Return the line about a key that a person chose, with its fault if it has one.

    All rows are read, unless the key is HASH_KEY or is refused. A key with blank or repeated values
    is accepted: the line says that such rows are refused, which happens later.

    Args:
        key: The column, or HASH_KEY for a hash of the row.
        key_candidates: Columns whose kind can be a key.
        rows: All rows.

    Raises:
        InputError: The column is neither text nor whole numbers, or its name is reserved.
    """
    if key == HASH_KEY:
        return f"key: a hash of each row ({OptionHint(key=HASH_KEY)})"
    if key not in key_candidates:
        message = (
            f"column {make_excerpt(key)!r} cannot be the key: "
            "a key is a text or a whole number; nothing was asked"
        )
        raise InputError(message, hint=f"{OptionHint(key=HASH_KEY)} uses a hash of each row")

    note = f"key column: {make_excerpt(key)} (named by {OptionHint('key')})"
    fault = _find_key_fault(key, rows)
    return f"{note}; it {fault}, and such rows are refused" if fault else note


def _choose_key(names: Iterable[str], rows: Iterable[SourceRow | Finding]) -> tuple[str, str]:
    """Return the first column that can be the key, and a line that says why; else HASH_KEY.

    A column can be the key if it has a value in every row and no value twice. HASH_KEY means a hash
    of each row, and its line has the faults of at most MAX_KEY_FAULTS_SHOWN columns.

    Args:
        names: Columns to check, the most likely first.
        rows: All rows, which are read once for each checked column.
    """
    faults = list[str]()
    for name in names:
        fault = _find_key_fault(name, rows)
        if not fault:
            return name, f"key column: {make_excerpt(name)} (no value twice, filled in every row)"
        faults.append(f"{make_excerpt(name)!r} {fault}")

    reason = "; ".join(faults[:MAX_KEY_FAULTS_SHOWN]) or "no column is different in every row"
    return HASH_KEY, f"key: a hash of each row, because {reason}"


class NearKey(NamedTuple):
    """A column with the name of a key that does not name a few rows."""

    column: str
    # Rows without a value, and rows whose value an earlier row has.
    blank_rows: int
    repeated_rows: int


def find_near_key(
    columns: Mapping[str, str], rows: Iterable[SourceRow | Finding]
) -> NearKey | None:
    """Return the first column with the name of a key in which a few cells are blank or repeated.

    A few are at most MAX_UNNAMED_SHARE of the rows. A column without a fault is skipped. None if
    there is no such column.

    Args:
        columns: Kinds of the columns, by name.
        rows: All rows; they are read for each checked column.
    """
    for name in dict.fromkeys(_list_key_names(_list_key_candidates(columns))):
        cells = (row.values.get(name) for row in rows if isinstance(row, SourceRow))
        keys = Counter(to_prompt_text(cell).strip() for cell in cells)
        row_count = keys.total()
        blank_rows = keys.pop("", 0)
        repeated_rows = keys.total() - len(keys)
        if 0 < blank_rows + repeated_rows <= MAX_UNNAMED_SHARE * row_count:
            return NearKey(name, blank_rows, repeated_rows)
    return None


def _find_key_fault(name: str, rows: Iterable[SourceRow | Finding]) -> str:
    """Return why a column cannot be the key, as a phrase; "" if it can.

    A repeated value, a blank cell, and no value at all are faults. Findings, which are rows with a
    fault, are skipped.
    """
    keys = set[str]()
    for row in rows:
        if not isinstance(row, SourceRow):
            continue
        key = to_prompt_text(row.values.get(name))
        if not key.strip():
            return f"is blank on line {row.line_number}"
        if key in keys:
            return f"has {make_excerpt(key)!r} twice, again on line {row.line_number}"
        keys.add(key)
    return "" if keys else "has no value"


def _is_like_a_key(texts: Sequence[str]) -> bool:
    """Return whether the texts differ, are short, and are no measured values.

    None is longer than MAX_KEY_CHARS. A text without a letter that is no whole number, such as a
    price or a date, is a measured value.
    """
    if len(set(texts)) < len(texts) or max(map(len, texts), default=0) > MAX_KEY_CHARS:
        return False
    return all(text.isdecimal() or any(map(str.isalpha, text)) for text in texts)


def _have_letters(texts: Iterable[str]) -> bool:
    """Return whether any of the texts has a letter."""
    return any(map(str.isalpha, "".join(texts)))


def _are_images(texts: Iterable[str]) -> bool:
    """Return whether more than half of the texts that are not blank are names of image files.

    False if all texts are blank.
    """
    matches = [_IMAGE.match(text) is not None for text in texts if text.strip()]
    return sum(matches) * 2 > len(matches)


def _are_codes(texts: Iterable[str]) -> bool:
    """Return whether nearly all texts that are not blank are codes, such as UUIDs or hashes."""
    matches = [_CODE.fullmatch(text.strip()) is not None for text in texts if text.strip()]
    return sum(matches) >= _MIN_CODE_SHARE * len(matches)


def _make_prompt_names(
    sent_texts: Iterable[str], columns: Iterable[str], content: _ContentColumn
) -> tuple[str, ...]:
    """Return the names in a prompt of the sent columns that are no images.

    Args:
        sent_texts: The sent columns that are no images.
        columns: All columns of the table.
        content: The text or image column.

    Raises:
        InputError: A name cannot be made into a placeholder of a prompt.
    """
    roles = dict.fromkeys(sent_texts, f"named by {OptionHint('with')}")
    roles[content.column] = f"the text column: {content.reason}"
    return tuple(_make_prompt_name(name, columns, roles[name]) for name in sent_texts)


def _make_prompt_name(column: str, columns: Iterable[str], role: str) -> str:
    """Return a column's name for use in braces in a prompt: `Review_Text` for `Review Text`.

    Characters that are not allowed there become `_`. A name that begins with a digit gets a `_`
    before it, so `2nd` becomes `_2nd`.

    Args:
        column: The column.
        columns: All columns of the table.
        role: Why the column is sent, as a phrase for the message.

    Raises:
        InputError: The column's name has neither letter nor digit, or with the replaced characters
            the name could also mean another column.
    """
    name = (
        column
        if list_template_columns(f"{{{column}}}")
        else _NON_WORD_CHARS.sub("_", column).strip("_")
    )
    if name[:1].isdecimal():
        name = f"_{name}"
    if (
        list_template_columns(f"{{{name}}}") == (name,)
        and find_column_by_exact_or_folded_name(name, columns) == column
    ):
        return name
    raise InputError(
        f"column {make_excerpt(column)!r} ({role}) cannot be named in a prompt: its name has no "
        "letter, or is too similar to another column's name; nothing was written",
        hint="rename the column in the source (in a query with AS), then repeat the command",
    )
