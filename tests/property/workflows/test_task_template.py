"""Whatever a table and its columns are called, the file of a new task declares what was guessed, to the letter."""

import ast
import inspect
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.declaration import columns_in
from pipeline.engine.task_file import ItemsRows
from pipeline.engine.task_words import AnswerField, TableGuess, TaskDraft, task_text

NAMES = st.text(st.characters(categories=["L", "Nd", "Pc"]), min_size=1, max_size=20).filter(
    lambda name: columns_in(f"{{{name}}}") == (name,)
)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(
    key=WORDS, text=NAMES, title=st.none() | NAMES, items=WORDS, what=st.text(max_size=40), can_be_quoted=st.booleans()
)
def test_the_file_says_what_was_guessed(
    key: str, text: str, title: str | None, items: str, what: str, *, can_be_quoted: bool
) -> None:
    """Its literals are the names; a prompt names the columns, the text last."""
    guess = TableGuess(key, text, title, (text,) if title is None else (title, text), can_be_quoted, ())
    written = task_text(TaskDraft(Path("t.py"), items, what, guess, ItemsRows([])))
    module = ast.parse(written.encode())  # what a file holds, encoded as Python reads it
    call = next(one.value for one in reversed(module.body) if isinstance(one, ast.Assign))
    assert isinstance(call, ast.Call)
    said = {one.arg: one.value.value for one in call.keywords if isinstance(one.value, ast.Constant)}
    assert (said["items"], said["key"], said.get("quotes_in")) == (items, key, text if can_be_quoted else None)
    assert columns_in(str(said["prompt"])) == tuple(dict.fromkeys(filter(None, (title, text))))
    fields = next(one for one in module.body if isinstance(one, ast.ClassDef) and one.name == "Answer").body
    assert key not in {
        one.target.id for one in fields if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }


@given(question=st.text(st.characters(exclude_categories=["Cs"])), choices=st.lists(WORDS, min_size=1, unique=True))
def test_the_file_asks_what_was_asked(question: str, choices: list[str]) -> None:
    """The question is its docstring, and a choice is among the words that were given, whatever stands in them."""
    guess = TableGuess("id", "text", None, ("text",), can_be_quoted=True, notes=())
    fields = [AnswerField("tone", "a|b|c", tuple(choices)), AnswerField("why", "quote")]
    draft = TaskDraft(Path("t.py"), "t.csv", "t.csv", guess, ItemsRows([]))
    module = ast.parse(task_text(draft, question=question, fields=fields).encode())
    assert ast.get_docstring(module, clean=False) == inspect.cleandoc(question)
    answer = next(one for one in module.body if isinstance(one, ast.ClassDef))
    assert [one.value for one in ast.walk(answer) if isinstance(one, ast.Constant)] == choices
