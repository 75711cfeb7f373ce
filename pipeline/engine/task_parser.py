"""Read a task's file that findable wrote back into its parts, so that it can be written again.

A file is accepted only if `render_task_file` writes exactly its text from the parts that were read.
So nothing that a person wrote into a file is lost.
"""

import ast
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.column_placeholders import find_column, list_template_columns
from pipeline.engine.memory_rows import MemorySource
from pipeline.engine.task_template import (
    CHOICES_KIND,
    FIELD_KINDS,
    NULL_DESCRIPTION,
    RANGE_KIND,
    SOURCE_COMMENTS,
    VOCABULARY_KIND,
    AnswerField,
    TableGuess,
    TaskDraft,
    render_task_file,
)

_TABLE_DESCRIPTION = re.compile(
    r"^# A task of findable, made for (.*)\. It runs as it is;",
    re.MULTILINE,
)
_KIND_BY_TYPE = {
    kind.type_text: name
    for name, kind in FIELD_KINDS.items()
    if name not in {RANGE_KIND, VOCABULARY_KIND}
}


class WrittenTask(NamedTuple):
    """The parts of a task's file that findable wrote."""

    draft: TaskDraft
    question: str
    fields: tuple[AnswerField, ...]
    version: int

    def render(self) -> str:
        """Return the text of the file."""
        return render_task_file(
            self.draft,
            question=self.question,
            fields=self.fields,
            version=self.version,
        )


def parse_task_file(text: str, path: Path, columns: Mapping[str, str]) -> WrittenTask | None:
    """Return the parts of a task's file, or None if a person wrote or edited it.

    The file is not run. A changed version, question or field that findable could have written is
    accepted.

    Args:
        text: Text of the file.
        path: The file.
        columns: Columns of its rows.
    """
    with contextlib.suppress(SyntaxError, ValueError, KeyError, AttributeError, StopIteration):
        written_task = _read_parts(text, path, columns)
        if written_task.render() == text:
            return written_task
    return None


def _read_parts(text: str, path: Path, columns: Mapping[str, str]) -> WrittenTask:
    """Return the parts of a task file that `render_task_file` wrote; other code is ignored.

    The text is parsed, not run. `parse_task_file` catches the errors.

    Args:
        text: The content of the file.
        columns: Columns of its rows. Without `quotes_in=`, the text column is the one that the last
            name in the prompt means; "" if there is no such column.

    Raises:
        SyntaxError, ValueError, KeyError, AttributeError, StopIteration: A part is missing or has
            another form.
    """
    module = ast.parse(text)
    answer_class = next(node for node in module.body if isinstance(node, ast.ClassDef))
    members = dict(_list_members(module))
    prompt_names: tuple[str, ...] = ()
    if "{" in members["prompt"]:
        prompt_names = list_template_columns(members["prompt"])
    images = tuple(members.get("images", ()))

    text_column = members.get("quotes_in", "")
    if not text_column and prompt_names:
        text_column = find_column(prompt_names[-1], columns) or ""
    guess = TableGuess(
        key=members["key"],
        text=text_column,
        sent=(*prompt_names, *images),
        prompt_names=prompt_names,
        is_text_quotable=True,
        notes=(),
        image_columns=images,
    )
    description = _TABLE_DESCRIPTION.search(text)
    draft = TaskDraft(
        path,
        members["items"],
        description[1] if description else "",
        guess,
        # A file is rendered without its rows.
        MemorySource([]),
        {name: members[name] for name in SOURCE_COMMENTS if name in members},
    )
    fields = tuple(_parse_field(node) for node in answer_class.body)
    question = ast.get_docstring(module, clean=False) or ""
    return WrittenTask(draft, question, fields, members.get("version", 1))


def _list_members(module: ast.Module) -> Iterator[tuple[str, Any]]:
    """Yield the literal members of the task that a module assigns to `task`."""
    call = next(
        node.value
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
    )
    for keyword in call.keywords:
        # `answer` and `system` are names.
        if keyword.arg is not None and not isinstance(keyword.value, ast.Name):
            yield keyword.arg, ast.literal_eval(keyword.value)


def _parse_field(node: Any) -> AnswerField:
    """Return the field that an annotated name declares.

    Raises:
        ValueError, KeyError, AttributeError: The annotation has another form.
    """
    name = node.target.id
    annotation: Any = node.annotation
    description = ""
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        parts: Any = annotation.slice
        annotation, *calls = parts.elts
        members = dict(_list_call_members(calls))
        description = members.get("description", "")
        if "ge" in members:
            return AnswerField(
                name,
                RANGE_KIND,
                bounds=(members["ge"], members["le"]),
                description=description,
            )
        if "Vocabulary" in members:
            return AnswerField(
                name,
                VOCABULARY_KIND,
                vocabulary=members["Vocabulary"],
                description=description,
            )

    if isinstance(annotation, ast.BinOp):
        annotation = annotation.left
        description = description.removesuffix(NULL_DESCRIPTION).removesuffix(". ")

    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        choices = ast.literal_eval(annotation.slice)
        if isinstance(choices, str):
            choices = (choices,)
        return AnswerField(name, CHOICES_KIND, choices, description=description)
    kind = _KIND_BY_TYPE[ast.unparse(annotation)]
    return AnswerField(name, kind, description=description)


def _list_call_members(calls: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the literal arguments of the calls in an annotation, by their names.

    An argument without a name has the name of its function.
    """
    for call in calls:
        for argument in call.args:
            yield ast.unparse(call.func), ast.literal_eval(argument)
        for keyword in call.keywords:
            yield keyword.arg, ast.literal_eval(keyword.value)
