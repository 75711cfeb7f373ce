"""The figures of the house that only fall: `ratchet.toml` holds them, and `make check` fails where one rose.

`make house` prints them, and with SET=1 writes down what fell, and never what rose. Where the file is gone, it is made
with what is there. A figure may rise on loan: a `[[loan]]` with `figure`, `size` and `reason`, paid back before that is
done for which it was taken. A loan on the lines or statements of a room is one on their sum.
"""

import ast
import json
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.house import ABOVE, ROOT, TOPS, Module, arrows, floors, modules, parsed, report

FILE = Path(__file__).with_suffix(".toml")
MERGED = {"live": "batch", "cost": "batch"} | dict.fromkeys(("experts", "passages", "images"), "subjects")
# the lines that each room is to come to, and their sum; no room more than a tenth above its own
PLAN = {
    "jobs": 2_400,
    "web": 2_300,
    "workflows": 1_700,
    "ops": 1_300,
    "subjects": 3_000,
    "quality": 800,
    "index": 2_450,
    "batch": 2_350,
    "engine": 2_000,
    "tables": 1_600,
    "gemini": 1_900,
    "store": 2_550,
    "core": 1_550,
    "emulator": 2_500,
    "findable": 100,
}
HEAD = (
    "# What `make house` counts, and may only fall: `make house SET=1` writes down what fell; see tests/ratchet.py.\n"
)

Figures = dict[str, int]


def figures(root: Path = ROOT) -> Figures:
    """Return every figure by its name; those of a room have its name behind a dot.

    Lines are all lines of the modules that `modules` knows, statements those without docstrings. Names are top-level
    functions and classes in `pipeline`, those with an underscore where another module imports them. Tables are those
    that a module declares once and for all, commands the targets that `make help ALL=1` lists.
    """
    known = modules(root)
    inside = {name: module for name, module in known.items() if module.room and module.room != ABOVE}
    found = arrows(known)
    counted: Counter[str] = Counter()
    for module in inside.values():
        room = MERGED.get(module.room, module.room)
        for figure, count in (("lines", module.lines()), ("statements", _statements(module))):
            counted[figure] += count
            counted[f"{figure}.{room}"] += count
    counted[f"lines.{ABOVE}"] = known[ABOVE].lines() if ABOVE in known else 0
    texts = [path.read_text(encoding="utf-8") for path in (root / "tests").rglob("*.py")]
    table = (root / "jobs" / "commands.py").read_text(encoding="utf-8").partition("\nALIASES")[0]
    return dict(counted) | {
        "rooms": len({module.room for module in inside.values()}),
        "floors": floors(found),
        "arrows": len(found),
        "modules": len(inside),
        "takers": sum(module.takers() for module in known.values()),
        "names": _names(inside),
        "tables": sum(_tables(module) for module in inside.values()),
        "settings": _settings(known["pipeline.core.settings"]),
        "commands": 1 + len(re.findall(r'^    "[a-z-]+": Command\(', table, re.MULTILINE)),  # and `setup`
        "bytes": sum(path.stat().st_size for path in _others(root)),
        "test lines": sum(len(text.splitlines()) for text in texts),
    }


def _statements(module: Module) -> int:
    every = (node for node in ast.walk(parsed(module.text)) if isinstance(node, ast.stmt))
    return sum(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in every)


def _names(inside: Mapping[str, Module]) -> int:
    shown = {name: set(_defined(module)) for name, module in inside.items() if module.name.startswith("pipeline.")}
    imported = {one.name for module in inside.values() for one in module.imports()}
    return sum(one[0] != "_" or f"{name}.{one}" in imported for name, names in shown.items() for one in names)


def _defined(module: Module) -> Iterator[str]:
    for node in parsed(module.text).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _tables(module: Module) -> int:
    values = (node.value for node in parsed(module.text).body if isinstance(node, ast.Assign))
    return sum(isinstance(value, ast.Call) and ast.unparse(value.func) in {"Table", "_table_of"} for value in values)


def _settings(module: Module) -> int:
    classes = (node for node in parsed(module.text).body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    fields = (node for one in classes for node in one.body if isinstance(node, ast.AnnAssign))
    return sum(not ast.unparse(node).endswith("field(default_factory=dict)") for node in fields)


def _others(root: Path) -> Iterator[Path]:
    """Yield the product's files that are no Python."""
    for path in (one for top in TOPS for one in (root / top).rglob("*")):
        if path.is_file() and path.suffix not in {".py", ".pyc"}:
            yield path


def risen(now: Figures, allowed: Figures, loans: list[dict[str, object]]) -> Iterator[str]:
    """Yield a sentence for each figure above what is written down and lent."""
    lent: Counter[str] = Counter()
    for loan in loans:
        figure, size = str(loan["figure"]), int(str(loan["size"]))
        for name in {figure, figure.partition(".")[0]}:
            lent[name] += size
    for name, count in now.items():
        most = allowed.get(name, 0) + lent[name]
        if count > most:
            on_loan = f", {lent[name]:,} of them on loan" if lent[name] else ""
            yield f"{name} rose by {count - most:,}: {count:,}, and {most:,} are allowed{on_loan}"


def fallen(now: Figures, allowed: Figures) -> list[str]:
    """Return the names of the figures that are below what is written down."""
    return [name for name, most in allowed.items() if now.get(name, 0) < most]


def written(file: Path = FILE) -> tuple[Figures, list[dict[str, object]]]:
    """Return the figures that are written down, and the loans."""
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    return document["figures"], document.get("loan", [])


def lower(now: Figures, file: Path = FILE) -> None:
    """Write down what fell, or everything where nothing is written down; loans stay as they are."""
    allowed, loans = written(file) if file.is_file() else (now, [])
    kept = {name: min(now[name], most) for name, most in sorted(allowed.items()) if name in now}
    lines = [f"{json.dumps(name)} = {count}\n" for name, count in kept.items()]
    lent = ["\n[[loan]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in one.items()) for one in loans]
    file.write_text("".join([HEAD, "\n[figures]\n", *lines, *lent]), encoding="utf-8")


def told(now: Figures) -> Iterator[str]:
    """Yield the figures as `make house` prints them, those of the rooms in one line each beside what is planned."""
    yield ", ".join(f"{count:,} {name}" for name, count in now.items() if "." not in name)
    for room, planned in PLAN.items():
        lines, statements = (now.get(f"{figure}.{room}", 0) for figure in ("lines", "statements"))
        yield f"  {room:<12} {lines:>6,} lines for {planned:>6,}, {statements:>6,} statements"
    yield f"  {'sum':<12} {now['lines']:>6,} lines for {sum(PLAN.values()):>6,}, {now['statements']:>6,} statements"


def compare(now: Figures) -> int:
    """Say what rose, and what fell; return the exit code."""
    allowed, loans = written()
    worse = list(risen(now, allowed, loans))
    for sentence in worse:
        sys.stderr.write(f"{sentence}\n")
    if worse:
        sys.stderr.write("make it less, or take a loan in tests/ratchet.toml: a [[loan]] of figure, size and reason\n")
    if less := fallen(now, allowed):
        sys.stdout.write(f"fell: {', '.join(less)}; `make house SET=1` writes it down\n")
    return 1 if worse else 0


def main(words: Sequence[str]) -> int:
    """Compare; or print the house, where that is the first word; write down what fell, where `set` is the second."""
    now = figures()
    if words[:1] != ["house"]:
        return compare(now)
    sys.stdout.write("".join(f"{line}\n" for line in (*report(), *told(now))))
    if words[1:] == ["set"]:
        lower(now)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
