"""How batches are told that failed at the API, and whether that kept a command from sending more."""

from typing import TYPE_CHECKING

from jobs.output import Terminal, plural

if TYPE_CHECKING:
    from pipeline.routines import backfill, tag
    from pipeline.task import Words


def tell(report: "backfill.Report | tag.Report", words: "Words") -> None:
    """Say which batches failed and why, what became of their items, and what to type; nothing where none did."""
    if not report.failed:
        return
    terminal = Terminal()
    for number, why in report.failed.items():
        said = f"batch {number} failed at the API ({why})"
        terminal.error(said) if report.is_down else terminal.warn(f"{said}; its {words.many} were let go")
    if not report.is_down:
        return
    free = f"; {plural(report.left, words.one, words.many)} can be asked" if report.left else ""
    later = f"nothing more was sent{free}: run it again later" if report.left or report.under_way else ""
    listed = f"{plural(report.parked, words.one, words.many)} parked: `{words.make('parked')}`"
    gone = listed if report.parked else ""
    terminal.hint("; ".join(part for part in (later, gone) if part) or words.make("status"))
