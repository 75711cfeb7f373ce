"""Convert failures of API calls into errors with a next step.

Errors are returned, and the caller raises them. A clear refusal is an error after which the call
certainly had no effect. Credentials are the API key, the ids of upload sessions, and passwords in
addresses.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    KeyRefusedError,
    MissingError,
    ModelRefusedError,
    RefusedError,
    RemoteError,
    SchemaRefusedError,
    ThrottledError,
    UnavailableError,
    UploadTypeRefusedError,
)
from askrows.pipeline.core.states import normalize_api_enum
from askrows.pipeline.provider.call_errors import (
    OTHER_REFUSAL_HINT,
    RUN_LATER_HINT,
    convert_connection_error_or_reraise,
    make_missing_hint,
    parse_retry_after_s,
    quote_server_text,
)
from askrows.pipeline.provider.providers import GEMINI
from askrows.pipeline.provider.responses import (
    HTTP_STATUS_BY_RPC_CODE,
    has_error_content,
    object_or_empty,
    parse_count_or_zero,
    read_rpc_code,
    to_text,
)

# The 4xx codes after which the call may have had an effect.
UNCLEAR_CLIENT_ERROR_CODES = frozenset({408, 409, 499})
# Beginnings of ErrorInfo.reason.
KEY_REASON_PREFIXES = ("API_KEY_", "SERVICE_DISABLED", "CONSUMER_", "BILLING_DISABLED")
# Characters of Google's status that are quoted.
MAX_STATUS_CHARS = 40
# Google's words for the subject of a refusal: a thinkingConfig, a model without any quota, money,
# a model that is full, a large schema.
THINKING_PATTERN = re.compile(r"thinking[ _]?(level|budget)", re.IGNORECASE)
NO_QUOTA_PATTERN = re.compile(r"\blimit: 0(?![\d.])")
CREDIT_PATTERN = re.compile(
    r"\bcredits?\b.{0,40}\b(?:depleted|exhausted|used up)\b|\bspend(?:ing)? cap\b",
    re.IGNORECASE,
)
CAPACITY_PATTERN = re.compile(r"\bno capacity\b|capacity[ _](?:is )?exhausted", re.IGNORECASE)
SCHEMA_PATTERN = re.compile(r"\btoo many states\b", re.IGNORECASE)
UNUSABLE_MODEL_PATTERN = re.compile(
    r"no longer available|\bmodels/\S+ is not (found|supported)",
)
# The setting of the model that a request uses, by the first words of the request's action.
MODEL_SETTING_BY_ACTION = {
    "ask the decision model": "decision_model",
    "ask": "model",
    "create batch": "model",
    "embed": "embedding_model",
}
THINKING_HINT = (
    'set thinking={"thinkingLevel": "LOW"} in the task file, '
    "or `thinking` of the model in the file of ASKROWS_MODELS_FILE"
)
# Google's own refusals link to this page for billing (read 2026-11).
BILLING_PAGE = "https://aistudio.google.com"


def convert_call_error_or_reraise(
    error: Exception,
    *,
    action: str,
    api_key: str,
    now: datetime,
    address: str,
    timeout_s: float,
) -> AskrowsError:
    """Return the AskrowsError for an exception of a call to Gemini.

    An error of the API becomes the error of `build_refusal`. A connection that was never made
    becomes a NotSentError. A time-out, a broken connection and a reply that cannot be read become
    an UnavailableError; it is an UnreadableError if the reply arrived whole.

    Args:
        error: An error of the SDK, the HTTP library or the network. An AskrowsError is returned
            unchanged.
        action: A verb and its object, such as "download files/x", for the message.
        api_key: The API key, which is removed from messages.
        now: Gives the day of a daily quota.
        address: The server's address, without a password.
        timeout_s: The time-out of the call, for the message.

    Raises:
        Exception: The given error, if it is a fault of our own.
    """
    from google.genai import errors

    if isinstance(error, AskrowsError):
        return error
    if isinstance(error, errors.APIError):
        return build_refusal(
            error.code,
            error.details,
            action=action,
            api_key=api_key,
            now=now,
            headers=getattr(error.response, "headers", None),
        )

    return convert_connection_error_or_reraise(
        error,
        provider="Gemini",
        action=action,
        api_key=api_key,
        address=address,
        timeout_s=timeout_s,
    )


def build_refusal(
    code: int,
    document: Any,
    *,
    action: str,
    api_key: str,
    now: datetime,
    headers: Mapping[str, str] | None = None,
) -> RemoteError:
    """Return the RemoteError for an HTTP error code and its body; the caller raises it.

    Args:
        code: The HTTP code.
        document: The body, of any form.
        action: A verb and its object, such as "download files/x", for the message.
        api_key: The API key, which is removed from messages.
        now: Gives the day of a daily quota.
        headers: The reply's headers, which may contain `Retry-After`.

    Returns:
        - ThrottledError for 429. A daily quota sets `resets_at` and drops the delay of RetryInfo,
          which is short and misleading then.
        - KeyRefusedError for a 429 that no waiting ends (no quota at all, no credit), for 401, and
          for 400 or 403 if they concern the key. A wrong key gives 400 on this API.
        - SchemaRefusedError for 400 if the schema is too large for the model.
        - UploadTypeRefusedError for 400 if the type of an uploaded file is refused.
        - ModelRefusedError for 403 or 404 if the project cannot use the model.
        - MissingError for any other 404, and for a 403 that does not concern the key.
        - UnavailableError for 408, 409, 499 and all codes that are not 4xx.
        - RefusedError itself for all others. Except UnavailableError, the classes above are its
          subclasses.
    """
    error = _find_error_object(document)
    status = quote_server_text(error.get("status"), api_key)[:MAX_STATUS_CHARS]
    quoted_text = quote_server_text(error.get("message"), api_key)
    code_and_status = str(code)
    if status:
        code_and_status += f" {status}"
    message = f"Gemini refused the request to {action} ({code_and_status})"
    if quoted_text:
        message += f": {quoted_text}"
    retry_after_s = _find_retry_after_s(error, headers or {})

    if code == HTTPStatus.TOO_MANY_REQUESTS:
        return _build_too_many_requests_error(
            message,
            error,
            action=action,
            status=status,
            retry_after_s=retry_after_s,
            now=now,
        )
    is_client_error = 400 <= code < 500  # noqa: PLR2004 - HTTP's own numbers
    if not is_client_error or code in UNCLEAR_CLIENT_ERROR_CODES:
        return UnavailableError(
            message.replace("Gemini refused the request", "Gemini failed on the request", 1),
            hint=RUN_LATER_HINT,
            code=code,
            status=status,
            retry_after_s=retry_after_s,
        )
    if code == HTTPStatus.UNAUTHORIZED or _is_error_of_key_or_project(code, error):
        return KeyRefusedError(
            message,
            hint="check GEMINI_API_KEY and its project",
            code=code,
            status=status,
        )
    if code == HTTPStatus.BAD_REQUEST:
        return _build_bad_request_error(message, quoted_text, status=status)
    if code not in {HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        return RefusedError(
            message, hint=OTHER_REFUSAL_HINT, code=code, status=status, server_text=quoted_text
        )

    error_type = MissingError
    hint = make_missing_hint(action)
    if code == HTTPStatus.FORBIDDEN and action.startswith("create batch"):
        hint = (
            "run the same command again, which uploads the file anew; "
            "if it is refused again, check the rights of the key"
        )
    if UNUSABLE_MODEL_PATTERN.search(quoted_text):
        settings = [
            setting
            for action_start, setting in MODEL_SETTING_BY_ACTION.items()
            if action.startswith(action_start)
        ]
        options = settings[:1] or dict.fromkeys(MODEL_SETTING_BY_ACTION.values())
        option_text = " or ".join(str(OptionHint(setting)) for setting in options)
        hint = (
            f"this project cannot use the model; set {option_text} to another model, "
            "then run the command again"
        )
        error_type = ModelRefusedError
    return error_type(message, hint=hint, code=code, status=status)


def find_error_code_in_reply(document: Any) -> int | None:
    """Return the HTTP code of an error that was sent with status 200 instead of a reply.

    Returns:
        None if the document is not an object or is a reply: it has `candidates`, or `answers` of a
        decision model, or its `error` is missing or empty. Otherwise the HTTP code of the error. A
        google.rpc code or status is converted to it; an unknown code becomes 500.
    """
    if not isinstance(document, dict) or document.get("candidates") or document.get("answers"):
        return None
    if not has_error_content(document.get("error")):
        return None

    error = object_or_empty(document["error"])
    code = parse_count_or_zero(error.get("code"), below=600)
    if code >= 400:  # noqa: PLR2004 - HTTP's own numbers
        return code
    rpc_code = read_rpc_code(error) or 0
    return HTTP_STATUS_BY_RPC_CODE.get(rpc_code, 500)


def _build_bad_request_error(message: str, quoted_text: str, *, status: str) -> RefusedError:
    """Return the error for a 400 that does not concern the key.

    It is a SchemaRefusedError if the schema is too large, an UploadTypeRefusedError if the type of
    an uploaded file is refused, and otherwise a RefusedError. If the thinking level is refused,
    THINKING_HINT is added to the message.

    Args:
        message: The complete message of the error.
        quoted_text: Google's own text, which may name the thinking level or the schema.
        status: The status name of the refusal.
    """
    if THINKING_PATTERN.search(quoted_text):
        message += f" ({THINKING_HINT})"
    elif SCHEMA_PATTERN.search(quoted_text):
        return SchemaRefusedError(message, code=400, status=status)
    elif "MIME type" in quoted_text and "to upload " in message:
        return UploadTypeRefusedError(message, hint=RUN_LATER_HINT, code=400, status=status)
    return RefusedError(message, code=400, status=status, server_text=quoted_text)


def _build_too_many_requests_error(
    message: str,
    error: Mapping[str, Any],
    *,
    action: str,
    status: str,
    retry_after_s: float | None,
    now: datetime,
) -> RefusedError:
    """Return the error for an HTTP 429, with a hint that depends on the kind of quota.

    Args:
        message: The message of the error, except for a model without quota.
        error: The error object of the reply, which names the quota.
        action: The refused action, a verb and its object. It is only in the message about a model
            without quota.
        status: The status name of the refusal.
        retry_after_s: The delay that the server asked for.
        now: The daily quota starts anew at the next midnight in Pacific time.

    Returns:
        KeyRefusedError if no waiting helps: the model has no quota at all, or credit is used up.

        Otherwise ThrottledError, by the first case that applies:

        - The model itself is full: with the delay of the server.
        - A daily quota is used up: with the time `resets_at`.
        - Any other case: with the delay. `is_queue_full` is set if neither a quota nor a delay is
          named, as for a full batch queue.
    """
    google_message = to_text(error.get("message"))
    if NO_QUOTA_PATTERN.search(google_message):
        return _build_no_quota_error(google_message, action=action, status=status)
    if CREDIT_PATTERN.search(google_message):
        return KeyRefusedError(
            message,
            hint=f"add credit or raise the spending cap at {BILLING_PAGE}, "
            "then run the same command again",
            code=429,
            status=status,
        )
    if CAPACITY_PATTERN.search(google_message):
        return ThrottledError(
            message,
            hint="the model is full, and your quota is not used up; "
            f"run the same command again later, or set {OptionHint('model')} to another model",
            status=status,
            retry_after_s=retry_after_s,
        )

    quota_failures = _find_details_of_type(error, "QuotaFailure")
    if any("PerDay" in str(quota_failure.get("violations")) for quota_failure in quota_failures):
        resets_at = GEMINI.next_reset(now)
        return ThrottledError(
            message,
            hint="the daily quota is used up; "
            f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC",
            status=status,
            resets_at=resets_at,
        )

    if retry_after_s:
        hint = f"run the same command again in {retry_after_s:.0f} s"
    else:
        hint = "run the same command again later; batches at Gemini count towards the quota, too"
    # Refusals of a full queue name neither a quota nor a delay (issues of 2025 and 2026).
    is_queue_full = not quota_failures and not retry_after_s
    return ThrottledError(
        message,
        hint=hint,
        status=status,
        is_queue_full=is_queue_full,
        retry_after_s=retry_after_s,
    )


def _build_no_quota_error(google_message: str, *, action: str, status: str) -> KeyRefusedError:
    """Return the error for a 429 of a model whose quota is 0; it names tier and model if known."""
    tier = "the free tier" if "free_tier" in google_message else "the key's project"
    model_match = re.search(r"\bmodel: ([\w.-]+)", google_message)
    model_name = model_match[1] if model_match else "this model"
    return KeyRefusedError(
        f"Gemini refused the request to {action} (429): {tier} has no quota for {model_name} "
        "(limit 0), and waiting does not help",
        hint=f"set up billing at {BILLING_PAGE}, or set {OptionHint('model')} to a model that has "
        "a quota",
        code=429,
        status=status,
    )


def _is_error_of_key_or_project(code: int, error: Mapping[str, Any]) -> bool:
    """Return whether a refusal concerns the key, its project or its billing.

    It does in each of these cases:

    - An ErrorInfo names such a reason, whatever the code is.
    - The code is 400, and the status is FAILED_PRECONDITION or the message is about the key.
    - The code is 403, and the message is about the key or an unregistered caller.

    Args:
        code: The HTTP code.
        error: The error object of the reply.
    """
    error_infos = _find_details_of_type(error, "ErrorInfo")
    if any(str(info.get("reason", "")).startswith(KEY_REASON_PREFIXES) for info in error_infos):
        return True

    message = str(error.get("message", ""))
    if code == HTTPStatus.BAD_REQUEST:
        status = normalize_api_enum(to_text(error.get("status")))
        return status == "FAILED_PRECONDITION" or "API key not valid" in message
    if code == HTTPStatus.FORBIDDEN:
        return "API key" in message or "unregistered callers" in message
    return False


def _find_error_object(document: Any) -> dict[str, Any]:
    """Return the error object of a refusal's body; {} if the body is empty or no object.

    The body may be `{"error": {…}}`, a list that starts with it, or the bare error object. A text,
    such as the page of a proxy, is returned as the error's `message`.
    """
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return {"message": document}
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    return error if isinstance(error, dict) else {"message": str(error)}


def _find_details_of_type(error: Mapping[str, Any], type_name: str) -> list[Mapping[str, Any]]:
    """Return the details of an error whose `@type` ends with a type name such as RetryInfo."""
    details = error.get("details")
    if not isinstance(details, list):
        return []
    objects = [detail for detail in details if isinstance(detail, dict)]
    return [detail for detail in objects if str(detail.get("@type", "")).endswith(f".{type_name}")]


def _find_retry_after_s(error: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    """Return the longest delay that the header or the error asks for, in seconds, else None."""
    retry_infos = _find_details_of_type(error, "RetryInfo")
    delay_texts = [str(info.get("retryDelay", "")).removesuffix("s") for info in retry_infos]
    delay_texts.append(headers.get("retry-after", ""))
    delays_s = [parse_retry_after_s(delay_text) for delay_text in delay_texts]
    return max(filter(None, delays_s), default=None)
