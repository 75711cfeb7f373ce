"""Errors of calls that every provider shares: lost connections, time-outs, unreadable replies.

Errors are returned, and the caller raises them. Credentials are the API key, the ids of upload
sessions, and passwords in addresses. A server may echo its request, so its texts are quoted without
them.
"""

import re
from typing import Any

from askrows.pipeline.core.errors import (
    AskrowsError,
    NotSentError,
    UnavailableError,
    UnreadableError,
)
from askrows.pipeline.core.redact import redact
from askrows.pipeline.core.text import shorten, to_single_line

# Characters of a server's own message that are quoted.
MAX_QUOTED_CHARS = 300
# Our own choice: characters of a server's text that are searched for markup.
MAX_SERVER_TEXT_CHARS = 20_000
# Our own choice: a longer delay of a server is taken for a mistake, and cut to this.
MAX_RETRY_AFTER_S = 86_400.0
# Exceptions for a reply that does not have the expected form.
PARSE_ERRORS = (ValueError, LookupError, TypeError, AttributeError)
RUN_LATER_HINT = "finished work is stored; run the same command again later"
# For refusals that concern neither the key, the model nor the request of a row.
OTHER_REFUSAL_HINT = (
    "a proxy or the server refuses it; finished work is stored: "
    "do what its message asks for, then run the same command again"
)
# The first words of actions that use a model, but no batch and no file.
_MODEL_ACTIONS = ("ask", "embed", "describe the model")


class UnreadableReplyError(ValueError):
    """A reply of the API with an unexpected form; the client converts it to one of our errors."""


def convert_connection_error_or_reraise(
    error: Exception,
    *,
    provider: str,
    action: str,
    api_key: str,
    address: str,
    timeout_s: float,
) -> AskrowsError:
    """Return our error for an exception of the HTTP library, the network or a parser.

    A connection that was never made becomes a NotSentError. A time-out, a broken connection and a
    reply that cannot be read become an UnavailableError; it is an UnreadableError if the reply
    arrived whole.

    Args:
        error: An error of the HTTP library, the network or a parser.
        provider: The name of the provider, for the message.
        action: A verb and its object, such as "download files/x", for the message.
        api_key: The API key, which is removed from messages.
        address: The server's address, without a password.
        timeout_s: The time-out of the call, for the message.

    Raises:
        Exception: The given error, if it is a fault of our own.
    """
    import httpx2

    error_text = redact(" ".join(str(error).split()), api_key)[:MAX_QUOTED_CHARS]
    no_connection = (
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.PoolTimeout,
        httpx2.ProxyError,
    )
    if isinstance(error, no_connection):
        message = f"cannot connect to {address} to {action}; nothing was sent"
        if error_text:
            message += f" ({error_text})"
        return NotSentError(message, hint="check the network, then run the same command again")

    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        message = f"{provider} sent no reply within {timeout_s:g} s when asked to {action}"
    elif isinstance(error, httpx2.HTTPError | httpx2.StreamError | httpx2.InvalidURL):
        message = f"the connection broke when {provider} was asked to {action}"
        if error_text:
            message += f" ({error_text})"
    elif isinstance(error, (*PARSE_ERRORS, OSError, RecursionError)):
        message = f"the reply of {provider} to the request to {action} cannot be read: {error_text}"
        if not isinstance(error, OSError):
            return UnreadableError(message, hint=RUN_LATER_HINT)
    else:
        raise error
    return UnavailableError(message, hint=RUN_LATER_HINT)


def make_missing_hint(action: str) -> str:
    """Return the next step after the provider denied access to what an action uses (403, 404).

    Args:
        action: A verb and its object, such as "download files/x".
    """
    resource = "model, batch or file"
    if action.startswith(_MODEL_ACTIONS):
        resource = "model"
    return f"check the rights of the key, and that the {resource} exists in its project"


def parse_retry_after_s(text: str) -> float | None:
    """Return a number of seconds, cut to MAX_RETRY_AFTER_S.

    Returns:
        The seconds, or None if the text is not a number: a Retry-After header may be a date.
    """
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*", text)
    if match is None:
        return None
    return min(float(match[1]), MAX_RETRY_AFTER_S)


def quote_server_text(text: Any, api_key: str) -> str:
    """Return a server's text for a message, or "" if it is not a text.

    The text is on one line, has no credentials and no markup, and is cut to MAX_QUOTED_CHARS.
    """
    if not isinstance(text, str):
        return ""
    text_without_markup = re.sub(r"<[^<>]{0,200}>", " ", text[:MAX_SERVER_TEXT_CHARS])
    line = to_single_line(redact(text_without_markup, api_key))
    return shorten(line, MAX_QUOTED_CHARS)
