"""Show what is known of one item, the newest requests, the best concepts; try a few, to see what goes out and back."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import COUNT, TEXT, CommandReport, Expert, Item, Parameter, Raw, Seed
from jobs.output import TextTable, print_fields, print_line, print_text
from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.quotes import format_likeness, is_stored_quotation, leaves, shown_value
from pipeline.core.states import parked_label
from pipeline.core.text import format_usd, plural
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import TaskLabels
from pipeline.ops import items as listing
from pipeline.quality import pilot
from pipeline.workflows import try_out
from pipeline.workflows.try_out import DEFAULT_PAIR_SAMPLE_SIZE, TriedRow, TryReport

INDENT = "    "
LONGEST = 2_000  # characters of a text that are shown; --json has all
END = 300  # of these, of its end
ANSWER = 100  # of an answer


def _cut(text: str) -> str:
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    return f"{text[: LONGEST - END]}\n… {left_out:,} characters that are sent, too …\n{text[-END:]}"


def _attached(part: Mapping[str, Any]) -> str:
    inline: Mapping[str, Any] = part.get("inlineData") or part.get("fileData") or {}
    size = f", {inline['size']:,} bytes" if "size" in inline else ""
    return f"[{inline.get('mimeType', 'attachment')}{size}]"


def _value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer; a quotation has its place behind it."""
    if is_stored_quotation(value):
        where = f"characters {value['start']} to {value['end']}{format_likeness(value)}"
        yield f'{indent}{name}: "{value["quote"]}" ({where})'
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


DAY_S = 86_400
FORGOTTEN = "it was forgotten"
MINUTE = "%Y-%m-%d %H:%M"


def _item_fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    fields = [(document["task"], document["name"])]
    parked = document["parked"]
    state = document["state"]
    fields += [(name, shown_value(value)) for name, value in document["columns"].items()]
    state = {"no_bio": "no bio (cannot be searched)", "parked": parked_label(parked or "")}.get(
        state, state
    )
    fields.append(("state", f"{state or 'not known'}{f': {parked}' if parked else ''}"))
    if (moment := document["changed_at"]) is not None:
        days = (datetime.now(UTC) - moment).total_seconds() / DAY_S
        age = f"{moment:{MINUTE}}, {days:.0f} days ago" if days >= 1 else f"{moment:{MINUTE}}"
        fields.append(
            ("changed", f"{age}: its answer is of what it was before" if document["stale"] else age)
        )
    for answer in document["answers"]:
        fields.append(("answer", _origin(answer)))
        said = answer["answer"].items() if not answer["forgotten"] else ()
        fields += [("", line) for name, value in said for line in _value_lines(name, value, "")]
        fields += [("", FORGOTTEN)] * answer["forgotten"]
    for one in document["attempts"]:
        excerpt = f": {one['excerpt']}" if one["excerpt"] else ""
        fields.append(
            ("attempt", f"{one['at']:{MINUTE}} {one['outcome']}: {one['reason']}{excerpt}")
        )
    fields += [("request", _request_line(one)) for one in document["requests"]]
    if (index := document["index"]) is not None:
        there = f"in build {index.get('build')}, " + (
            "up to date" if index.get("up_to_date") else "with an older text"
        )
        broken = f"broken: {index['problem']}" if "problem" in index else ""
        fields.append(("index", broken or (there if index["indexed"] else "not in it")))
    return [*fields, ("cost", format_usd(document["cost"]))]


def _origin(answer: Mapping[str, Any]) -> str:
    if answer["who"] is not None:
        return f"{answer['at']:{MINUTE}} {answer['who']}, by hand{'' if answer['applied'] else ' (undone)'}"
    source = f"batch {answer['batch']}"
    tokens = (
        f"{answer['tokens_in']:,} + {answer['tokens_out']:,} tokens, {format_usd(answer['cost'])}"
    )
    if answer["batch"] is None and not answer["tokens_in"] and answer["response_id"]:
        source = "shared"
        tokens = "asked and paid for another that asks the same"
    said = f"{answer['at']:{MINUTE}} {answer['extractor']} ({answer['model_version']}), {source}, {tokens}"
    return said if answer["applied"] else f"{said} (not applied)"


