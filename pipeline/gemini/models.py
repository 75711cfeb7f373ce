"""Know the models as data, and count what a request uses and costs.

The table is `models.toml` beside this module; a file of the same form may add models or replace them. Without a price
nothing can be estimated, so a model that is not in the table, or is gone, is refused before anything is written. A
limit that is unknown gets a figure of ours that is rather too low: too low costs time, too high costs refusals.

Cost comes from tokens, never from a count of requests: a model that thinks can use a hundred times the tokens of its
answer, and every thought is billed as output (Gemini API pricing page, read 2026-10).
"""

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from annotated_types import Ge, Gt, Len

from pipeline.core.declaration import json_schema
from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from pipeline.core.states import Mode
from pipeline.core.text import format_usd

if TYPE_CHECKING:
    from pydantic import BaseModel

Kind = Literal["generate", "embed"]
Price = Annotated[float, Ge(0)]
Count = Annotated[int, Gt(0)]

MAX_FILE_BYTES = (
    2 * 1000**3
)  # one uploaded file, 2 GB (Files API guide, read 2026-11; decimal to be on the safe side)
MAX_ACTIVE_BATCHES = 100  # of one project at the same time (rate limits page, copy of 2026-01)
MAX_EMBED_TEXTS = 100  # texts in one embedding call (customary and refused above, read 2026-11)
# Bytes of one embedding call: the API refuses more than 4,194,304 (its message, seen 2026-11). Ours is 5 % below.
MAX_EMBED_BYTES = 4_000_000
Tier = Literal[
    "free", "1", "2", "3"
]  # as Google names them; a billing account makes a project one of tier 1
Figure = Literal["rpm", "tpm", "rpd", "enqueued_tokens"]
Resolution = Literal["low", "medium", "high", "usual"]
ThinkingLevel = Literal["MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]
FREE = "free"
# Share of the price of a call that asks for no tier. Batch and flex: pricing page, read 2026-10. Priority: 1.8 for all
# models that genai-prices 0.2.3 and litellm 1.110.2 list with a priority price.
SHARES = {"batch": 0.5, "flex": 0.5, "priority": 1.8}
# The least thinking first, as the API writes the levels (thinking guide, read 2026-11).
THINKING_LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
# USD that all projects of a billing account may spend in a month, by tier (billing page, read 2026-11-26).
MONTHLY_SPENDING_CAPS: Mapping[str, float] = {"1": 250.0, "2": 2_000.0, "3": 20_000.0}
WARN_BEFORE = timedelta(days=60)  # ours: time to tag what is left and to choose another model

_BUNDLED = Path(__file__).with_name("models.toml")
_SETTING: dict[Kind, str] = {"generate": "MODEL", "embed": "EMBEDDING_MODEL"}

# Of the 3.x models (media resolution guide, read 2026-11); the older ones have theirs in the table
IMAGE_TOKENS: Mapping[Resolution, int] = {"low": 280, "medium": 560, "high": 1_120, "usual": 1_120}


class RateLimits(NamedTuple):
    """What one model allows: requests and prompt tokens a minute, requests a Pacific day; None is no limit."""

    rpm: int | None
    tpm: int | None
    rpd: int | None


NO_LIMITS = RateLimits(rpm=None, tpm=None, rpd=None)
# Ours, for what the table does not know: the least that any model of that kind is shown with in tier 1 and without one.
OURS = {
    ("generate", FREE): RateLimits(rpm=5, tpm=250_000, rpd=20),
    ("generate", "1"): RateLimits(rpm=25, tpm=1_000_000, rpd=250),
    ("embed", FREE): RateLimits(rpm=100, tpm=30_000, rpd=1_000),
    ("embed", "1"): RateLimits(rpm=3_000, tpm=1_000_000, rpd=None),
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: prices in USD per 1 M tokens as of `priced_on`, limits in tokens, `dims` the least and most width.

    A batch costs half where `batch_in` and `batch_out` say nothing else; so does a call of the tier flex, where `flex`
    serves the model. Up to and including the day `promotion_until` the prices are others. `tiers` has what is known of
    the limits of each; `enqueued_tokens` is that of batches where a tier says nothing. `image_tokens` are tokens of an
    image by its resolution. `cached_in` is the price of a prompt token that came from the cache, `batch_cached_in` that
    of one in a batch. `thinking_levels` are the levels that the model accepts, as `levels_source` says. `has_price` is
    false for a model that the table does not know, whose price nobody said; see `unlisted_model`.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid", "allow_inf_nan": False}

    name: str
    kind: Kind
    price_in: Price
    price_out: Price
    priced_on: date
    source: str
    batch_in: Price | None = None
    batch_out: Price | None = None
    flex: bool = True
    promotion_until: date | None = None
    promotion_in: Price = 0.0
    promotion_out: Price = 0.0
    cached_in: Price | None = None
    batch_cached_in: Price | None = None
    promotion_cached_in: Price | None = None
    thinking: Mapping[str, Any] | None = None
    thinking_levels: tuple[ThinkingLevel, ...] = ()
    levels_source: str = ""
    input_limit: int | None = None
    output_limit: int | None = None
    shutdown: date | None = None
    successor: str = ""
    is_deprecated: bool = False
    has_price: bool = True
    enqueued_tokens: int | None = None
    dims: Annotated[list[int], Len(2, 2)] | None = None
    task_in_text: bool = False
    local: bool = False
    tiers: Mapping[Tier, Mapping[Figure, Count | Literal["none"]]] = field(default_factory=dict)
    image_tokens: Mapping[Resolution, int] = field(default_factory=lambda: IMAGE_TOKENS)

    def prices(self, tier: str, *, on: date) -> tuple[float, float]:
        """Return (input, output) in USD per 1 M tokens of a tier on that day, promotions included; see `Way.tier`."""
        price_in = self.price_in
        price_out = self.price_out
        if self._is_promotion(on):
            price_in = self.promotion_in
            price_out = self.promotion_out
        share_in = share_out = SHARES.get(tier, 1.0)

        # The table gives the batch price of the time without a promotion; its share holds in a promotion, too.
        if tier == Mode.BATCH and self.batch_in is not None and self.price_in:
            share_in = self.batch_in / self.price_in
        if tier == Mode.BATCH and self.batch_out is not None and self.price_out:
            share_out = self.batch_out / self.price_out
        return price_in * share_in, price_out * share_out

    def cached_price(self, tier: str, *, on: date) -> float:
        """Return USD per 1 M prompt tokens that came from the cache; the full price if the table has no other."""
        full_price, _ = self.prices(tier, on=on)
        if self.cached_in is None:
            return full_price

        is_promotion = self._is_promotion(on) and self.promotion_cached_in is not None
        live_price = self.promotion_cached_in if is_promotion else self.cached_in
        share = SHARES.get(tier, 1.0)
        if tier == Mode.BATCH and self.batch_cached_in is not None and self.cached_in:
            share = self.batch_cached_in / self.cached_in
        return min(full_price, (live_price or 0.0) * share)

    def _is_promotion(self, day: date) -> bool:
        return self.promotion_until is not None and day <= self.promotion_until

    def enqueued(self, tier: str) -> int | None:
        """Return how many tokens of batches may wait at once; a free project has no batches (read 2026-10)."""
        return self._figure("enqueued_tokens", "1" if tier == FREE else tier, self.enqueued_tokens)

    def limits(self, tier: str, **own: int | None) -> RateLimits:
        """Return the limits of a tier: those that a user set, or the published ones, or ours.

        Args:
            tier: The account tier.
            own: Limits that a user set, by their names; None is not set.
        """
        default_tier = FREE if tier == FREE else "1"
        default_limits = NO_LIMITS if self.local else OURS[self.kind, default_tier]
        limits = {
            name: self._figure(name, tier, default)
            for name, default in default_limits._asdict().items()
        }
        own_limits = {name: limit for name, limit in own.items() if limit is not None}
        return RateLimits(**limits | own_limits)

    def _figure(self, name: Any, tier: str, ours: int | None) -> int | None:
        """Return a figure of a tier, or of the next lower one that has it; the free tier is another kind of project."""
        lower: Sequence[Any] = (FREE,) if tier == FREE else "321"["321".index(tier) :]
        found = next(
            (self.tiers[one][name] for one in lower if name in self.tiers.get(one, ())), ours
        )
        return None if found == "none" else found

    @property
    def takes_temperature(self) -> bool:
        """Return whether the model heeds a temperature, as those of the second series do; later ones ignore it."""
        return self.name.startswith("gemini-2")

    def tokens_of_image(self, resolution: str | None) -> int:
        """Return how many tokens an image is at a resolution, as the API has its word; None: the usual one."""
        word: Any = "usual" if resolution is None else resolution.rpartition("_")[2].lower()
        return self.image_tokens.get(word, IMAGE_TOKENS[word])

    def checked_thinking(self, declared: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the `thinkingConfig` to send: a task's own if it has one, else the table's.

        Raises:
            ConfigurationError: The model does not accept the task's own.
        """
        if declared is None or self.local:
            return self.thinking if declared is None else declared

        level = declared.get("thinkingLevel")
        if (
            level is not None
            and self.thinking_levels
            and str(level).upper() not in self.thinking_levels
        ):
            accepted_levels = ", ".join(self.thinking_levels)
            raise ConfigurationError(
                f"thinking level {level} is not accepted by {self.name}, which accepts {accepted_levels}; "
                "nothing was asked",
                hint=f'set thinking={{"thinkingLevel": "{self.thinking_levels[0]}"}} in the task file',
            )
        unknown_members = sorted(
            declared.keys() - (self.thinking or declared).keys() - {"includeThoughts"}
        )
        if unknown_members:
            raise ConfigurationError(
                f"thinking= says {unknown_members[0]}, and {self.name} takes {', '.join(self.thinking or ())}; "
                "nothing was asked",
                hint="another model= or FINDABLE_MODEL, or thinking= as this model has it",
            )
        return declared

    def accepts_thinking(self, thinking: Mapping[str, Any]) -> bool:
        """Return whether a `thinkingConfig` of an older request has a level that the model still accepts."""
        level = thinking.get("thinkingLevel")
        return level is None or not self.thinking_levels or level in self.thinking_levels

    def is_gone(self, today: date) -> bool:
        """Return whether the model's last day has come."""
        return self.shutdown is not None and today >= self.shutdown

    def warning(self, today: date) -> str:
        """Return one line if the model is deprecated or goes away within 60 days, with its successor; else ""."""
        if self.is_deprecated:
            return f"{self.name} is deprecated, and Gemini answers with {self.successor}; set {self.replacement}"
        if self.shutdown is None or self.is_gone(today) or self.shutdown - today > WARN_BEFORE:
            return ""
        return f"{self.name} is shut down on {self.shutdown}; afterwards use {self.replacement}"

    @property
    def replacement(self) -> str:
        """Return the setting that selects the model to use in place of this one."""
        setting = _SETTING[self.kind]
        return f"FINDABLE_{setting}={self.successor or getattr(Settings, setting.lower())}"

    def check_dim(self, dim: int) -> None:
        """Refuse a width this embedding model cannot give."""
        if self.dims is not None and not self.dims[0] <= dim <= self.dims[1]:
            raise ConfigurationError(
                f"{self.name} gives vectors of {self.dims[0]} to {self.dims[1]} numbers, not {dim}",
                hint=f"set FINDABLE_DIM to a width between {self.dims[0]} and {self.dims[1]}",
            )


class UnknownModelError(ConfigurationError):
    """The table has no model of that name."""


def find_model(name: str, *, kind: Kind, today: date, extra: Path | None = None) -> Model:
    """Return the model of that name; refuse one that is unknown, of the other kind, or shut down by `today`."""
    table = load_models(extra)
    bare = name.strip().removeprefix("models/")
    model = table.get(bare)
    if model is None or model.kind != kind:
        known = ", ".join(
            sorted(other.name for other in table.values() if other.kind == kind and not other.local)
        )
        what = f"not a model that can {kind}" if model else "not a model findable knows"
        error_class = ConfigurationError if model else UnknownModelError
        raise error_class(
            f"{bare!r} is {what}; known are {known}",
            hint=f"set FINDABLE_{_SETTING[kind]} to one of them, or describe it in the file of FINDABLE_MODELS_FILE",
        )
    if model.is_gone(today):
        message = f"{bare} was shut down on {model.shutdown}; nothing was written or sent"
        raise ConfigurationError(message, hint=f"set {model.replacement}")
    return model


def unlisted_model(
    name: str,
    *,
    prices: tuple[float, float] | None,
    today: date,
    input_limit: int | None = None,
    output_limit: int | None = None,
) -> Model:
    """Return a generating model that the table does not know, such as one that is a day old, or a `-latest` alias.

    Every current model accepts the thinking level LOW, so that is what it is sent.

    Args:
        name: The name of the model, without `models/`.
        prices: USD per 1 M tokens of a live call, (input, output); None if they are not known.
        today: The day on which the prices hold.
        input_limit: Tokens, as the API's `models.get` says.
        output_limit: Likewise.
    """
    price_in, price_out = prices or (0.0, 0.0)
    return Model(
        name=name,
        kind="generate",
        price_in=price_in,
        price_out=price_out,
        priced_on=today,
        source="PRICES=" if prices else "not known",
        thinking={"thinkingLevel": "LOW"},
        levels_source="not known; LOW is accepted by every model of the table that takes a level",
        input_limit=input_limit,
        output_limit=output_limit,
        has_price=prices is not None,
    )


def load_models(extra: Path | None = None) -> dict[str, Model]:
    """Return every model by name, those of `extra` over those that come with findable; a wrong `extra` is refused."""
    return _bundled() | ({} if extra is None else _read(extra))


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Model]:
    return _read(_BUNDLED)


def _read(path: Path) -> dict[str, Model]:
    hint = "the form is that of pipeline/gemini/models.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(
            f"the models file {path} cannot be read: {error}", hint=hint
        ) from error
    models = document.pop("models", {})
    if document or not isinstance(models, dict):
        raise ConfigurationError(
            f"the models file {path} may hold only [models.…] tables", hint=hint
        )
    if path == _BUNDLED:
        return {name: Model(name=name, **entry) for name, entry in models.items()}
    from pydantic import TypeAdapter, ValidationError  # a tenth of a second, for a user's own file

    form = TypeAdapter(Model)
    found = {}
    for name, entry in models.items():
        try:
            found[name] = form.validate_python(
                {**entry, "name": name} if isinstance(entry, dict) else entry
            )
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
            raise ConfigurationError(
                f"the models file {path} is wrong at {name!r}: {said}", hint=hint
            ) from error
    return found


ASCII_PER_TOKEN = 4.0  # "a token is about 4 characters" (Gemini token guide, read 2026-11)
# Our own estimate for accented Latin, Cyrillic, Greek, Arabic and Hebrew.
# It lies between English and Chinese.
TWO_BYTE_PER_TOKEN = 2.0
THREE_BYTE_PER_TOKEN = 1.5  # ours: Chinese, Japanese, Korean, Indic and Thai letters
FOUR_BYTE_PER_TOKEN = 0.5  # ours: an emoji is often two tokens
# Tokens of an image if the figure of the model is unknown; see `Model.tokens_of_image`.
DEFAULT_IMAGE_TOKENS = 1_120
ANSWER_TOKENS = 96  # ours: where a task does not say how long its answers are
# Thought tokens for a short question without a thinking level (batch notebook, 2025-09).
THOUGHT_TOKENS = 829


class Usage(NamedTuple):
    """Tokens of one or many replies: prompt, answer, thoughts, and those of the prompt that were `cached`.

    `+` adds two up.
    """

    prompt: int = 0
    answer: int = 0
    thoughts: int = 0
    cached: int = 0

    def __add__(self, other: "Usage") -> "Usage":  # type: ignore[override]  # of tuples it makes a longer one
        return Usage(*(one + more for one, more in zip(self, other, strict=True)))


NO_USAGE = Usage()


def usage_cost(model: Model, usage: Usage, tier: str, *, on: date) -> float:
    """Return the cost in USD at the prices of a day; cached prompt tokens count at the cached rate."""
    price_in, price_out = model.prices(tier, on=on)
    cached_tokens = min(usage.cached, usage.prompt)
    input_cost = (usage.prompt - cached_tokens) * price_in + cached_tokens * model.cached_price(
        tier, on=on
    )
    output_cost = (usage.answer + usage.thoughts) * price_out
    return (input_cost + output_cost) / 1_000_000


def describe_cost(model: Model, cost: float, *, tier: str) -> str:
    """Return an estimated cost in words, with the month's spending cap of a usage tier if the cost exceeds it."""
    if not model.has_price:
        return "cost unknown"
    cap = MONTHLY_SPENDING_CAPS.get(tier)
    if cap is None or cost <= cap:
        return f"estimated {format_usd(cost)}"
    return f"estimated {format_usd(cost)} (tier {tier} may spend {format_usd(cap)} a month)"


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has, rounded up, by how many bytes its characters take in UTF-8."""
    if text.isascii():
        return math.ceil(len(text) / ASCII_PER_TOKEN)
    data = text.encode("utf-8", "surrogatepass")
    high = data.translate(None, _PLAIN)  # few bytes, mostly
    two, four = (len(high) - len(high.translate(None, leads)) for leads in (_TWO, _FOUR))
    plain = len(data) - len(high)
    three = len(text) - plain - two - four
    return math.ceil(
        plain / ASCII_PER_TOKEN
        + two / TWO_BYTE_PER_TOKEN
        + three / THREE_BYTE_PER_TOKEN
        + four / FOUR_BYTE_PER_TOKEN
    )


def estimate_request(
    system: str,
    parts: Iterable[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    answer_tokens: int = ANSWER_TOKENS,
    image_tokens: int = DEFAULT_IMAGE_TOKENS,
) -> Usage:
    """Return about what a request uses: its instruction and parts, and the answer and thoughts to expect.

    A schema counts nothing: whether it counts as prompt in `usageMetadata` could not be found, and past answers tell
    better. A thinking budget counts whole, thinking that is off or minimal counts nothing, thinking that is left to the
    model counts as in Google's sample; answer and thoughts together never exceed `maxOutputTokens`.
    """
    prompt = sum(
        estimate_tokens(part["text"]) if "text" in part else image_tokens for part in parts
    )
    most = settings["maxOutputTokens"]
    thinking = settings.get("thinkingConfig") or {}
    thoughts = thinking.get("thinkingBudget", -1)
    if thoughts < 0:
        thoughts = 0 if thinking.get("thinkingLevel") == "MINIMAL" else THOUGHT_TOKENS
    answer = min(answer_tokens, most)
    return Usage(estimate_tokens(system) + prompt, answer, min(thoughts, most - answer))


_PLAIN = bytes(range(0x80))
_TWO = bytes(range(0xC2, 0xE0))
_FOUR = bytes(range(0xF0, 0xF5))


TEXT = 15  # tokens of a text or a quotation, whatever its limits
MEMBERS = 3  # of a list or a mapping, likewise
ROUND = 3  # tokens of quotes, colon and comma round a member, of brackets, or of a number, true, false or null


def answer_size(answer: "type[BaseModel]") -> int:
    """Return about how many tokens an answer of a model has, written as JSON."""
    return _size(json_schema(answer))


def _size(node: Mapping[str, Any]) -> int:
    if choices := node.get("anyOf") or node.get("oneOf"):
        return max(map(_size, choices))
    if "properties" in node:
        named = node["properties"].items()
        return ROUND + sum(ROUND + estimate_tokens(name) + _size(inner) for name, inner in named)
    if isinstance(pairs := node.get("additionalProperties"), Mapping):
        return ROUND + MEMBERS * (4 * ROUND + TEXT + _size(pairs))
    if node.get("type") == "array":
        return ROUND + MEMBERS * _size(node["items"])
    if values := node.get("enum") or ([node["const"]] if "const" in node else []):
        return ROUND + max(estimate_tokens(str(one)) for one in values)
    return ROUND + TEXT * (node.get("type") == "string")
