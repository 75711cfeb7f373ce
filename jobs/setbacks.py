"""How batches are told that failed at the API, and whether that kept a command from sending more."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from jobs.output import Terminal, plural

if TYPE_CHECKING:
    from pipeline.task import Words


def tell(failed: Mapping[int, str], words: "Words", *, is_down: bool, left: int, under_way: int, parked: int) -> None:
    """Say which batches failed and why, what became of their items, and what to type; nothing where none did."""
    if not failed:
        return
    terminal = Terminal()
    for number, why in failed.items():
        said = f"batch {number} failed at the API ({why})"
        terminal.error(said) if is_down else terminal.warn(f"{said}; its {words.many} were let go")
    if not is_down:
        return
    free = f"; {plural(left, words.one, words.many)} can be asked" if left else ""
    later = f"nothing more was sent{free}: run it again later" if left or under_way else ""
    gone = f"{plural(parked, words.one, words.many)} parked: `findable parked`" if parked else ""
    terminal.hint("; ".join(part for part in (later, gone) if part) or words.make("status"))
