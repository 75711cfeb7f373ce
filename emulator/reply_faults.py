"""Faults of the reply itself: refusals, broken connections, broken bodies, and losses of what was done."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from http.client import responses
from typing import Any

import orjson

from emulator.errors import ApiError, invalid, key_invalid, quota_full, quota_violated
from emulator.exchange import Exchange
from emulator.faults import Word
from emulator.limits import violation

_BLANKS = 10_000
Args = Mapping[str, Any]
Act = Callable[[Exchange, Args], Awaitable[None]]

_HTML = b"<!DOCTYPE html>\n<html><title>Error 502 (Server Error)!!1</title><p><b>502.</b> That is an error.</html>\n"


async def _hang(exchange: Exchange, _args: Args) -> None:
    """Never answer."""
    await exchange.drain()
    await exchange.gone()


async def _drop(exchange: Exchange, _args: Args) -> None:
    """Close the connection once the request is read; nothing was done."""
    await exchange.drain()
    await exchange.drop()


async def _reset(exchange: Exchange, _args: Args) -> None:
    """Reset the connection once the request is read; nothing was done."""
    await exchange.drain()
    await exchange.reset()


async def _html_502(exchange: Exchange, _args: Args) -> None:
    """Answer as a proxy in front of the service does."""
    await exchange.drain()
    await exchange.reply(502, _HTML, kind="text/html; charset=UTF-8")


async def _html_as_json(exchange: Exchange, args: Args) -> None:
    """Answer 5xx with HTML that is labelled JSON."""
    await exchange.drain()
    await exchange.reply(int(args.get("code", 503)), _HTML)


async def _html_200(exchange: Exchange, _args: Args) -> None:
    """Answer 200 with a page."""
    await exchange.drain()
    await exchange.reply(200, _HTML, kind="text/html; charset=UTF-8")


async def _empty_200(exchange: Exchange, _args: Args) -> None:
    """Answer 200 with nothing."""
    await exchange.drain()
    await exchange.reply(200, b"")


async def _wrong_shape(exchange: Exchange, args: Args) -> None:
    """Answer 200 with JSON of another shape."""
    await exchange.refuse(200, args.get("document", {"candidates": "no", "brandNew": 1}))


async def _success_code(exchange: Exchange, args: Args) -> None:
    """Do what was asked and answer with a success code that is not 200."""
    answer = await exchange.answer()
    code = int(args.get("code", 201))
    await exchange.reply(code, b"" if code == HTTPStatus.NO_CONTENT else answer.body)


async def _redirect(exchange: Exchange, args: Args) -> None:
    """Send the client elsewhere."""
    await exchange.drain()
    await exchange.reply(302, b"", headers={"location": str(args.get("location", "/v1/models"))})


async def _list_wrapped(exchange: Exchange, args: Args) -> None:
    """Answer with an error inside a list."""
    refusal = ApiError(int(args.get("code", 400)), str(args.get("message", "Request contains an invalid argument.")))
    await exchange.refuse(refusal.code, [refusal.body()])


async def _slow_drip(exchange: Exchange, args: Args) -> None:
    """Answer in small pieces with pauses between them."""
    answer = await exchange.answer()
    await exchange.drip(answer, size=int(args.get("bytes", 64)), pause_s=float(args.get("pause_seconds", 0.01)))


async def _slow_loris(exchange: Exchange, args: Args) -> None:
    """Answer one byte at a time, with blanks before the body, so that each wait is short and the whole has no end."""
    answer = await exchange.answer()
    answer = replace(answer, body=b" " * _BLANKS + answer.body)
    await exchange.trickle(answer, part=str(args.get("part", "head")), pause_s=float(args.get("pause_seconds", 0.1)))


async def _slow_reply(exchange: Exchange, args: Args) -> None:
    """Do what was asked at once and answer late."""
    answer = await exchange.answer()
    await asyncio.sleep(float(args.get("seconds", 1.0)))
    await exchange.reply(answer.status, answer.body, headers=answer.headers)


async def _lost_reply(exchange: Exchange, _args: Args) -> None:
    """Do what was asked and close the connection without an answer."""
    await exchange.answer()
    await exchange.drop()


async def _lost_reply_status(exchange: Exchange, args: Args) -> None:
    """Do what was asked and answer that it failed."""
    await exchange.answer()
    code = int(args.get("code", 503))
    await exchange.reply(code, orjson.dumps(ApiError(code, "The service is currently unavailable.").body()))


async def _status(exchange: Exchange, args: Args) -> None:
    """Refuse with any status and message; further headers may be given."""
    code = int(args.get("code", 503))
    message = str(args.get("message", responses.get(code, "Refused by a script.")))
    await exchange.refuse(code, ApiError(code, message).body(), headers=args.get("headers"))


def _refusal(make: Callable[[Args], ApiError]) -> Act:
    """Return the fault that answers with a refusal."""

    async def act(exchange: Exchange, args: Args) -> None:
        """Read the request and refuse it."""
        refusal = make(args)
        await exchange.refuse(refusal.code, refusal.body(), headers=args.get("headers"))

    return act


def _per_minute(args: Args) -> ApiError:
    """Return the 429 of a quota per minute."""
    used_up = violation("requests_per_minute", 20, model=_model(args), embeds=False)
    return quota_violated([used_up], retry_delay=str(args.get("delay", "2.5s")))


def _per_day(args: Args) -> ApiError:
    """Return the 429 of a quota per day, with the short delay that misleads."""
    used_up = violation("requests_per_day", 20, model=_model(args), embeds=False)
    return quota_violated([used_up], retry_delay=str(args.get("delay", "36s")))


def _model(args: Args) -> str:
    """Return the model that a quota names."""
    return str(args.get("model", "gemini-3.5-flash-lite"))


def _mime(args: Args) -> ApiError:
    """Return the refusal of a MIME type."""
    return invalid(f"Unsupported MIME type: {args.get('mime_type', 'jsonl')}")


async def _mime_final(exchange: Exchange, args: Args) -> None:
    """Refuse the MIME type inside a 200 that says the upload is final."""
    await exchange.refuse(200, _mime(args).body(), headers={"X-Goog-Upload-Status": "final"})


async def _reset_chunk(exchange: Exchange, args: Args) -> None:
    """Reset the connection in the middle of a chunk."""
    await exchange.take(int(args.get("at", 1)))
    await exchange.reset()


async def _no_upload_url(exchange: Exchange, _args: Args) -> None:
    """Begin an upload and do not say where to send it."""
    await exchange.refuse(200, {})


async def _cancel_ignored(exchange: Exchange, _args: Args) -> None:
    """Accept a cancel that comes too late: the batch goes on."""
    await exchange.refuse(200, {})


async def _cut_with_length(exchange: Exchange, args: Args) -> None:
    """Close in the middle of a body whose length was announced."""
    answer = await exchange.answer()
    await exchange.cut(answer, at=_cut_at(args, len(answer.body)), with_length=True)


async def _cut_without_length(exchange: Exchange, args: Args) -> None:
    """Close in the middle of a body without a length, which looks like its end."""
    answer = await exchange.answer()
    await exchange.cut(answer, at=_cut_at(args, len(answer.body)), with_length=False)


async def _reset_download(exchange: Exchange, args: Args) -> None:
    """Reset the connection in the middle of a body."""
    answer = await exchange.answer()
    await exchange.cut(answer, at=_cut_at(args, len(answer.body)), with_length=True, reset=True)


def _cut_at(args: Args, length: int) -> int:
    """Return after how many bytes to cut: as asked, else after half."""
    return int(args.get("at", length * float(args.get("fraction", 0.5))))


async def _clock_jump(exchange: Exchange, args: Args) -> None:
    """Move the engine's clock and answer as ever."""
    exchange.advance(float(args.get("seconds", 3600)))
    await exchange.proceed()


