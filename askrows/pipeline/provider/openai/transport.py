"""Calls of OpenAI's API over HTTP; see `provider/transport.py`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import httpx2

from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.provider.call_errors import convert_connection_error
from askrows.pipeline.provider.openai.api_errors import build_refusal
from askrows.pipeline.provider.transport import Transport, read_reply, watch_gzip

if TYPE_CHECKING:
    import ssl

# The end of the path of a download.
CONTENT_PATH = "/content"


class OpenAITransport(Transport[httpx2.AsyncClient]):
    """Runs calls of the HTTP client, with the key in a header."""

    def make_url(self, path: str) -> str:
        """Return the URL of a path after the version, such as `batches`."""
        return f"{self.base_url.reveal().rstrip('/')}/{path}"

    async def request(
        self,
        http: httpx2.AsyncClient,
        method: str,
        path: str,
        *,
        action: str,
        **options: Any,
    ) -> Any:
        """Make one call and return the JSON of its reply, without the key.

        Raises:
            RemoteError: The status of the reply is not 2xx.
            ValueError: The reply is not JSON.
        """
        response = await http.request(method, self.make_url(path), headers=self.headers, **options)
        if not response.is_success:
            raise self.build_refusal(response, action=action)
        return self.parse_reply()

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the header with the key; a server of one's own may need none."""
        key = self.key.reveal()
        return {"authorization": f"Bearer {key}"} if key else {}

    def build_refusal(self, response: httpx2.Response, *, action: str) -> AskrowsError:
        """Return our error for a reply that is not 2xx, whose body was read."""
        try:
            document = self.parse_reply()
        except ValueError:
            document = response.text
        return build_refusal(
            response.status_code,
            document,
            provider=self.provider,
            action=action,
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
            address=str(self.base_url),
            timeout_s=timeout_s,
        )

    async def _record_response(self, response: httpx2.Response) -> None:
        """Record the body of a reply in the running call, except that of a download."""
        is_download = response.request.url.path.endswith(CONTENT_PATH)
        if is_download and response.is_success:
            watch_gzip(response)
            return
        await read_reply(response)
