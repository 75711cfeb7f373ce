"""Calls of Google's SDK in an event loop of their own; see `provider/transport.py`.

The SDK reads the environment, repeats creates, ignores the delay that a server asks for, sets no
time-out, and drops members of replies. So it gets explicit options, and its retries are off.
"""

import math
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx2
import orjson

from askrows.pipeline.core.errors import AskrowsError, RemoteError
from askrows.pipeline.provider.call_errors import UnreadableReplyError
from askrows.pipeline.provider.gemini.api_errors import build_refusal, convert_exception
from askrows.pipeline.provider.port import ProviderClient
from askrows.pipeline.provider.transport import read_reply, running_call, watch_gzip

if TYPE_CHECKING:
    import ssl

    from google import genai

# Set explicitly, because the SDK's default was v1beta before 3.0 and is v1 since then.
API_VERSION = "v1beta"


class GeminiTransport(ProviderClient):
    """Runs calls of the SDK, and calls without it."""

    @property
    def _sdk(self) -> "genai.Client":
        """Return the SDK, which the first call opens."""
        sdk: genai.Client = self._connected_api
        return sdk

    def build_refusal(self, code: int, document: Any) -> RemoteError:
        """Return our error for an HTTP code and a body of the running call; see `api_errors`."""
        return build_refusal(
            code,
            document,
            action=running_call.get().action,
            key=self.key.reveal(),
            now=self.now(),
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key."""
        return {"x-goog-api-key": self.key.reveal()}

    def make_url(self, path: str) -> str:
        """Return the address of a path after the version, such as "decisions"."""
        return f"{self.address.reveal().rstrip('/')}/{API_VERSION}/{path}"

    def _make_download_url(self, file_name: str) -> str:
        """Return the address of the bytes of a file."""
        return self.make_url(f"{file_name}:download?alt=media")

    async def _check_response(self, response: httpx2.Response) -> None:
        """Raise google.genai.errors.APIError if the status of a response is not 200."""
        from google.genai import errors

        await errors.APIError.raise_for_async_response(response)

    async def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float) -> None:
        """Send a body without the SDK, in the running call; a response hook records the reply.

        Args:
            path: The path after the version, such as "decisions".
            body: The JSON object, which is sent unchanged.
            timeout_s: The time-out of the call, which the server is told.

        Raises:
            google.genai.errors.APIError: The status of the reply is not 200.
        """
        headers = {
            "content-type": "application/json",
            "x-server-timeout": str(math.ceil(timeout_s)),
            **self.headers,
        }
        response = await self._http_client.post(
            self.make_url(path), content=orjson.dumps(body), headers=headers
        )
        await self._check_response(response)

    def _connect(self, base_url: str, ssl_context: "ssl.SSLContext") -> "genai.Client":
        """Return the SDK with explicit options.

        Switches off the SDK's retries and its warnings about unknown enum values.
        """
        from google import genai
        from google.genai import types

        # The SDK warns of enum values that it does not know. They are of no use to a user, and
        # `states` handles unknown values.
        warnings.filterwarnings(
            "ignore",
            r".* is not a valid \w+$",
            UserWarning,
            r"google\.genai\._common$",
        )
        options = types.HttpOptions(
            base_url=base_url,
            api_version=API_VERSION,
            retry_options=types.HttpRetryOptions(attempts=1),
            httpx_async_client=self._http_client,
            client_args={"verify": ssl_context, "trust_env": False},
        )
        return genai.Client(api_key=self.key.reveal(), vertexai=False, http_options=options)

    def _convert_error(self, error: Exception, *, action: str, timeout_s: float) -> AskrowsError:
        """Return our error for an exception of the SDK, the HTTP library or the network."""
        return convert_exception(
            error,
            action=action,
            key=self.key.reveal(),
            now=self.now(),
            address=str(self.address),
            timeout_s=timeout_s,
        )

    async def _record_response(self, response: httpx2.Response) -> None:
        """Record the body and the service tier of a reply in the running call.

        The body of a download is not read here.

        A refused piece of an upload raises an error. The SDK would accept any upload status,
        whatever the HTTP code, and would continue without that piece.

        Raises:
            UnreadableReplyError: The body is too long according to its header, or a piece of an
                upload has an unexpected status.
            google.genai.errors.APIError: The API refused a piece of an upload.
        """
        if response.request.url.path.endswith(":download"):
            watch_gzip(response)
            return

        await read_reply(response)
        running_call.get().service_tier = response.headers.get("x-gemini-service-tier", "")

        upload_command = response.request.headers.get("x-goog-upload-command", "")
        if not upload_command.startswith("upload"):
            return
        await self._check_response(response)
        upload_status = response.headers.get("x-goog-upload-status")
        expected_status = "final" if "finalize" in upload_command else "active"
        if upload_status != expected_status:
            raise UnreadableReplyError(
                f"a part of the upload has the status {upload_status!r}, not {expected_status!r}",
            )
