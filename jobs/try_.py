"""`make try TASK=reviews`: ask about a few items, and show all that goes out and comes back; nothing is stored."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import plural, print_json, print_line, print_text, usd
from jobs.values import COUNT, Count
from pipeline.core.task import Words
from pipeline.workflows import try_out
from pipeline.workflows.try_out import TriedItem, TryReport, TryWanted

INDENT = "    "
LONGEST = 2_000  # characters of a text that are shown; --json has all
END = 300  # of these, of its end
KINDS = {
    "STRING": "text",
    "INTEGER": "whole number",
    "NUMBER": "number",
    "BOOLEAN": "true or false",
    "OBJECT": "object",
}


@click.command(name="try", cls=WritingCommand)
@click.option("--n", "size", type=COUNT, envvar="FINDABLE_N", help="How many to try; 3 without it.")
@click.option("--item", type=values.username, envvar="FINDABLE_ITEM", help="The one to try, whatever its state.")
@click.option("--seed", type=Count(0, 2**63 - 1), envvar="FINDABLE_SEED", help="Draw them by this, not the first ones.")
@yes_option
@json_option
def main(size: int | None, item: str | None, seed: int | None, *, yes: bool, as_json: bool) -> None:
    """Ask about a few items of TASK at once, and show what is sent, what comes back, tokens, cost and time.

    The answers are judged and not stored: only the calls and their cost are, and they count against budgets and quotas
    as any. The first that are to be asked are tried, or those that --seed draws; an answered or parked one by --item.
    Above FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.
    """
    if item is not None and (size is not None or seed is not None):
        raise click.UsageError("one item is tried by its name, or some by a number and a seed")
    with open_workspace() as ws:
        words = ws.task.words

        def announce(count: int, cost: float) -> None:
            """Say what will be asked and what it will cost."""
            ws.display.say(f"{ws.extractor}: {plural(count, words.one, words.many)}, estimated {usd(cost)}")

        wanted = TryWanted(size or try_out.FEW, item, seed)
        report = try_out.run(ws, wanted, announce=announce, confirm=lambda _cost: confirmed("Go on?", yes=yes))
    print_json(try_out.document(report)) if as_json else _show(report, words)
    report.check()


def _show(report: TryReport, words: Words) -> None:
    """Print what is sent with each, then each item with what came back."""
    if system := report.items[0].system:
        print_text("sent with each, as the system instruction:")
        print_text(_cut(system), indent=INDENT)
    print_text("wanted back:")
    for line in _schema_lines(report.schema, INDENT):
        print_text(line)
    for number, one in enumerate(report.items, start=1):
        print_text(f"\n{words.one} {number} of {len(report.items)}: {one.name}")
        for part in one.parts:
            print_text(_cut(part["text"]) if "text" in part else _attached(part), indent=INDENT)
        _show_end(one)
    asked, cost = [one for one in report.items if one.ended], sum(one.cost for one in report.items)
    told = (
        f"{plural(len(asked), words.one, words.many)} tried with {report.extractor}, {usd(cost)}; no answer was stored"
    )
    is_good = any(one.answer is not None for one in asked)
    print_text("")
    print_line(told + (f". Next: {words.again}" if is_good else ""))


def _show_end(one: TriedItem) -> None:
    """Print how one item's call ended, and what came."""
    out = one.usage.answer + one.usage.thoughts
    calls = f" and {one.calls} calls" if one.calls > 1 else ""
    used = f" in {one.seconds:.1f} s{calls}; {one.usage.prompt:,} tokens in, {out:,} out, {usd(one.cost)}"
    print_text(f"{one.outcome}{used if one.ended else ''}" + (f": {one.reason}" if one.reason else ""))
    if one.answer is not None:
        for name, value in one.answer.items():
            for line in _value_lines(name, value, INDENT):
                print_text(line)
    elif one.reply:
        print_text(_cut(one.reply), indent=INDENT)


def _cut(text: str) -> str:
    """Return a text with the middle of a long one left out."""
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    return f"{text[: LONGEST - END]}\n… {left_out:,} characters that are sent, too …\n{text[-END:]}"


def _attached(part: Mapping[str, Any]) -> str:
    """Return a line that stands for a part of a prompt that is no text."""
    inline: Mapping[str, Any] = part.get("inlineData") or part.get("fileData") or {}
    size = f", {len(inline['data']) * 3 // 4:,} bytes" if "data" in inline else ""
    return f"[{inline.get('mimeType', 'attachment')}{size}]"


def _schema_lines(schema: Mapping[str, Any], indent: str) -> Iterator[str]:
    """Yield a line for each field of an answer, those of objects and lists beneath them."""
    inner = schema.get("items", schema) if schema.get("type") == "ARRAY" else schema
    needed = inner.get("required", ())
    for name, one in inner.get("properties", {}).items():
        may = "" if name in needed else ", may be left out"
        about = f"  ({one['description']})" if one.get("description") else ""
        yield f"{indent}{name}: {_kind(one)}{may}{about}"
        yield from _schema_lines(one, indent + INDENT)


def _kind(schema: Mapping[str, Any]) -> str:
    """Return in words what a value must be."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "ARRAY":
        kind = _kind(schema["items"])
        said = f"list of {'objects' if kind == 'object' else kind}{_bounds(schema, 'minItems', 'maxItems')}"
    else:
        said = " | ".join(schema["enum"]) if "enum" in schema else KINDS[schema["type"]]
        said += _bounds(schema, "minimum", "maximum")
    return f"{said}, or null" if schema.get("nullable") else said


def _bounds(schema: Mapping[str, Any], least: str, most: str) -> str:
    """Return the bounds of a number or of how many there are."""
    words = {least: "at least", most: "at most"}
    return "".join(f", {word} {schema[name]}" for name, word in words.items() if name in schema)


def _value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer; a quotation has its place behind it."""
    if isinstance(value, Mapping) and value.keys() == {"quote", "start", "end"}:
        yield f'{indent}{name}: "{value["quote"]}" (characters {value["start"]} to {value["end"]})'
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for inner, one in value.items():
            yield from _value_lines(inner, one, indent + INDENT)
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        for number, one in enumerate(value, start=1):
            yield from _value_lines(f"{name} {number}", one, indent)
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"{indent}{name}: {'-' if shown is None or shown == '' else shown}"
