"""Only a single module reads the names of a batch's files from the database."""

import ast
import itertools

from tests.house import modules, parsed

NAMES = {"request_file", "result_file"}
# The table, the module that checks names, and the remote batch with a member of that name.
ALLOWED = {"pipeline.store.schema", "pipeline.batch.batch_files", "pipeline.gemini.remote"}


def test_no_module_joins_a_stored_name_to_a_folder() -> None:
    """Only `batch.batch_files` builds a path from a stored name of a batch's file."""
    joined = [
        name
        for name, module in modules().items()
        if name not in ALLOWED and _joins(parsed(module.text))
    ]
    assert joined == []


def _joins(tree: ast.AST) -> bool:
    """Return whether a stored name is in a division or in a call of `Path`."""
    operands = [
        node.right if isinstance(node, ast.BinOp) else node
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div))
        or (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Path")
    ]
    parts = itertools.chain.from_iterable(ast.walk(operand) for operand in operands)
    return any(isinstance(part, ast.Attribute) and part.attr in NAMES for part in parts)