def _gone(args: Args) -> ApiError:
    """Return the refusal for a batch that is not there, or not for this key."""
    code = int(args.get("code", HTTPStatus.NOT_FOUND))
    forbidden = code == HTTPStatus.FORBIDDEN
    return ApiError(code, "The caller does not have permission" if forbidden else "Requested entity was not found.")


_API = r"^/(upload/|download/)?v1"
_CREATE = r":(batchGenerateContent|asyncBatchEmbedContent)$"
_START = r"^/upload/[^?]*$"
_CHUNK = r"upload_id="
_ONE_BATCH = r"/batches/[^/:?]+$"
_DOWNLOAD = r":download"


def _any(code: str, act: Act) -> Word:
    """Return the word for a fault that may hit any request."""
    return Word(code, "reply", act, "", _API)


def _at(code: str, act: Act, method: str, path: str) -> Word:
    """Return the word for a fault that by default hits requests of one kind."""
    return Word(code, "reply", act, method, path)


def _bad_line(args: Args) -> ApiError:
    """Return the refusal of a file for one line in it."""
    line, field = int(args.get("line", 1)), args.get("field", "cachedContent")
    return invalid(f"Error on line {line}: invalid JSON, near column 42: no such field: '{field}'")


WORDS = {
    "hang": _any("F01", _hang),
    "drop": _any("F02", _drop),
    "reset": _any("F03", _reset),
    "html_502": _any("F04", _html_502),
    "html_as_json": _any("F05", _html_as_json),
    "html_200": _any("F06", _html_200),
    "empty_200": _any("F07", _empty_200),
    "wrong_shape": _any("F08", _wrong_shape),
    "success_code": _any("F09", _success_code),
    "redirect": _any("F10", _redirect),
    "list_wrapped": _any("F11", _list_wrapped),
    "slow_drip": _any("F12", _slow_drip),
    "slow_loris": _any("F12", _slow_loris),
    "quota_minute": _any("F20", _refusal(_per_minute)),
    "quota_day": _any("F21", _refusal(_per_day)),
    "quota_batch": _at("F22", _refusal(lambda _args: quota_full()), "POST", _CREATE),
    "quota_bare": _any("F23", _refusal(lambda _args: ApiError(429, "Resource has been exhausted (e.g. check quota)."))),
    "status": _any("F24", _status),
    "get_status": _at("F25", _status, "GET", _ONE_BATCH),
    "key_invalid": _any("F26", _refusal(lambda _args: key_invalid())),
    "mime_refused": _at("F30", _refusal(_mime), "POST", _START),
    "mime_refused_final": _at("F30", _mime_final, "POST", _CHUNK),
    "drop_chunk": _at("F33", _drop, "POST", _CHUNK),
    "reset_chunk": _at("F33", _reset_chunk, "POST", _CHUNK),
    "chunk_status": _at("F33b", lambda x, args: _status(x, {"code": 500, **args}), "POST", _CHUNK),
    "no_upload_url": _at("F35", _no_upload_url, "POST", _START),
    "create_lost_reply": _at("F40", _lost_reply, "POST", _CREATE),
    "create_lost_reply_status": _at("F40", _lost_reply_status, "POST", _CREATE),
    "create_slow_reply": _at("F40b", _slow_reply, "POST", _CREATE),
    "slow_reply": _any("F40b", _slow_reply),
    "lost_reply": _any("F40", _lost_reply),
    "lost_reply_status": _any("F40", _lost_reply_status),
    "bad_line": _at("F43", _refusal(_bad_line), "POST", _CREATE),
    "batch_vanishes": _at("F55", _refusal(_gone), "GET", _ONE_BATCH),
    "cancel_ignored": _at("F56", _cancel_ignored, "POST", r"/batches/[^/]+:cancel$"),
    "page_status": _at("F58", _status, "GET", r"[?&]pageToken="),
    "download_status": _at("F60", _status, "GET", _DOWNLOAD),
    "cut_with_length": _at("F61", _cut_with_length, "GET", _DOWNLOAD),
    "cut_without_length": _at("F62", _cut_without_length, "GET", _DOWNLOAD),
    "reset_download": _at("F61", _reset_download, "GET", _DOWNLOAD),
    "clock_jump": _any("F90", _clock_jump),
}
"""Words for faults of the reply itself. A status of any kind, any number of times, is the word `status`."""
