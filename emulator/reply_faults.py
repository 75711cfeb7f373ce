"""Faults of the reply itself: refusals, broken connections, broken bodies, and losses of what was done.

Each is one of three kinds: an answer given instead of the real one, a real answer that is spoiled on its way back, or
something done to the connection. `docs/local-engine.md` says what each word means.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from http.client import responses
from typing import Any

import orjson

from emulator.errors import ApiError, invalid, key_invalid, quota_full, quota_violated
from emulator.exchange import Answer, Exchange
from emulator.faults import CREATE, ONE_BATCH, words
from emulator.limits import violation

_BLANKS = 10_000
Args = Mapping[str, Any]
Act = Callable[[Exchange, Args], Awaitable[None]]

_PAGE = b"<!DOCTYPE html>\n<html><title>Error 502 (Server Error)!!1</title><p><b>502.</b> That is an error.</html>\n"
_HTML = {"content-type": "text/html; charset=UTF-8"}


def _instead(make: Callable[[Args], Answer]) -> Act:
    """Return the fault that reads the request, does nothing, and gives an answer of its own."""

    async def act(exchange: Exchange, args: Args) -> None:
        await exchange.drain()
        await exchange.reply(make(args))

    return act


def _refusal(make: Callable[[Args], ApiError]) -> Act:
    """Return the fault that refuses the request; further headers may be scripted."""

    def refused(args: Args) -> Answer:
        refusal = make(args)
        return _json(refusal.body(), status=refusal.code, headers=args.get("headers"))

    return _instead(refused)


def _spoiled(spoil: Callable[[Exchange, Answer, Args], Awaitable[None]]) -> Act:
    """Return the fault that lets the real handler answer, and does something else with the answer than send it."""

    async def act(exchange: Exchange, args: Args) -> None:
        await spoil(exchange, await exchange.answer(), args)

    return act


def _json(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, dict(headers or {}), orjson.dumps(document))


def _unanswered(end: Callable[[Exchange], Awaitable[None]]) -> Act:
    """Return the fault that reads the request and does something with the connection in place of an answer."""

    async def act(exchange: Exchange, _args: Args) -> None:
        await exchange.drain()
        await end(exchange)

    return act


async def _reset_chunk(exchange: Exchange, args: Args) -> None:
    await exchange.drain(int(args.get("at", 1)))
    await exchange.reset()


async def _clock_jump(exchange: Exchange, args: Args) -> None:
    exchange.advance(float(args.get("seconds", 3600)))
    await exchange.proceed()


async def _success_code(exchange: Exchange, answer: Answer, args: Args) -> None:
    code = int(args.get("code", 201))
    await exchange.reply(Answer(code, {}, b"" if code == HTTPStatus.NO_CONTENT else answer.body))


async def _slow_drip(exchange: Exchange, answer: Answer, args: Args) -> None:
    await exchange.drip(answer, size=int(args.get("bytes", 64)), pause_s=float(args.get("pause_seconds", 0.01)))


async def _slow_loris(exchange: Exchange, answer: Answer, args: Args) -> None:
    """Put blanks before the body, so that each wait is short and the whole has no end."""
    answer = replace(answer, body=b" " * _BLANKS + answer.body)
    await exchange.trickle(answer, part=str(args.get("part", "head")), pause_s=float(args.get("pause_seconds", 0.1)))


async def _slow_reply(exchange: Exchange, answer: Answer, args: Args) -> None:
    await asyncio.sleep(float(args.get("seconds", 1.0)))
    await exchange.reply(answer)


async def _lost_reply_status(exchange: Exchange, _answer: Answer, args: Args) -> None:
    code = int(args.get("code", 503))
    await exchange.reply(_json(ApiError(code, "The service is currently unavailable.").body(), status=code))


def _cut(*, with_length: bool, reset: bool = False) -> Act:
    """Return the fault that closes the connection in the middle of a body; without a length that looks like its end."""

    async def spoil(exchange: Exchange, answer: Answer, args: Args) -> None:
        """Cut after as many bytes as asked, else after half."""
        at = int(args.get("at", len(answer.body) * float(args.get("fraction", 0.5))))
        await exchange.cut(answer, at=at, with_length=with_length, reset=reset)

    return _spoiled(spoil)


def _list_wrapped(args: Args) -> Answer:
    refusal = ApiError(int(args.get("code", 400)), str(args.get("message", "Request contains an invalid argument.")))
    return _json([refusal.body()], status=refusal.code)


def _any_status(default: int) -> Act:
    """Return the fault that refuses with any status and message."""

    def refusal(args: Args) -> ApiError:
        code = int(args.get("code", default))
        return ApiError(code, str(args.get("message", responses.get(code, "Refused by a script."))))

    return _refusal(refusal)


def _quota(limit: str, delay: str) -> Act:
    """Return the fault that refuses with a 429 of a quota, and a delay that may be scripted."""

    def refusal(args: Args) -> ApiError:
        model = str(args.get("model", "gemini-3.5-flash-lite"))
        return quota_violated([violation(limit, 20, model=model, embeds=False)], str(args.get("delay", delay)))

    return _refusal(refusal)


def _mime(args: Args) -> ApiError:
    return invalid(f"Unsupported MIME type: {args.get('mime_type', 'jsonl')}")


def _bad_line(args: Args) -> ApiError:
    line, field = int(args.get("line", 1)), args.get("field", "cachedContent")
    return invalid(f"Error on line {line}: invalid JSON, near column 42: no such field: '{field}'")


def _vanished(args: Args) -> ApiError:
    code = int(args.get("code", HTTPStatus.NOT_FOUND))
    forbidden = code == HTTPStatus.FORBIDDEN
    return ApiError(code, "The caller does not have permission" if forbidden else "Requested entity was not found.")


_lost_reply = _spoiled(lambda exchange, _answer, _args: exchange.drop())
_START = r"^/upload/[^?]*$"
_CHUNK = r"upload_id="
_DOWNLOAD = r":download"

WORDS = {
    **words(
        "reply",
        "",
        r"^/(upload/|download/)?v1",
        hang=("F01", _unanswered(Exchange.gone)),
        drop=("F02", _unanswered(Exchange.drop)),
        reset=("F03", _unanswered(Exchange.reset)),
        html_502=("F04", _instead(lambda _args: Answer(502, _HTML, _PAGE))),
        html_as_json=("F05", _instead(lambda args: Answer(int(args.get("code", 503)), {}, _PAGE))),
        html_200=("F06", _instead(lambda _args: Answer(200, _HTML, _PAGE))),
        empty_200=("F07", _instead(lambda _args: Answer(200, {}, b""))),
        wrong_shape=("F08", _instead(lambda args: _json(args.get("document", {"candidates": "no", "brandNew": 1})))),
        success_code=("F09", _spoiled(_success_code)),
        redirect=(
            "F10",
            _instead(lambda args: Answer(302, {"location": str(args.get("location", "/v1/models"))}, b"")),
        ),
        list_wrapped=("F11", _instead(_list_wrapped)),
        slow_drip=("F12", _spoiled(_slow_drip)),
        slow_loris=("F12", _spoiled(_slow_loris)),
        quota_minute=("F20", _quota("requests_per_minute", "2.5s")),
        quota_day=("F21", _quota("requests_per_day", "36s")),
        quota_bare=("F23", _refusal(lambda _args: ApiError(429, "Resource has been exhausted (e.g. check quota)."))),
        status=("F24", _any_status(503)),
        key_invalid=("F26", _refusal(lambda _args: key_invalid())),
        slow_reply=("F40b", _spoiled(_slow_reply)),
        lost_reply=("F40", _lost_reply),
        lost_reply_status=("F40", _spoiled(_lost_reply_status)),
        clock_jump=("F90", _clock_jump),
    ),
    **words(
        "reply",
        "POST",
        CREATE,
        quota_batch=("F22", _refusal(lambda _args: quota_full())),
        create_lost_reply=("F40", _lost_reply),
        create_lost_reply_status=("F40", _spoiled(_lost_reply_status)),
        create_slow_reply=("F40b", _spoiled(_slow_reply)),
        bad_line=("F43", _refusal(_bad_line)),
    ),
    **words(
        "reply",
        "POST",
        _START,
        mime_refused=("F30", _refusal(_mime)),
        no_upload_url=("F35", _instead(lambda _args: _json({}))),
    ),
    **words(
        "reply",
        "POST",
        _CHUNK,
        mime_refused_final=(
            "F30",
            _instead(lambda args: _json(_mime(args).body(), headers={"X-Goog-Upload-Status": "final"})),
        ),
        drop_chunk=("F33", _unanswered(Exchange.drop)),
        reset_chunk=("F33", _reset_chunk),
        chunk_status=("F33b", _any_status(500)),
    ),
    **words("reply", "POST", r"/batches/[^/]+:cancel$", cancel_ignored=("F56", _instead(lambda _args: _json({})))),
    **words(
        "reply",
        "GET",
        ONE_BATCH,
        get_status=("F25", _any_status(503)),
        batch_vanishes=("F55", _refusal(_vanished)),
    ),
    **words("reply", "GET", r"[?&]pageToken=", page_status=("F58", _any_status(503))),
    **words(
        "reply",
        "GET",
        _DOWNLOAD,
        download_status=("F60", _any_status(503)),
        cut_with_length=("F61", _cut(with_length=True)),
        cut_without_length=("F62", _cut(with_length=False)),
        reset_download=("F61", _cut(with_length=True, reset=True)),
    ),
}
"""Words for faults of the reply itself."""
