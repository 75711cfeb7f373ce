"""Describe in one line how background work ended.

A command such as `tag` sends rows, gets results, and asks failed rows again.
Its report has the rows that are still open (`left`).
"""

from collections.abc import Mapping
from typing import Any

from askrows.web.page_texts import to_plain_text

STOPPED_SUMMARY = "The answers so far are stored; the other rows are waiting."


def summarize_ended_asking(work: Mapping[str, Any]) -> str:
    """Return a line on how background work that asks rows ended, or "" for any other work.

    Failed work has none. Work that was stopped has the fixed text STOPPED_SUMMARY. The result of a
    finished command is described by the number of answered rows. `tag` adds the reason if it
    stopped early, and work on chosen rows adds the number of asked rows and the rows left out.

    Args:
        work: The JSON document of the work.
    """
    if work["state"] == "stopped":
        return STOPPED_SUMMARY
    result = work["result"]
    if isinstance(result, Mapping) and "left" in result and "under_way" in result:
        return _summarize_asked_rows(result)
    if isinstance(result, Mapping) and result.keys() == {"answered", "asked", "left_out"}:
        return f"{result['answered']:,} of {result['asked']:,} answered. {result['left_out']}"
    return ""


def _summarize_asked_rows(result: Mapping[str, Any]) -> str:
    """Return a line about a finished `tag`: answered rows, and why rows are open.

    The reason is there only if rows are open because a budget or the API stopped the command.

    Args:
        result: The JSON document of the command.
    """
    summary = f"{result['answered']:,} answered"
    reason = result["out_of_money"] or result["held_back"]
    if reason and result["left"]:
        summary += f". Stopped: {to_plain_text(reason)}"
    return summary
