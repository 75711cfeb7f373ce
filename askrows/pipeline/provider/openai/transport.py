"""Calls of OpenAI's API over HTTP; see `provider/transport.py`."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx2

from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.provider.call_errors import convert_connection_error
from askrows.pipeline.provider.openai.api_errors import build_refusal
from askrows.pipeline.provider.port import ProviderClient
from askrows.pipeline.provider.transport import read_reply, running_call, watch_gzip

if TYPE_CHECKING:
    import ssl

# The end of the path of a download.
CONTENT_PATH = "/content"
# Some servers reply 201 to an upload or a create. Another success, such as 206, is not complete.
SUCCESS_CODES = frozenset({HTTPStatus.OK, HTTPStatus.CREATED})


class OpenAITransport(ProviderClient):
    """Runs calls of the HTTP client, with the key in a header."""

    async def request(self, method: str, path: str, **options: Any) -> Any:
        """Make one call and return the JSON of its reply, without the key.

        Raises:
            RemoteError: The status of the reply is not in SUCCESS_CODES.
            ValueError: The reply is not JSON.
        """
        response = await self._http_client.request(
            method, self.make_url(path), headers=self.headers, **options
        )
        await self._check_response(response)
        return self.parse_reply()

    def make_url(self, path: str) -> str:
        """Return the address of a path after the version, such as `batches`."""
        return f"{self.address.reveal().rstrip('/')}/{path}"

    def _make_download_url(self, file_name: str) -> str:
        """Return the address of the bytes of a file."""
        return self.make_url(f"{file_name}{CONTENT_PATH}")

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key; a server of one's own may need none."""
        key = self.key.reveal()
        return {"authorization": f"Bearer {key}"} if key else {}

    async def _check_response(self, response: httpx2.Response) -> None:
        """Raise our error for a reply that is no success, whose body was read."""
        if response.status_code in SUCCESS_CODES:
            return
        try:
            document = self.parse_reply()
        except ValueError:
            document = response.text
        raise build_refusal(
            response.status_code,
            document,
            provider=self.provider,
            action=running_call.get().action,
            key=self.key.reveal(),
            now=self.now(),
            headers=response.headers,
        )

    def _connect(self, _base_url: str, _ssl_context: "ssl.SSLContext") -> httpx2.AsyncClient:
        """Return the HTTP client."""
        return self._http_client

    def _convert_error(self, error: Exception, *, action: str, timeout_s: float) -> AskrowsError:
        """Return our error for an exception of the HTTP client, the network or a parser."""
        if isinstance(error, AskrowsError):
            return error
        return convert_connection_error(
            error,
            provider=self.provider.name,
            action=action,
            key=self.key.reveal(),
            address=str(self.address),
            timeout_s=timeout_s,
        )

    async def _record_response(self, response: httpx2.Response) -> None:
        """Record the body of a reply in the running call, except that of a download."""
        is_download = response.request.url.path.endswith(CONTENT_PATH)
        if is_download and response.status_code in SUCCESS_CODES:
            watch_gzip(response)
            return
        await read_reply(response)