def _request(one: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a request as cells: how it went, by what model, how it ended, tokens in and out, the price."""
    how = f"{'live, ' if one['purpose'] == 'live' else ''}batch {one['batch']} line {one['line']}"
    ended = one["outcome"] or ("under way" if one["state"] is None else f"batch {one['state']}")
    tokens = (
        "?" if one[name] is None else f"{one[name]:,}" for name in ("tokens_in", "tokens_out")
    )
    return (
        how,
        one["model"],
        str(ended),
        *tokens,
        "?" if one["cost"] is None else format_usd(one["cost"]),
    )


def _request_line(one: Mapping[str, Any]) -> str:
    how, model, ended, tokens_in, tokens_out, cost = _request(one)
    why = f" ({one['reason']})" if one["reason"] not in {None, "", "ok"} else ""
    return f"{one['at']:{MINUTE}} {how}, {model}, {ended}{why}, {tokens_in} + {tokens_out} tokens, {cost}"


def _wire(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = list[str]()
    for one in requests:
        text = one["wire"]
        lines.append(f"--- {one['item']}: {_request_line(one)}")
        if text["request"] or text["replies"] or text["no_request"] != text["no_reply"]:
            lines.append("request: " + (text["request"] or f"({text['no_request']})"))
        lines += [f"reply: {reply}" for reply in text["replies"]] or [f"({text['no_reply']})"]
    return lines or [
        "(no request of its own: it was not asked, or shares that of another that asks the same)"
    ]


def show(
    ws: WorkspaceSession,
    *,
    expert: Expert = None,
    item: Item = None,
    n: Annotated[int, Parameter("How many requests to list.", COUNT)] = 10,
    all_: Annotated[bool, Parameter("Requests of all tasks.")] = False,
    raw: Raw = False,
) -> CommandReport:
    """Show everything known about one person: row, tags and their origin, attempts, index.

    With --item one item of the task that TASK= names: its row, state, answers, attempts, requests and cost. Without
    either the newest requests are listed: when, how, by what model, what came of each.
    """
    if expert is None and item is None:
        found = listing.newest_requests(ws, limit=n, every=all_, raw=raw)
        headers = (
            "when",
            "item",
            "way",
            "model",
            "outcome",
            "tokens in",
            "out",
            "price",
            "answer or reason",
        )
        listed = [
            TextTable(headers, [_request_cells(one, every=all_) for one in found]),
            *(_wire(found) if raw else ()),
        ]
        return CommandReport(found, listed if found else "nothing was asked yet")
    document = listing.show(ws, item or expert or "", raw=raw)
    return CommandReport(
        document,
        [
            partial(print_fields, _item_fields(document)),
            *(_wire(document["requests"]) if raw else ()),
        ],
    )


def _request_cells(one: Mapping[str, Any], *, every: bool) -> tuple[str, ...]:
    said = one["reason"] or ("no answer is kept" if one["outcome"] == "answered" else "")
    if one["forgotten"]:
        said = FORGOTTEN
    elif one["answer"] is not None:
        told = leaves(one["answer"])
        said = ", ".join(
            f"{'.'.join(map(str, path))}: {shown_value(value)}" for path, value in told
        )
    item = f"{one['task']} {one['name']}" if every else one["name"]
    return (
        f"{one['at']:{MINUTE}:%S}",
        item,
        *_request(one),
        said if len(said) <= ANSWER else f"{said[:ANSWER]}…",
    )


def try_(
    ws: WorkspaceSession,
    *,
    n: Annotated[int | None, Parameter("How many to try; 3 without it.", COUNT)] = None,
    item: Annotated[str | None, Parameter("The one to try, whatever its state.", TEXT)] = None,
    seed: Seed = None,
    a: Annotated[str | None, Parameter("A version, or `draft`, beside --b.", metavar="WAY")] = None,
    b: Annotated[str | None, Parameter("Another one, on the same items.", metavar="WAY")] = None,
) -> CommandReport:
    """Ask about a few items of TASK at once, and show what is sent, what comes back, tokens, cost and time.

    The answers are judged and not stored: only the calls and their cost are, and they count against budgets and quotas
    as any. The first that are to be asked are tried, or those that --seed draws; an answered or parked one by --item.
    Above FINDABLE_CONFIRM_ABOVE (USD) it asks first, and refuses without --yes off a terminal.

    With --a and --b two ways stand side by side on a sample: a version (its number) by its stored answers, and `draft`
    by what TASK's file asks now, of MODEL.
    """
    if (a is None) != (b is None) or (a is not None and (a == b or item is not None)):
        raise InputError(
            f"{OptionHint('a')} and {OptionHint('b')} are two ways, and no {OptionHint('item')} goes with them"
        )
    if item is not None and (n is not None or seed is not None):
        raise InputError("one item is tried by its name, or some by a number and a seed")
    words = ws.task.words

    if a and b:
        drawn = {
            "size": n or DEFAULT_PAIR_SAMPLE_SIZE,
            "seed": pilot.DEFAULT_PILOT_SEED if seed is None else seed,
        }
        return _two_ways(try_out.compare_sides(ws, (a, b), **drawn))
    report = try_out.run(ws, n or try_out.DEFAULT_ROW_COUNT, item, seed)
    return CommandReport(report.document, partial(_show_tried, report, words), report.check)


def _show_tried(report: TryReport, words: TaskLabels) -> None:
    if system := report.items[0].request.get("systemInstruction"):
        print_text("sent with each, as the system instruction:")
        print_text(_cut(system["parts"][0]["text"]), indent=INDENT)
    for number, one in enumerate(report.items, start=1):
        print_text(f"\n{words.one} {number} of {len(report.items)}: {one.name}")
        for part in one.request["contents"][0]["parts"]:
            print_text(_cut(part["text"]) if "text" in part else _attached(part), indent=INDENT)
        _show_end(one)
    asked = [one for one in report.items if one.calls]
    tried = f"{plural(len(asked), words.one, words.many)} tried with {report.extractor}, {format_usd(report.cost)}"
    told = f"{tried}; no answer was stored"
    after = str(words.again)
    if report.draft_of:
        version = report.draft_of.partition("@")[2]
        told = f"draft of version {version}: {told}"
        after = f"set version={int(version) + 1} in its file, then {after}"
    is_good = any(one.answer is not None for one in asked)
    print_text("")
    print_line(told + (f". Next: {after}" if is_good else ""))


def _two_ways(report: try_out.ComparisonReport) -> CommandReport:
    a, b = report.sides
    cost = report.asked.cost if report.asked else 0.0
    lines = list[str]()
    for one in report.pairs:
        lines += ["", f"{one['name']}{' ≠' if one['a'] != one['b'] else ''}"]
        for letter, said in (("A", one["a"]), ("B", one["b"])):
            lines += (
                [f"{INDENT}{letter}: {said}"]
                if isinstance(said, str)
                else _value_lines(letter, said, INDENT)
            )
    lines += [
        "",
        *(
            f"{INDENT}{name}: the same in {n} of {report.compared}"
            for name, n in report.agreement.items()
        ),
    ]
    alike = sum(one["a"] == one["b"] for one in report.pairs)
    lines.append(f"A is {a}, B {b}: {alike} of {len(report.pairs)} alike; {format_usd(cost)}")
    told = {"a": a, "b": b, "items": report.pairs, "cost": cost}
    told |= {"agreement": report.agreement, "compared": report.compared}
    return CommandReport(told, lines, report.asked.check if report.asked else None)


def _show_end(one: TriedRow) -> None:
    tokens = f"{one.tokens_in:,} tokens in, {one.tokens_out:,} out"
    used = f" in {one.seconds:.1f} s; {tokens}, {format_usd(one.cost)}"
    print_text(
        f"{one.outcome}{used if one.calls else ''}" + (f": {one.reason}" if one.reason else "")
    )
    if one.answer is not None:
        for name, value in one.answer.items():
            for line in _value_lines(name, value, INDENT):
                print_text(line)
    elif one.reply:
        print_text(_cut(one.reply), indent=INDENT)
