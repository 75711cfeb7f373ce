"""The service that answers: its client, its models, and the local engine.

The service is a provider or the local engine, a server in this process that gives placeholder
answers.
"""

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.progress import Progress
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import Mode
from askrows.pipeline.provider.models import (
    Model,
    ModelKind,
    find_recorded_model,
    load_models,
    make_server_model,
    require_known_model,
)
from askrows.pipeline.provider.openai.requests import make_wire_line
from askrows.pipeline.provider.providers import Provider, find_provider

if TYPE_CHECKING:
    from askrows.pipeline.provider.port import ProviderClient

# The local engine accepts any key. This one names its owner and is no word of an error.
LOCAL_KEY = "key-of-the-local-engine"


def choose_backend_by_model_or_keys(settings: Settings) -> str:
    """Return the backend of a workspace that is not bound: that of MODEL, else that of the key.

    MODEL decides only if it is set to a known model of OpenAI and the backend is not set. It gives
    "openai", or "server" if an address is set without a key. All other models are of the backend
    that keys choose, or are refused by `check_model_fits_backend`.
    """
    if settings.backend is None and "model" in settings.sources:
        model = load_models(settings.models_file).get(settings.model.removeprefix("models/"))
        if model is not None and model.provider == "openai":
            has_only_address = settings.openai_url and not settings.openai_key
            return "server" if has_only_address else "openai"
    return settings.backend_of_keys


def describe_address(settings: Settings, backend: str) -> str:
    """Return the address of a backend, without a password; "" for the local engine."""
    if backend == "local":
        return ""
    address = settings.find_address_of_backend(backend) or find_provider(backend).own_address
    return str(address).rstrip("/")


def check_model_fits_backend(model: Model, backend: str) -> None:
    """Check that a backend can use a model.

    A model of the local engine is for the backend "local"; one for embeddings also serves providers
    without embeddings. Another model must be of the provider's protocol.

    Raises:
        ConfigurationError: The backend cannot use the model.
    """
    provider = find_provider(backend)
    is_usable = model.provider == provider.protocol
    if model.local:
        has_local_vectors = model.kind == "embed" and not provider.has_embeddings
        is_usable = backend == "local" or has_local_vectors
    if is_usable:
        return

    hint = f"set a model of {provider.name}: `{CommandHint('prices')}` lists them"
    if backend == "server":
        hint = f"set {OptionHint(model='llama3.2')}, or another model of your server"
    if not model.local:
        key_variable = find_provider(model.provider).key_variable
        hint += f"; with {key_variable}, another {OptionHint('data')} may use this model"
    raise ConfigurationError(
        f"{model.name} is not a model of {provider.name}, which this workspace uses; "
        "nothing was read",
        hint=hint,
    )


