"""Read the table of models, and estimate the tokens and the cost of requests.

- The table is `models.toml` next to this module. A user's file of the same form may add or replace
  models. Costs cannot be estimated without a price, so a model that is not in the table or is shut
  down is refused before anything is written.
- The service tier (standard, batch, flex, priority) is requested with a call and sets its price.
  The usage tier (free, 1, 2, 3) belongs to the account and sets its limits.
- An unknown limit gets a low default of ours. A low limit costs time, a high limit costs refusals.
- Costs are computed from tokens, not from the number of requests. A model that thinks can use a
  hundred times the tokens of its answer, and all thoughts are billed as output (Gemini API pricing
  page, read 2026-10).
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Len

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import PRIORITY, Mode

# Models that write text, embed texts, or answer closed questions with probabilities.
ModelKind = Literal["generate", "embed", "decide"]
Price = Annotated[float, Ge(0)]
PositiveCount = Annotated[int, Gt(0)]
# Google's names of usage tiers. A project with a billing account has at least tier 1.
AccountTier = Literal["free", "1", "2", "3"]
# Requests per minute, prompt tokens per minute, requests per day of quotas, and batch tokens that
# may wait at once.
LimitName = Literal["rpm", "tpm", "rpd", "enqueued_tokens"]
Resolution = Literal["low", "medium", "high", "usual"]
ThinkingLevel = Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]

FREE_TIER = "free"
# Beginning with the tier that has the highest limits.
PAID_TIERS = ("3", "2", "1")
# Share of the price of a call without a service tier. Priority: 1.8 for all models with a priority
# price in genai-prices 0.2.3 and litellm 1.110.2.
PRICE_SHARE_BY_SERVICE_TIER = {
    **{mode.facts.tier: mode.facts.price_share for mode in Mode},
    PRIORITY: 1.8,
}
# Our own choice: time to tag the remaining rows and to select another model.
SHUTDOWN_WARNING_PERIOD = timedelta(days=60)

# A version of `gemini-x` has a name such as `gemini-x-002`.
_VERSION_SUFFIX = re.compile(r"[-@]\d[\d-]*$")
_BUNDLED_FILE = Path(__file__).with_name("models.toml")
_SETTING_BY_KIND: dict[ModelKind, str] = {
    "generate": "MODEL",
    "embed": "EMBEDDING_MODEL",
    "decide": "DECISION_MODEL",
}

# Tokens of an image for 3.x models (media resolution guide, read 2026-11). The table has the
# numbers of older models.
IMAGE_TOKENS_BY_RESOLUTION: Mapping[Resolution, int] = {
    "low": 280,
    "medium": 560,
    "high": 1_120,
    "usual": 1_120,
}


class RateLimits(NamedTuple):
    """Rate limits of a model. A limit of None means unlimited."""

    # Requests per minute.
    rpm: int | None
    # Prompt tokens per minute.
    tpm: int | None
    # Requests per day of quotas.
    rpd: int | None


class TokenPrices(NamedTuple):
    """Prices in USD per 1 M tokens."""

    # Tokens of the prompt that are not cached; tokens of answer and thoughts.
    prompt: float
    answer: float
    # Tokens of the prompt that came from the cache.
    cached: float


UNLIMITED_RATES = RateLimits(rpm=None, tpm=None, rpd=None)
# Our own defaults for limits that the table does not contain: the lowest limits shown for any model
# of the kind, without billing and in tier 1.
DEFAULT_RATE_LIMITS = {
    ("generate", FREE_TIER): RateLimits(rpm=5, tpm=250_000, rpd=20),
    ("generate", "1"): RateLimits(rpm=25, tpm=1_000_000, rpd=250),
    ("embed", FREE_TIER): RateLimits(rpm=100, tpm=30_000, rpd=1_000),
    ("embed", "1"): RateLimits(rpm=3_000, tpm=1_000_000, rpd=None),
    # Only the limits without billing are published for decisions.
    ("decide", FREE_TIER): RateLimits(rpm=200, tpm=50_000, rpd=10_000),
    ("decide", "1"): RateLimits(rpm=200, tpm=50_000, rpd=10_000),
}


_NO_LIMITS: Mapping[Any, Any] = {
    FREE_TIER: {"rpm": "none", "tpm": "none", "rpd": "none"},
    "1": {"rpm": "none", "tpm": "none", "rpd": "none"},
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One entry of the table of models; field names are the keys of the table.

    Prices are USD per 1 M tokens on the day `priced_on`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    kind: ModelKind
    # Whose calls serve the model; see `providers`.
    provider: Literal["gemini", "openai"] = "gemini"
    # Prices of a live call without a service tier, the day on which they were valid, and their
    # source.
    price_in: Price
    price_out: Price
    priced_on: date
    source: str
    # Batch prices, or None for half the live price.
    batch_in: Price | None = None
    batch_out: Price | None = None
    # Whether the service tier flex serves the model.
    flex: bool = True
    # Live prices up to and including the day `promotion_until`.
    promotion_until: date | None = None
    promotion_in: Price = 0.0
    promotion_out: Price = 0.0
    # Prices of prompt tokens from the cache: live, in a batch and in a promotion.
    cached_in: Price | None = None
    batch_cached_in: Price | None = None
    promotion_cached_in: Price | None = None
    # The `thinkingConfig` that is sent unless a task has its own.
    thinking: Mapping[str, Any] | None = None
    # Accepted thinking levels, lowest first; () if they are unknown.
    thinking_levels: tuple[ThinkingLevel, ...] = ()
    # Whether the model uses a temperature.
    temperature: bool = False
    # Whether the schema of an answer is strict: all members required.
    strict_schema: bool = True
    # Whether a request calls the limit of its reply `max_tokens`, as many servers do.
    has_max_tokens: bool = False
    # Maximum tokens of a prompt and of a reply.
    input_limit: int | None = None
    output_limit: int | None = None
    # The first day without the model, and the model that replaces it.
    shutdown: date | None = None
    successor: str = ""
    is_deprecated: bool = False
    # Batch tokens that may wait at once in a tier without its own limit.
    enqueued_tokens: int | None = None
    # The smallest and the largest width of a vector.
    dims: Annotated[list[int], Len(2, 2)] | None = None
    # Whether the kind of embedding is part of the text and not a parameter.
    task_in_text: bool = False
    # Whether the local engine serves the model.
    local: bool = False
    # Known limits of each usage tier; "none" is unlimited.
    tiers: Mapping[AccountTier, Mapping[LimitName, PositiveCount | Literal["none"]]] = field(
        default_factory=dict,
    )
    # Tokens of an image by its resolution.
    image_tokens: Mapping[Resolution, int] = field(
        default_factory=lambda: IMAGE_TOKENS_BY_RESOLUTION,
    )

    def serves(self, mode: Mode) -> bool:
        """Return whether the model can be asked in a mode, if its provider has the mode."""
        return self.flex or mode is not Mode.FLEX

    def find_prices(self, service_tier: str, *, day: date) -> TokenPrices:
        """Return the prices of a service tier on a day, with promotions.

        A price is the live price times the share of the service tier, such as 0.5 for flex; an
        unknown tier has the full price. If the table has a batch price, the share of batches is
        computed from it. Cached tokens never cost more than other prompt tokens, and the same if
        the table has no cached price.

        Args:
            service_tier: The service tier; see `ModeFacts.tier`.
            day: The day of the request.
        """

        def compute_price_with_promotion(
            live_price: float, batch_price: float | None, promotion_price: float | None
        ) -> float:
            """Return the price of a token kind for the tier and the day, by a promotion if any."""
            share = PRICE_SHARE_BY_SERVICE_TIER.get(service_tier, 1.0)
            # The table contains batch prices without promotion. A promotion has the same share.
            if service_tier == Mode.BATCH and batch_price is not None and live_price:
                share = batch_price / live_price
            has_promotion = self.promotion_until is not None and day <= self.promotion_until
            if has_promotion and promotion_price is not None:
                return promotion_price * share
            return live_price * share

        prompt_price = compute_price_with_promotion(self.price_in, self.batch_in, self.promotion_in)
        answer_price = compute_price_with_promotion(
            self.price_out, self.batch_out, self.promotion_out
        )
        cached_price = prompt_price
        if self.cached_in is not None:
            full_cached_price = compute_price_with_promotion(
                self.cached_in, self.batch_cached_in, self.promotion_cached_in
            )
            cached_price = min(prompt_price, full_cached_price)
        return TokenPrices(prompt_price, answer_price, cached_price)

    def find_max_enqueued_tokens(self, usage_tier: str) -> int | None:
        """Return how many batch tokens may wait at once in a usage tier, or None for unlimited.

        The free tier, which has no batches (read 2026-10), gets the limit of tier 1.
        """
        paid_tier = "1" if usage_tier == FREE_TIER else usage_tier
        return self._find_limit_of_tier_or_lower("enqueued_tokens", paid_tier, self.enqueued_tokens)

    def find_rate_limits(self, usage_tier: str, **user_limits: int | None) -> RateLimits:
        """Return the rate limits of a usage tier.

        A limit that the user set comes first, then the limit of the table, then our default. The
        local engine has no limits by default.

        Args:
            usage_tier: The usage tier of the account.
            user_limits: Limits that the user set, by field of `RateLimits`. A limit of None is not
                set.
        """
        default_tier = FREE_TIER if usage_tier == FREE_TIER else "1"
        default_limits = (
            UNLIMITED_RATES if self.local else DEFAULT_RATE_LIMITS[self.kind, default_tier]
        )
        limits = {
            name: self._find_limit_of_tier_or_lower(name, usage_tier, default)
            for name, default in default_limits._asdict().items()
        }
        limits |= {name: limit for name, limit in user_limits.items() if limit is not None}
        return RateLimits(**limits)

    def _find_limit_of_tier_or_lower(self, name: Any, tier: str, default: int | None) -> int | None:
        """Return a limit of a usage tier from the table, else `default`; None means unlimited.

        If the tier lacks the limit, the next lower tier that has it counts. Only the paid tiers 1
        to 3 are searched in this way.

        Args:
            name: A LimitName.
            tier: The usage tier of the account.
            default: The limit if no searched tier of the table has it; None means unlimited.
        """
        searched_tiers: Sequence[Any] = (FREE_TIER,)
        if tier != FREE_TIER:
            searched_tiers = PAID_TIERS[PAID_TIERS.index(tier) :]
        for searched_tier in searched_tiers:
            tier_limits = self.tiers.get(searched_tier, {})
            if name in tier_limits:
                limit = tier_limits[name]
                return None if limit == "none" else limit
        return default

    def count_image_tokens(self, resolution: str | None) -> int:
        """Return the tokens of an image.

        Args:
            resolution: The API's name, for example MEDIA_RESOLUTION_LOW, or None for the default.
        """
        key: Any = "usual" if resolution is None else resolution.rpartition("_")[2].lower()
        return self.image_tokens.get(key, IMAGE_TOKENS_BY_RESOLUTION[key])

    def choose_and_check_thinking_config(
        self,
        task_config: Mapping[str, Any] | None,
    ) -> Mapping[str, Any] | None:
        """Return the `thinkingConfig` to send: the task's, or the table's if the task has none.

        The table is the table of models. The task's config is checked: its level if the table lists
        the levels of the model, and its members, which must be those of the table's config or
        `includeThoughts`. If the table has no config, any member is accepted. The local engine
        accepts any config.

        Args:
            task_config: The `thinkingConfig` of the task file; None if it has none.

        Returns:
            The config, or None if neither the task nor the table has one.

        Raises:
            ConfigurationError: The model does not accept the level or a member of the task's
                config.
        """
        if task_config is None:
            return self.thinking
        if self.local:
            return task_config

        level = task_config.get("thinkingLevel")
        can_check_level = level is not None and self.thinking_levels
        if can_check_level and str(level).upper() not in self.thinking_levels:
            accepted_levels = ", ".join(self.thinking_levels)
            raise ConfigurationError(
                f"thinking level {level} is not accepted by {self.name}, which accepts "
                f"{accepted_levels}; nothing was asked",
                hint=f'set thinking={{"thinkingLevel": "{self.thinking_levels[0]}"}} in the task '
                "file",
            )

        accepted_members = (self.thinking or task_config).keys() | {"includeThoughts"}
        unknown_members = sorted(task_config.keys() - accepted_members)
        if unknown_members:
            table_members = ", ".join(self.thinking or ())
            raise ConfigurationError(
                f"thinking= contains {unknown_members[0]}, and {self.name} accepts only "
                f"{table_members}; nothing was asked",
                hint="change thinking= in the task file, or set model= or "
                f"{OptionHint('model')} to another model",
            )
        return task_config

    def is_shut_down(self, today: date) -> bool:
        """Return whether the first day without the model has come."""
        return self.shutdown is not None and today >= self.shutdown

    def make_retirement_warning(self, today: date) -> str:
        """Return a warning for a model that is deprecated, or shut down within 60 days; else "".

        The warning is a single line and names the setting that selects another model. A deprecated
        model always gets a warning. Any other model that is shut down already gets none, because
        `require_known_model` refuses it.
        """
        if self.is_deprecated:
            return (
                f"{self.name} is deprecated: Gemini answers with {self.successor}; "
                f"set {self.replacement_setting}"
            )
        if self.shutdown is None or self.is_shut_down(today):
            return ""
        if self.shutdown - today > SHUTDOWN_WARNING_PERIOD:
            return ""
        return f"{self.name} shuts down on {self.shutdown}; set {self.replacement_setting} before"

    @property
    def replacement_setting(self) -> str:
        """Return the setting, NAME=VALUE, that selects the successor or else the default model."""
        setting = _SETTING_BY_KIND[self.kind]
        return f"ASKROWS_{setting}={self.successor or getattr(Settings, setting.lower())}"

    def check_vector_width(self, dim: int) -> None:
        """Check that this embedding model can make vectors of a width.

        A model without known widths passes.

        Raises:
            ConfigurationError: The width is too small or too large.
        """
        if self.dims is None:
            return

        min_dim, max_dim = self.dims
        if not min_dim <= dim <= max_dim:
            raise ConfigurationError(
                f"{self.name} gives vectors of {min_dim} to {max_dim} numbers, not {dim}",
                hint=f"set ASKROWS_DIM to a width between {min_dim} and {max_dim}",
            )


def require_known_model(
    name: str, *, kind: ModelKind, today: date, user_file: Path | None = None
) -> Model:
    """Return the model of a name from the table or the user's file, if it is of the right kind.

    Args:
        name: The name of the model, with or without `models/`.
        kind: The kind that the model must have.
        today: A model that is shut down on this day is refused.
        user_file: The user's file of models, which adds to the table and replaces entries.

    Raises:
        ConfigurationError: Neither the table nor the file has a model of that name and kind; the
            message lists the models of the kind. Or it is shut down, or `user_file` is invalid.
    """
    models_by_name = load_models(user_file)
    bare_name = name.strip().removeprefix("models/")
    model = models_by_name.get(bare_name)

    if model is None or model.kind != kind:
        known_names = sorted(
            known_model.name
            for known_model in models_by_name.values()
            if known_model.kind == kind and not known_model.local
        )
        reason = "not a known model" if model is None else f"not a model that can {kind}"
        setting_name = OptionHint(_SETTING_BY_KIND[kind].lower())
        raise ConfigurationError(
            f"{bare_name!r} is {reason}; known models: {', '.join(known_names)}",
            hint=f"set {setting_name} to a known model, or add the model to "
            "the file of ASKROWS_MODELS_FILE",
        )

    if model.is_shut_down(today):
        raise ConfigurationError(
            f"{bare_name} was shut down on {model.shutdown}; nothing was written or sent",
            hint=f"set {model.replacement_setting}",
        )
    return model


def find_serving_model(
    asked_model: Model, model_version: str, models_by_name: Mapping[str, Model]
) -> Model:
    """Return the model that served a reply, whose prices apply to the reply.

    Gemini routes requests to another model when a model is shut down, and only the reply shows it.

    Args:
        model_version: `modelVersion` of the reply, such as `gemini-3.8-flash-001`; may be empty.
        models_by_name: The table of models.

    Returns:
        The model of that version. The asked model if the table lacks that model, or if it is local
        or of another kind.
    """
    name = model_version.removeprefix("models/")
    serving_model = models_by_name.get(name) or models_by_name.get(_VERSION_SUFFIX.sub("", name))
    if serving_model is None or serving_model.local or serving_model.kind != asked_model.kind:
        return asked_model
    return serving_model


def make_server_model(name: str) -> Model:
    """Return the model of a server of one's own: it costs nothing, and has no limits."""
    return Model(
        name=name,
        kind="generate",
        provider="openai",
        price_in=0.0,
        price_out=0.0,
        priced_on=date(2026, 11, 30),
        source="a server of your own",
        flex=False,
        temperature=True,
        strict_schema=False,
        has_max_tokens=True,
        tiers=_NO_LIMITS,
    )


