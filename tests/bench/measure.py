"""One measured run, in a fresh process: what a way of doing something takes, and what came of it.

    python -m tests.bench.measure <way> <outcome> <workspace>

with `module:function` of `tests.bench` for the first two prints a line when the work is done, then one JSON document.
Wall is `perf_counter` around the work, imports excluded; CPU is user and system time of the process and of children
that ended; peak is VmHWM, for `ru_maxrss` is inherited from what started the process.
"""

import contextlib
import ctypes
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

# what a run tells of its result; `wall` and `cpu` in it replace what was measured around it, `part` is CPU of a part
Said = dict[str, Any]
Timed = Callable[[], Said]
T = TypeVar("T")
OVER = "over"  # the line that says that the work is done

_holding = contextlib.ExitStack()


def held(manager: "contextlib.AbstractContextManager[T]") -> T:
    """Enter a context for the rest of this process's measurement."""
    return _holding.enter_context(manager)


def loads(*names: str) -> None:
    """Import modules that the work will import when it needs them, so that the time for that is not measured."""
    for name in names:
        importlib.import_module(name)


def main() -> None:
    """Measure one run and print it."""
    way, tells, data = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    timed = _found(way, data)
    before = set(sys.modules)
    wall, cpu = time.perf_counter(), _cpu()
    said = timed()
    cpu, wall = _cpu() - cpu, time.perf_counter() - wall
    late = [name for name in sys.modules.keys() - before if name.partition(".")[0] not in sys.stdlib_module_names]
    peak, held_by_sqlite = peak_bytes(), sqlite_bytes()
    sys.stdout.write(f"{OVER}\n")
    sys.stdout.flush()  # what follows looks at what was made, and its memory is not the work's
    cpu = said.pop("cpu", cpu)
    rest = cpu - said.pop("part", 0.0)
    measured = {"wall": said.pop("wall", wall), "cpu": cpu, "rest": rest, "peak": peak, "sqlite": held_by_sqlite}
    _holding.close()
    assert not late, f"imported while it was measured: {late}"
    outcome = {**said, **(_found(tells, data) if tells else {})}
    sys.stdout.write(json.dumps({**measured, "outcome": outcome}))


def peak_bytes() -> int:
    """Return the most memory this process ever had, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM: this is not Linux")


def sqlite_bytes() -> int:
    """Return the most memory that SQLite ever held in this process, its pages included; 0 where it cannot be told."""
    try:
        library = ctypes.CDLL("libsqlite3.so.0")
    except OSError:  # another system's name, or a Python that holds its own
        return 0
    library.sqlite3_memory_highwater.restype = ctypes.c_int64
    return int(library.sqlite3_memory_highwater(0))


def _cpu() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def _found(name: str, data: Path) -> Any:
    """Call what `module:function` names with the workspace; `module:function(a b)` with texts, too."""
    module, _, rest = name.partition(":")
    function, _, args = rest.partition("(")
    found = getattr(importlib.import_module(f"tests.bench.{module}"), function)
    return found(data, *(arg.replace("%", " ") for arg in args.rstrip(")").split()))


if __name__ == "__main__":
    main()
