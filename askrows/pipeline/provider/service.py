"""The service that answers: its client, its models, and the local engine.

The service is Gemini or the local engine, a server in this process that gives placeholder answers.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from askrows.pipeline.core.command_hint import CommandHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.provider.models import Model, ModelKind

if TYPE_CHECKING:
    from askrows.pipeline.provider.gemini.client import Client

# The local engine accepts any key. This one names its owner and is no word of an error.
LOCAL_KEY = "key-of-the-local-engine"


@dataclass
class Service:
    """The backend of a workspace. Costly members are made when they are first used."""

    settings: Settings
    # `gemini` or `local`.
    backend: str
    display: Progress
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    # A person was told which backend works, or need not be told.
    is_announced: bool = False
    # When this process first looked for an unclear create, in seconds of the monotonic clock, by
    # batch, try and recorded end of the create.
    first_lookup_times: dict[tuple[int, int, datetime | None], float] = field(default_factory=dict)
    # Models by name and kind.
    _models: dict[tuple[str, ModelKind], Model] = field(default_factory=dict)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @cached_property
    def client(self) -> "Client":
        """Return the client of the backend, which is made at the first use.

        If the backend is the local engine, it is started first, in this process. The client is
        closed with the service.

        Raises:
            ConfigurationError: No API key is set, nobody confirmed an API address that is not
                Google's, or the local engine cannot start.
        """
        from askrows.pipeline.provider.gemini.client import Client

        settings = self.settings
        if self.backend == "local":
            url = self._start_local_engine()
            api_key = LOCAL_KEY
        else:
            self.check_access()
            url = settings.confirm_server().reveal()
            api_key = settings.api_key.reveal() if settings.api_key else ""

        client = Client(
            api_key=api_key,
            base_url=url,
            call_timeout_s=settings.call_timeout,
            create_timeout_s=settings.create_timeout,
            retry_for_s=settings.retry_for,
            first_wait_s=settings.retry_wait,
            trust_env=self.backend != "local",
            sleep=self.sleep,
            now=self.now,
        )
        self._closing.callback(client.close)
        return client

    def check_access(self) -> None:
        """Check that an API key is set and its server is confirmed, unless the engine is local.

        Raises:
            ConfigurationError: No API key is set, or nobody confirmed an API address that is not
                Google's.
        """
        if self.backend == "local":
            return

        if not self.settings.api_key:
            raise ConfigurationError(
                "this workspace uses Gemini, and no API key is set",
                hint="set GEMINI_API_KEY in the environment or in .env",
            )
        self.settings.confirm_server()

    def _start_local_engine(self) -> str:
        """Start the local engine until the service is closed; return its URL."""
        from askrows.emulator.server import Server

        data = self.settings.data
        try:
            return self._closing.enter_context(Server(data)).url
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"the local engine cannot start in {data}: {error}",
                hint="check the directory and its permissions",
            ) from error

    @property
    def embedding_model(self) -> Model:
        """Return the embedding model, after checking that it has vectors of the set width.

        Raises:
            ConfigurationError: As `require_model`, or the model has no vectors of this width.
        """
        model = self.require_model(self.settings.embedding_model, kind="embed")
        model.check_vector_width(self.settings.dim)
        return model

    @property
    def decision_model(self) -> Model:
        """Return the model that decides closed questions.

        Raises:
            ConfigurationError: As `require_model`.
        """
        return self.require_model(self.settings.decision_model, kind="decide")

    def require_model(self, name: str, *, kind: ModelKind) -> Model:
        """Return a model that this backend can use; warn once if it will be shut down soon.

        Raises:
            ConfigurationError: There is no such model, it is shut down or has another kind, or it
                needs the local engine.
        """
        from askrows.pipeline.provider.models import find_model

        known_model = self._models.get((name, kind))
        if known_model is not None:
            return known_model

        today = self.now().date()
        model = find_model(name, kind=kind, today=today, user_file=self.settings.models_file)
        if model.local and self.backend != "local":
            raise ConfigurationError(
                f"{name} is a model of the local engine, but this workspace uses Gemini",
                hint=f"set a model of Gemini: `{CommandHint('prices')}` lists them",
            )
        if warning := model.retirement_warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model

    def close(self) -> None:
        """Close the client and the local engine.

        The local engine continues its unfinished batches when it is started again.
        """
        self._closing.close()
