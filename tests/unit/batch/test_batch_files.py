"""The names of a batch's files: they are read from the database at one place."""

import ast

from tests.house import modules, parsed

NAMES = {"request_file", "result_file"}
# The rows, the remote batch, which has a member of that name, and the place that checks names.
ALLOWED = {"pipeline.store.schema", "pipeline.batch.batch_files", "pipeline.gemini.remote"}


def test_no_module_joins_a_stored_name_to_a_folder() -> None:
    """Only `batch.folder` makes a path of a name that the database has of a batch's file."""
    joined = [
        name
        for name, module in modules().items()
        if name not in ALLOWED and _joins(parsed(module.text))
    ]
    assert joined == []


def _joins(tree: ast.AST) -> bool:
    """Return whether a stored name stands in a division, or is given to `Path`."""
    places = [
        node.right if isinstance(node, ast.BinOp) else node
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Path")
    ]
    return any(
        isinstance(part, ast.Attribute) and part.attr in NAMES
        for place in places
        for part in ast.walk(place)
    )