@dataclass
class Service:
    """The backend of a workspace. Costly members are made when they are first used."""

    settings: Settings
    # See the setting BACKEND.
    backend: str
    display: Progress
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    # The address to which the workspace is bound; None if it is not bound.
    bound_address: str | None = None
    # A person was told which backend works, or need not be told.
    is_announced: bool = False
    # When this process first looked for an unclear create, in seconds of the monotonic clock, by
    # batch, try and recorded end of the create.
    first_lookup_times: dict[tuple[int, int, datetime | None], float] = field(default_factory=dict)
    # Models by name and kind.
    _models: dict[tuple[str, ModelKind], Model] = field(default_factory=dict)
    _closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def provider(self) -> Provider:
        """Return the name, the limits and the abilities of the backend."""
        return find_provider(self.backend)

    @cached_property
    def client(self) -> "ProviderClient":
        """Return the client of the backend, which is made at the first use.

        If the backend is the local engine, it is started first, in this process. The client is
        closed with the service.

        Raises:
            ConfigurationError: No API key is set, nobody confirmed an API address that is not the
                provider's, or the local engine cannot start.
        """
        from askrows.pipeline.provider.gemini.client import Client
        from askrows.pipeline.provider.openai.client import OpenAIClient

        settings = self.settings
        options: dict[str, Any] = {
            "call_timeout_s": settings.call_timeout,
            "create_timeout_s": settings.create_timeout,
            "retry_for_s": settings.retry_for,
            "first_wait_s": settings.retry_wait,
            "trust_env": self.backend != "local",
            "sleep": self.sleep,
            "now": self.now,
        }
        client: Client | OpenAIClient
        if self.backend == "local":
            url = self._start_local_engine()
            client = Client(api_key=LOCAL_KEY, base_url=url, **options)
        else:
            self.check_key_and_confirm_address()
            key = settings.find_key_of_backend(self.backend)
            options["api_key"] = key.reveal() if key else ""
            options["base_url"] = settings.confirm_and_get_server_address(self.backend).reveal()
            if self.provider.protocol == "gemini":
                client = Client(**options)
            else:
                client = OpenAIClient(
                    provider=self.provider, require_asked_model=self._require_asked_model, **options
                )
        self._closing.callback(client.close)
        return client

    def _require_asked_model(self, name: str) -> Model:
        """Return the model of a request file or call, which may be an earlier MODEL.

        Raises:
            ConfigurationError: The table of models does not have it.
        """
        models_by_name = load_models(self.settings.models_file)
        model = find_recorded_model(name, models_by_name, self.settings)
        return model or require_known_model(name, kind="generate", today=self.now().date())

    def check_key_and_confirm_address(self) -> None:
        """Check that a key is set and its server is confirmed, unless the engine is local.

        Nothing is sent. If `.env` set the address, a person may be asked to confirm it. A server of
        one's own needs an address instead of a key.

        Raises:
            ConfigurationError: No key or address is set, the workspace is bound to another address,
                or nobody confirmed an API address that is not the provider's.
        """
        if self.backend == "local":
            return

        provider = self.provider
        if not self.settings.find_key_of_backend(self.backend) and self.backend != "server":
            raise ConfigurationError(
                f"this workspace uses {provider.name}, and no API key is set",
                hint=f"set {provider.key_variable} in the environment or in .env",
            )
        if self.backend == "server" and not self.settings.find_address_of_backend(self.backend):
            raise ConfigurationError(
                "this workspace uses a server of your own, and no address is set",
                hint=f"set {provider.address_variable}, such as http://127.0.0.1:11434/v1",
            )
        address = describe_address(self.settings, self.backend)
        # Behind each address that speaks OpenAI's form there may be another provider.
        if provider.protocol == "openai" and self.bound_address not in {None, address}:
            raise ConfigurationError(
                f"this workspace is bound to {provider.name} at {self.bound_address}, "
                f"not at {address}; nothing was sent",
                hint=f"set {provider.address_variable} as before, or use another "
                f"{OptionHint('data')}",
            )
        self.settings.confirm_and_get_server_address(self.backend)

    def check_mode_is_offered(self, mode: Mode) -> None:
        """Check that the provider has what a mode needs.

        Raises:
            ConfigurationError: A server of one's own has only live calls, or the provider has no
                decision models.
        """
        if self.provider.offers(mode):
            return

        missing_part = f"{mode} mode, only live calls"
        if mode is Mode.DECIDE:
            missing_part = "decision models"
        raise ConfigurationError(
            f"{self.provider.name} has no {missing_part}; nothing was asked",
            hint=f"{OptionHint(mode='live')} asks by single calls",
        )

    def measure_wire_bytes(self, model: Model, line: bytes) -> int:
        """Return the bytes of a request line on the wire, with one line end."""
        if self.provider.protocol == "openai":
            return len(make_wire_line(model, line))
        return len(line.rstrip(b"\n")) + 1

    def _start_local_engine(self) -> str:
        """Start the local engine until the service is closed; return its URL.

        Raises:
            ConfigurationError: The engine cannot start.
        """
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

        Warns as `require_model`.

        Raises:
            ConfigurationError: As `require_model`, or the model has no vectors of this width.
        """
        model = self.require_model(self.settings.embedding_model, kind="embed")
        model.check_vector_width(self.settings.dim)
        return model

    @property
    def decision_model(self) -> Model:
        """Return the model that decides closed questions.

        Warns as `require_model`.

        Raises:
            ConfigurationError: As `require_model`.
        """
        return self.require_model(self.settings.decision_model, kind="decide")

    def require_model(self, name: str, *, kind: ModelKind) -> Model:
        """Return a model that this backend can use; warn once if it will be shut down soon.

        For a server of one's own, any unknown name is a model that generates answers.

        Raises:
            ConfigurationError: There is no such model, it is shut down or has another kind, or it
                belongs to another provider.
        """
        known_model = self._models.get((name, kind))
        if known_model is not None:
            return known_model

        today = self.now().date()
        bare_name = name.strip().removeprefix("models/")
        is_server_model = (
            self.backend == "server"
            and kind == "generate"
            and bare_name not in load_models(self.settings.models_file)
        )
        if is_server_model:
            model = make_server_model(bare_name)
        else:
            model = require_known_model(
                name, kind=kind, today=today, user_file=self.settings.models_file
            )
        check_model_fits_backend(model, self.backend)
        if warning := model.make_retirement_warning(today):
            self.display.warn(warning)
        self._models[name, kind] = model
        return model

    def close(self) -> None:
        """Close the client and the local engine.

        The local engine continues its unfinished batches when it is started again.
        """
        self._closing.close()
