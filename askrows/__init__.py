"""askrows for Python: declare a task of your own, and use a workspace.

Only the names in `__all__` are stable.

```python
import askrows

ws = askrows.open("data")
report = ws.tag("reviews", budget=5)
for row in ws.answers("reviews"):
    print(row.key, row.answer)
```
"""

# Nothing is imported here. `python -m askrows` runs this file before it can ignore a `typing.py` in
# the current folder. Type checkers know the name TYPE_CHECKING.
TYPE_CHECKING = False

__all__ = [
    "AnsweredRow",
    "Answers",
    "AskReport",
    "AskrowsError",
    "DatabaseTable",
    "Folder",
    "NoAnswer",
    "Preflight",
    "Quote",
    "TagReport",
    "Task",
    "TryReport",
    "Vocabulary",
    "Workspace",
    "open",
    "remove_markup",
]

# The module of each public name, and its name in that module if it is another.
_SOURCES = {
    "AnsweredRow": "pipeline.workflows.python_results",
    "Answers": "pipeline.workflows.python_api",
    "AskReport": "pipeline.workflows.ask",
    "AskrowsError": "pipeline.core.errors",
    "DatabaseTable": "pipeline.core.declaration",
    "Folder": "pipeline.core.declaration",
    "NoAnswer": "pipeline.core.states",
    "Preflight": "pipeline.run.preflight",
    "Quote": "pipeline.core.quotes",
    "TagReport": "pipeline.batch.run_result",
    "Task": "pipeline.core.declaration:Declaration",
    "TryReport": "pipeline.workflows.try_out",
    "Vocabulary": "pipeline.core.vocabulary",
    "Workspace": "pipeline.workflows.python_api",
    "open": "jobs.open_workspace",
    "remove_markup": "pipeline.core.text",
}

if TYPE_CHECKING:
    from askrows.jobs.open_workspace import open  # noqa: A004 - as other libraries name it
    from askrows.pipeline.batch.run_result import TagReport
    from askrows.pipeline.core.declaration import DatabaseTable, Folder
    from askrows.pipeline.core.declaration import Declaration as Task
    from askrows.pipeline.core.errors import AskrowsError
    from askrows.pipeline.core.quotes import Quote
    from askrows.pipeline.core.states import NoAnswer
    from askrows.pipeline.core.text import remove_markup
    from askrows.pipeline.core.vocabulary import Vocabulary
    from askrows.pipeline.run.preflight import Preflight
    from askrows.pipeline.workflows.ask import AskReport
    from askrows.pipeline.workflows.python_api import Answers, Workspace
    from askrows.pipeline.workflows.python_results import AnsweredRow
    from askrows.pipeline.workflows.try_out import TryReport
else:

    def __getattr__(name: str) -> object:
        """Import the module of a public name, and return the name's value.

        Raises:
            AttributeError: This package has no such name.
        """
        from importlib import import_module

        if name not in _SOURCES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module_name, _, source_name = _SOURCES[name].partition(":")
        return getattr(import_module(f"{__name__}.{module_name}"), source_name or name)
