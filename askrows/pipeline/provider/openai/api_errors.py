"""Convert refusals of OpenAI's API into errors with a next step.

The body of a refusal is `{"error": {"message", "type", "param", "code"}}`. Servers that speak the
API send other bodies, too.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import (
    KeyRefusedError,
    MissingError,
    ModelRefusedError,
    RefusedError,
    RemoteError,
    SchemaRefusedError,
    ThrottledError,
    UnavailableError,
)
from askrows.pipeline.provider.call_errors import (
    OTHER_REFUSAL_HINT,
    RUN_LATER_HINT,
    make_missing_hint,
    parse_retry_after_s,
    quote_server_text,
)
from askrows.pipeline.provider.openai.result_lines import EFFECTS, SCHEMA_PARAMETER, parse_error
from askrows.pipeline.provider.providers import Provider

# The 4xx codes after which the call may have had an effect.
UNCLEAR_CLIENT_ERROR_CODES = frozenset({408, 409, 499})
# Flex has no room for a call now: it was not run, and may be repeated.
SHED_CODE = "resource_unavailable"
BILLING_PAGE = "https://platform.openai.com/settings/organization/billing"
# A limit of a day, in the words of a 429.
DAY_LIMIT_PATTERN = re.compile(r"\brequests per day\b|\bRPD\b")
# A delay in a header, such as 6m0s or 250ms.
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_SECONDS_BY_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DELAY_HEADERS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens")


def build_refusal(
    status: int,
    document: Any,
    *,
    provider: Provider,
    action: str,
    api_key: str,
    now: datetime,
    headers: Mapping[str, str],
) -> RemoteError:
    """Return the RemoteError for an HTTP status and its body; the caller raises it.

    Args:
        status: The HTTP status.
        document: The body, of any form.
        provider: Its name is in the message.
        action: A verb and its object, such as "download files/x", for the message.
        api_key: The API key, which is removed from messages.
        now: Gives the day of a daily quota.
        headers: The reply's headers, which may contain a delay.

    Returns:
        - KeyRefusedError for 401, and for a 429 about money, which no waiting ends.
        - ThrottledError for any other 429.
        - SchemaRefusedError for 400 if the schema of the answer is refused.
        - ModelRefusedError or MissingError for 403 and 404.
        - UnavailableError for 408, 409, 499 and all codes that are not 4xx. The error code
          SHED_CODE (flex has no room) counts as 503, whatever the status is.
        - RefusedError itself for all others.
    """
    error = parse_error(status, document)
    code = quote_server_text(error.code, api_key)
    server_text = quote_server_text(error.message, api_key)
    if code == SHED_CODE:
        status = HTTPStatus.SERVICE_UNAVAILABLE.value
    reason = f"{status} {code}".rstrip()
    message = f"{provider.name} refused the request to {action} ({reason})"
    details: dict[str, Any] = {"code": status, "status": code}
    if server_text:
        message += f": {server_text}"

    is_client_error = 400 <= status < 500  # noqa: PLR2004 - HTTP's own numbers
    if not is_client_error or status in UNCLEAR_CLIENT_ERROR_CODES:
        return UnavailableError(
            message.replace("refused the request", "failed on the request", 1),
            hint=RUN_LATER_HINT,
            retry_after_s=_find_delay_s(headers),
            **details,
        )
    is_about_money = status == HTTPStatus.TOO_MANY_REQUESTS and code in EFFECTS
    if status == HTTPStatus.UNAUTHORIZED or is_about_money:
        hint = f"check {provider.key_variable} and its project"
        if is_about_money:
            hint = f"add credit at {BILLING_PAGE}, then run the same command again"
        return KeyRefusedError(message, hint=hint, **details)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _build_throttling_error(
            message,
            server_text,
            provider=provider,
            delay_s=_find_delay_s(headers),
            code=code,
            now=now,
        )
    if status in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return _build_missing_or_model_error(
            message, f"{code} {server_text}", details, action=action
        )

    is_about_schema = error.parameter.startswith(SCHEMA_PARAMETER)
    if status == HTTPStatus.BAD_REQUEST and is_about_schema:
        return SchemaRefusedError(message, **details)
    hint = "" if status == HTTPStatus.BAD_REQUEST else OTHER_REFUSAL_HINT
    return RefusedError(message, hint=hint, server_text=server_text, **details)


def _build_missing_or_model_error(
    message: str, server_text: str, details: Mapping[str, Any], *, action: str
) -> RemoteError:
    """Return the error for a 403 or 404.

    It is a ModelRefusedError if the server's code or message has the word "model". Otherwise it is
    a MissingError about what the action uses.
    """
    if "model" in server_text:
        hint = (
            f"this project cannot use the model; set {OptionHint('model')} to another model, "
            "then run the command again"
        )
        return ModelRefusedError(message, hint=hint, **details)
    return MissingError(message, hint=make_missing_hint(action), **details)


def _build_throttling_error(
    message: str,
    server_text: str,
    *,
    provider: Provider,
    delay_s: float | None,
    code: str,
    now: datetime,
) -> ThrottledError:
    """Return the error for a 429 that waiting ends; a limit of the day names the time of its end.

    If it is not a limit of the day and the headers name no delay, `is_queue_full` is set: the queue
    of batches may be full.
    """
    if DAY_LIMIT_PATTERN.search(server_text):
        resets_at = provider.next_reset(now)
        return ThrottledError(
            message,
            hint="the daily quota is used up; "
            f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC",
            status=code,
            resets_at=resets_at,
        )
    hint = "run the same command again later"
    if delay_s:
        hint = f"run the same command again in {delay_s:.0f} s"
    return ThrottledError(
        message,
        hint=hint,
        status=code,
        is_queue_full=not delay_s,
        retry_after_s=delay_s,
    )


def _find_delay_s(headers: Mapping[str, str]) -> float | None:
    """Return the delay that the headers ask for, in seconds, else None.

    `retry-after` counts if it is there. Otherwise it is the longest time until a limit is reset.
    """
    delay_s = parse_retry_after_s(headers.get("retry-after", ""))
    if delay_s is not None:
        return delay_s
    delays_s = [
        sum(float(number) * _SECONDS_BY_UNIT[unit] for number, unit in _DURATION_PART.findall(text))
        for text in map(headers.get, _DELAY_HEADERS)
        if text
    ]
    return max(delays_s, default=None)