def find_recorded_model(
    name: str, models_by_name: Mapping[str, Model], settings: Settings
) -> Model | None:
    """Return a model that was asked; None if the table no longer has it.

    If an address of OpenAI's form is set, an unknown name is a model of that server.
    """
    model = models_by_name.get(name)
    if model is None and settings.openai_url is not None:
        return make_server_model(name)
    return model


def load_models(user_file: Path | None = None) -> dict[str, Model]:
    """Return all models by name; those of the user's file replace those of the table.

    Raises:
        ConfigurationError: The user's file cannot be read or is invalid.
    """
    if user_file is None:
        return _load_bundled_models().copy()
    return _load_bundled_models() | _read_and_validate_models_file(user_file)


@lru_cache(maxsize=1)
def _load_bundled_models() -> dict[str, Model]:
    """Read the table that is part of the package, once per process."""
    return _read_and_validate_models_file(_BUNDLED_FILE)


def _read_and_validate_models_file(path: Path) -> dict[str, Model]:
    """Read a TOML file of models by name; validate it unless it is the table of the package.

    Raises:
        ConfigurationError: The file cannot be read, has other tables than `models`, or is invalid.
            The message names the entry.
    """
    hint = "use the form of pipeline/provider/models.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"the models file {path} cannot be read: {error}",
            hint=hint,
        ) from error

    entries = document.pop("models", {})
    if document or not isinstance(entries, dict):
        raise ConfigurationError(
            f"the models file {path} may contain only [models.…] tables",
            hint=hint,
        )
    if path == _BUNDLED_FILE:
        return {name: Model(name=name, **entry) for name, entry in entries.items()}

    # The import takes a tenth of a second, so only a user's file pays for it.
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(Model)
    models_by_name = dict[str, Model]()
    for name, entry in entries.items():
        fields = {**entry, "name": name} if isinstance(entry, dict) else entry
        try:
            models_by_name[name] = adapter.validate_python(fields)
        except ValidationError as error:
            first_error = error.errors(include_url=False)[0]
            field_path = ".".join(map(str, first_error["loc"]))
            reason = f"{field_path}: {first_error['msg']}".removeprefix(": ")
            raise ConfigurationError(
                f"the models file {path} has an invalid entry {name!r}: {reason}",
                hint=hint,
            ) from error
    return models_by_name
