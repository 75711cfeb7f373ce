"""Print what is known of one item, and single requests: how each was asked, what it holds, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jobs.output import print_line, usd
from pipeline.core.answer_paths import is_stored_quotation, leaves, likeness_told, shown_value

INDENT = "    "
LONGEST = 2_000  # characters of a text that are shown; --json has all
END = 300  # of these, of its end


def cut(text: str) -> str:
    """Return a text with the middle of a long one left out."""
    left_out = len(text) - LONGEST
    if left_out <= 0:
        return text
    return f"{text[: LONGEST - END]}\n… {left_out:,} characters that are sent, too …\n{text[-END:]}"


def attached(part: Mapping[str, Any]) -> str:
    """Return a line that stands for a part of a prompt that is no text."""
    inline: Mapping[str, Any] = part.get("inlineData") or part.get("fileData") or {}
    size = f", {inline['size']:,} bytes" if "size" in inline else ""
    return f"[{inline.get('mimeType', 'attachment')}{size}]"


def value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    """Yield the lines of one field of an answer; a quotation has its place behind it."""
    if is_stored_quotation(value):
        where = f"characters {value['start']} to {value['end']}{likeness_told(value)}"
        yield f'{indent}{name}: "{value["quote"]}" ({where})'
    elif isinstance(value, Mapping):
        yield f"{indent}{name}:"
        for inner, one in value.items():
            yield from value_lines(inner, one, indent + INDENT)
    elif isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value):
        for number, one in enumerate(value, start=1):
            yield from value_lines(f"{name} {number}", one, indent)
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        yield f"{indent}{name}: {'-' if shown is None or shown == '' else shown}"


DAY_S = 86_400
FORGOTTEN = "it was forgotten"


def item_fields(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what `pipeline.ops.show` says of an item, as names with their values."""
    fields = [(document["task"], document["name"])]
    fields += [(name, shown_value(value)) for name, value in document["columns"].items()]
    why = f": {document['parked']}" if document["parked"] else ""
    fields.append(("state", f"{document['state'] or 'not known'}{why}"))
    if document["changed_at"] is not None:
        fields.append(("changed", _changed(document["changed_at"], is_stale=document["stale"])))
    for answer in document["answers"]:
        fields.append(("answer", origin(answer)))
        fields += [("", line) for line in _answer_lines(answer)]
    fields += [("attempt", _attempt(one)) for one in document["attempts"]]
    fields += [("request", _request(one)) for one in document["requests"]]
    fields += [("index", indexed(document["index"]))] if document["index"] is not None else []
    return [*fields, ("cost", usd(document["cost"]))]


def indexed(index: Mapping[str, Any]) -> str:
    """Return whether the index has an item."""
    if "problem" in index:
        return f"broken: {index['problem']}"
    if not index["indexed"]:
        return "not in it"
    return f"in build {index['build']}, " + ("up to date" if index["up_to_date"] else "with an older text")


def origin(answer: Mapping[str, Any]) -> str:
    """Return where an answer came from."""
    source = f"batch {answer['batch']}"
    tokens = f"{answer['tokens_in']:,} + {answer['tokens_out']:,} tokens, {usd(answer['cost'])}"
    if answer["batch"] is None and not answer["tokens_in"] and answer["response_id"]:
        source, tokens = "shared", "asked and paid for another that asks the same"
    said = f"{_minute(answer['at'])} {answer['extractor']} ({answer['model_version']}), {source}, {tokens}"
    return said if answer["applied"] else f"{said} (not applied)"


def edit_cells(edit: Mapping[str, Any]) -> tuple[str, ...]:
    """Return an edit as a line of a table: number, who, when, what."""
    undone = "" if edit["undoes"] is None else f" (undoes {edit['undoes']})"
    changes = [*(f"-{tag}" for tag in edit["removed"]), *(f"+{tag}" for tag in edit["added"])]
    return (str(edit["number"]), edit["who"], f"{edit['at']:%Y-%m-%d %H:%M}", ", ".join(changes) + undone)


def way(request: Mapping[str, Any]) -> str:
    """Return how a request was made: in which line of which batch, and whether that was asked live."""
    live = "live, " if request["purpose"] == "live" else ""
    return f"{live}batch {request['batch']} line {request['line']}"


def outcome(request: Mapping[str, Any]) -> str:
    """Return how a request ended, or where it stands."""
    if request["outcome"] is not None:
        return str(request["outcome"])
    return "under way" if request["state"] is None else f"batch {request['state']}"


def came_of(request: Mapping[str, Any]) -> str:
    """Return the answer of a request on one line, or why there is none."""
    if request["forgotten"]:
        return FORGOTTEN
    if request["answer"] is None:
        return request["reason"] or ("no answer is kept" if request["outcome"] == "answered" else "")
    told = (f"{'.'.join(map(str, path))}: {shown_value(value)}" for path, value in leaves(request["answer"]))
    return ", ".join(told)


def amounts(request: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the tokens in and out of a request, and its cost; `?` where not known."""
    tokens_in, tokens_out, cost = (request[name] for name in ("tokens_in", "tokens_out", "cost"))
    return (_number(tokens_in), _number(tokens_out), "?" if cost is None else usd(cost))


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def print_wire(requests: Sequence[Mapping[str, Any]]) -> None:
    """Print each request and its replies as they went over the wire, or why they are not there."""
    if not requests:
        print_line("(no request of its own: it was not asked, or shares that of another that asks the same)")
    for one in requests:
        text = one["wire"]
        print_line(f"--- {one['item']}: {_request(one)}")
        if not (text["request"] or text["replies"]) and text["no_request"] == text["no_reply"]:
            print_line(f"({text['no_reply']})")
            continue
        print_line("request: " + (text["request"] or f"({text['no_request']})"))
        for reply in text["replies"] or (f"({text['no_reply']})",):
            print_line(f"reply: {reply}")


def _answer_lines(answer: Mapping[str, Any]) -> list[str]:
    """Return a line for each value of an answer; a quotation has its place behind it."""
    if answer["forgotten"]:
        return [FORGOTTEN]
    return [line for name, value in answer["answer"].items() for line in value_lines(name, value, "")]


def _request(one: Mapping[str, Any]) -> str:
    tokens_in, tokens_out, cost = amounts(one)
    why = f" ({one['reason']})" if one["reason"] not in {None, "", "ok"} else ""
    told = f"{one['model']}, {outcome(one)}{why}, {tokens_in} + {tokens_out} tokens, {cost}"
    return f"{_minute(one['at'])} {way(one)}, {told}"


def _attempt(one: Mapping[str, Any]) -> str:
    excerpt = f": {one['excerpt']}" if one["excerpt"] else ""
    return f"{_minute(one['at'])} {one['outcome']}: {one['reason']}{excerpt}"


def _changed(moment: datetime, *, is_stale: bool | None) -> str:
    days = (datetime.now(UTC) - moment).total_seconds() / DAY_S
    age = f"{_minute(moment)}, {days:.0f} days ago" if days >= 1 else _minute(moment)
    return f"{age}: its answer is of what it was before" if is_stale else age


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
