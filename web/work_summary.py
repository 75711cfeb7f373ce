"""Describe in one line how background work ended."""

from collections.abc import Mapping
from typing import Any

from pipeline.engine.session import PLACEHOLDER_NOTE
from web.page_texts import to_plain_text
from web.render import format_usd

STOPPED_SUMMARY = "The answers so far are stored; the other rows are open."


def summarize_work(work: Mapping[str, Any]) -> str:
    """Return how the work of a document ended, or its last message; "" if there is neither.

    A command that asks in rounds is described by its counts, its cost and why it stopped.
    """
    if work["state"] == "stopped":
        return STOPPED_SUMMARY
    result = work["result"]
    if isinstance(result, Mapping) and "left" in result and "under_way" in result:
        return _summarize_rounds(result)
    if isinstance(result, Mapping) and "judged_before" in result:
        return _summarize_judge(result)
    if isinstance(result, Mapping) and result.keys() == {"answered", "asked"}:
        return f"{result['answered']:,} of {result['asked']:,} answered"
    if isinstance(result, Mapping) and "unchanged" in result and "refused" in result:
        return f"{result['changed']:,} changed, {result['refused']:,} refused"
    # The page has the note about placeholders at its top.
    lines = [line for line in work["lines"] if line != PLACEHOLDER_NOTE]
    return to_plain_text("".join(lines[-1:]))


def _summarize_judge(result: Mapping[str, Any]) -> str:
    """Return the counts of judged answers, and of others by the reason why they were not judged.

    The cost follows the judged answers, and at the end the reason if the command was stopped.
    """
    if not result["selected"]:
        return "Nothing to judge: no answer of a generating model has a value."

    parts = []
    if result["calls"]:
        parts.append(f"{result['judged']:,} judged, {format_usd(result['cost'])}")
    if result["judged_before"]:
        parts.append(f"{result['judged_before']:,} judged before")
    parts += [f"{count:,} failed ({reason})" for reason, count in result["failed"].items()]
    parts += [f"{count:,} left out: {reason}" for reason, count in result["left_out"].items()]
    summary = "; ".join(parts)

    reason = result["out_of_money"] or result["stopped"]
    if reason:
        summary += f". Stopped: {to_plain_text(reason)}"
    return summary


def _summarize_rounds(result: Mapping[str, Any]) -> str:
    """Return the counts, the cost and the reason of open rows of a report in rounds.

    Counts of 0 are left out, except answered and open rows. The reason is left out if no row is
    open.
    """
    live_failures = (result["live"] or {}).get("failed", {})
    counts = [
        ("answered", result["answered"]),
        ("failed", sum(live_failures.values())),
        ("parked", result["parked"]),
        ("still being asked", result["under_way"]),
        ("open", result["left"]),
    ]
    parts = [
        f"{count:,} {label}" for label, count in counts if count or label in {"answered", "open"}
    ]
    parts.append(format_usd(result["spent"]))
    summary = ", ".join(parts)

    reason = result["out_of_money"] or result["held_back"]
    if reason and result["left"]:
        summary += f". Stopped: {to_plain_text(reason)}"
    return summary
