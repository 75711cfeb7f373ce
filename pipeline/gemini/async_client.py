"""Make live calls, many at once: the SDK's async client, one attempt per call, each bounded as a whole.

The caller decides what to do about a failure, for only it knows what a second try would cost; so nothing is repeated.
The bytes of a reply are kept by a hook of the HTTP library, in a place that belongs to the call's own task.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx2
import orjson

from pipeline.core.errors import UnavailableError
from pipeline.gemini.error_mapping import LATER
from pipeline.gemini.operations import UnreadableError
from pipeline.gemini.transport import NOT_TYPED, Transport, milliseconds

if TYPE_CHECKING:
    from google import genai
    from google.genai import types


T = TypeVar("T")
_reply: ContextVar[list[bytes]] = ContextVar("findable_reply")


class LiveClient:
    """Speaks to the API from one event loop, for the length of an `async with`."""

    def __init__(self, transport: Transport, *, seconds: float) -> None:
        """Take what opens connections, and how long one call may take, in seconds, to its last byte."""
        self._transport = transport
        self._seconds = seconds

    async def __aenter__(self) -> Self:
        """Make the connections ready; nothing is sent.

        Raises:
            ConfigurationError: the base URL is none, or a proxy or certificates cannot be used.
        """
        self._sdk, self._close = self._transport.opened_async(_keep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._close()

    async def generate(self, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask one question with the request object of a batch line, once, and return the raw reply document.

        Raises:
            RefusedError: a clear no; nothing was done. Its kinds say why: a quota, the key, the model.
            NotSentError: no connection was made.
            UnavailableError: no reply, or one that cannot be read: the question may have been answered and paid for.
        """

        async def ask(sdk: "genai.Client") -> dict[str, Any]:
            contents, config = live_request(request, seconds=self._seconds)
            with _raw():
                await sdk.aio.models.generate_content(model=model, contents=contents, config=config)
            return self._document()

        return await self._once(ask, what=f"ask {model}")

    def _document(self) -> dict[str, Any]:
        document = self._transport.read_document(b"".join(_reply.get()))
        if not isinstance(document, dict) or not document:
            raise UnreadableError("the answer is no JSON object")
        return document

    async def _once(self, ask: "Callable[[genai.Client], Awaitable[T]]", *, what: str) -> T:
        """Make one attempt within its time and turn whatever goes wrong into one of our errors."""
        _reply.set([])
        try:
            async with asyncio.timeout(self._seconds):
                return await ask(self._sdk)
        except TimeoutError:
            text = f"no answer within {self._seconds:g} s, when asked to {what}"
            raise UnavailableError(text, hint=LATER) from None
        except Exception as error:
            ours = self._transport.translated(error, what=what, seconds=self._seconds)
            if ours is None:
                raise
            raise ours from None


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Let a call pass whose 200 the SDK cannot put into its own types: it was paid for, and we read the document."""
    try:
        yield
    except NOT_TYPED:
        if not any(_reply.get()):
            raise


def live_request(
    request: Mapping[str, Any], *, seconds: float
) -> "tuple[list[types.Content], types.GenerateContentConfig]":
    """Return contents and config of the SDK that put exactly this request object on the wire."""
    from google.genai import types

    fields = {name: value for name, value in request.items() if name not in {"contents", "generationConfig"}}
    settings = dict(request.get("generationConfig") or {})
    schema = settings.pop("responseSchema", None)
    config = types.GenerateContentConfig.model_validate_json(orjson.dumps({**settings, **fields}))
    config.http_options = types.HttpOptions(timeout=milliseconds(seconds))
    config.automatic_continuation = False  # one call, one reply
    if schema is not None:
        config.response_schema = types.Schema.model_validate_json(orjson.dumps(schema))
    return _contents(request["contents"]), config


def _contents(contents: "list[Mapping[str, Any]]") -> "list[types.Content]":
    from google.genai import types

    return [types.Content.model_validate_json(orjson.dumps(content)) for content in contents]


async def _keep(response: httpx2.Response) -> None:
    kept = _reply.get()
    kept[:] = [await response.aread()]
