"""Know the models as data: prices with their date and source, thinking, limits, the day they go away.

The table is `models.toml` beside this module; a file of the same form may add models or replace them. A model that is
not in the table, or is gone, is refused before anything is written: without a price nothing can be estimated. Of the
limits Google publishes only those of batches; those of calls are what projects were shown, and what is unknown gets a
figure of ours that is rather too low: too low costs time, too high costs refusals.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pipeline.core.errors import ConfigurationError

Kind = Literal["generate", "embed"]

MAX_FILE_BYTES = 2 * 1000**3  # one uploaded file, 2 GB (Files API guide, read 2026-11; decimal to be on the safe side)
MAX_STORED_BYTES = 20 * 1000**3  # all uploads of a project, 20 GB (Files API guide, read 2026-11)
MAX_ACTIVE_BATCHES = 100  # of one project at the same time (rate limits page, copy of 2026-01)
MAX_EMBED_TEXTS = 100  # texts in one embedding call (customary and refused above, read 2026-11)
FREE = "free"
TIERS = (FREE, "1", "2", "3")  # as Google names them; a billing account makes a project one of tier 1

DEFAULT_GENERATE = "gemini-3.5-flash-lite"
DEFAULT_EMBED = "gemini-embedding-2"
WARN_BEFORE = timedelta(days=60)  # ours: time to tag what is left and to choose another model

_BUNDLED = Path(__file__).with_name("models.toml")
_SETTING: dict[Kind, str] = {"generate": "MODEL", "embed": "EMBEDDING_MODEL"}
_DEFAULT: dict[Kind, str] = {"generate": DEFAULT_GENERATE, "embed": DEFAULT_EMBED}
_FORM = "the form is that of pipeline/gemini/models.toml"

# Of the 3.x models (media resolution guide, read 2026-11); the older ones have theirs in the table
IMAGE_TOKENS: Mapping[str, int] = {"low": 280, "medium": 560, "high": 1_120, "usual": 1_120}


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
FIGURES = {*RateLimits._fields, "enqueued_tokens"}  # of a tier


@dataclass(frozen=True)
class Promotion:
    """Prices that hold up to and including a day, USD per 1 M tokens; the batch price is half, as always."""

    until: date
    price_in: float
    price_out: float


@dataclass(frozen=True)
class Model:
    """One model: prices in USD per 1 M tokens as of `priced_on`, limits in tokens, `dims` the least and most width.

    `tiers` has what is known of the limits of each, None being none; `enqueued_tokens` is that of batches where a tier
    says nothing.
    `image_tokens` are tokens of an image by its resolution: low, medium, high, and what is `usual`.
    """

    name: str
    kind: Kind
    price_in: float
    price_out: float
    batch_in: float
    batch_out: float
    priced_on: date
    source: str
    thinking: Mapping[str, Any] | None = None
    input_limit: int | None = None
    output_limit: int | None = None
    shutdown: date | None = None
    successor: str = ""
    enqueued_tokens: int | None = None
    dims: tuple[int, int] | None = None
    task_in_text: bool = False
    local: bool = False
    promotion: Promotion | None = None
    tiers: Mapping[str, Mapping[str, int | None]] = field(default_factory=dict)
    image_tokens: Mapping[str, int] = field(default_factory=lambda: IMAGE_TOKENS)

    def prices(self, *, batch: bool, on: date) -> tuple[float, float]:
        """Return (input, output) in USD per 1 M tokens on that day, promotions included."""
        if self.promotion is not None and on <= self.promotion.until:
            share = 0.5 if batch else 1.0
            return self.promotion.price_in * share, self.promotion.price_out * share
        return (self.batch_in, self.batch_out) if batch else (self.price_in, self.price_out)

    def enqueued(self, tier: str) -> int | None:
        """Return how many tokens of batches may wait at once in a tier, or None where no limit is known.

        The free tier has no batches (rate limits page, read 2026-10); a project that sends some has another tier than
        is set, so it is taken for tier 1.
        """
        return self._figure("enqueued_tokens", "1" if tier == FREE else tier, self.enqueued_tokens)

    def limits(self, tier: str) -> RateLimits:
        """Return what may be asked in a tier, a minute and a day: what is known, else ours; a local model has none."""
        ours = NO_LIMITS if self.local else OURS[self.kind, FREE if tier == FREE else "1"]
        return RateLimits(*(self._figure(name, tier, getattr(ours, name)) for name in RateLimits._fields))

    def _figure(self, name: str, tier: str, ours: int | None) -> int | None:
        """Return a figure of a tier, or of the next lower one that has it; the free tier is another kind of project."""
        lower = (FREE,) if tier == FREE else TIERS[TIERS.index(tier) : 0 : -1]
        return next((self.tiers[one][name] for one in lower if name in self.tiers.get(one, ())), ours)

    @property
    def takes_temperature(self) -> bool:
        """Return whether the model heeds a temperature, as those of the second series do; later ones ignore it."""
        return self.name.startswith("gemini-2")

    def tokens_of_image(self, resolution: str | None) -> int:
        """Return how many tokens an image is at a resolution, as the API has its word; None: the usual one."""
        word = "usual" if resolution is None else resolution.rpartition("_")[2].lower()
        return self.image_tokens.get(word, IMAGE_TOKENS[word])

    def checked_thinking(self, own: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Return the `thinkingConfig` to send: a task's own where it has one, else the table's.

        Raises:
            ConfigurationError: it says budget where the model knows levels, or the other way round.
        """
        if own is None or self.thinking is None or self.local:
            return self.thinking if own is None else own
        wrong = sorted(own.keys() - self.thinking.keys() - {"includeThoughts"})
        if wrong:
            raise ConfigurationError(
                f"thinking= says {wrong[0]}, and {self.name} takes {', '.join(self.thinking)}; nothing was asked",
                hint="another model= or FINDABLE_MODEL, or thinking= as this model has it",
            )
        return own

    def is_gone(self, today: date) -> bool:
        """Return whether the model's last day has come."""
        return self.shutdown is not None and today >= self.shutdown

    def warning(self, today: date) -> str:
        """Return one line when the model goes away within 60 days, with its successor; else an empty text."""
        if self.shutdown is None or self.is_gone(today) or self.shutdown - today > WARN_BEFORE:
            return ""
        return f"{self.name} is shut down on {self.shutdown}; afterwards use {self.replacement}"

    @property
    def replacement(self) -> str:
        """Return the setting that selects the model to use in place of this one."""
        return f"FINDABLE_{_SETTING[self.kind]}={self.successor or _DEFAULT[self.kind]}"

    def check_dim(self, dim: int) -> None:
        """Refuse a width this embedding model cannot give.

        Raises:
            ConfigurationError: the width is outside `dims`; nothing was sent.
        """
        if self.dims is not None and not self.dims[0] <= dim <= self.dims[1]:
            raise ConfigurationError(
                f"{self.name} gives vectors of {self.dims[0]} to {self.dims[1]} numbers, not {dim}",
                hint=f"set FINDABLE_DIM to a width between {self.dims[0]} and {self.dims[1]}",
            )


def find_model(name: str, *, kind: Kind, today: date, extra: Path | None = None) -> Model:
    """Return the model of that name; `models/` in front is dropped, `extra` is a file that adds or replaces models.

    Raises:
        ConfigurationError: the model is not in the table, is of the other kind, or is shut down by `today`.
    """
    table = load_models(extra)
    bare = name.strip().removeprefix("models/")
    model = table.get(bare)
    if model is None or model.kind != kind:
        known = ", ".join(sorted(other.name for other in table.values() if other.kind == kind and not other.local))
        what = f"not a model that can {kind}" if model else "not a model findable knows"
        raise ConfigurationError(
            f"{bare!r} is {what}; known are {known}",
            hint=f"set FINDABLE_{_SETTING[kind]} to one of them, or describe it in the file of FINDABLE_MODELS_FILE",
        )
    if model.is_gone(today):
        message = f"{bare} was shut down on {model.shutdown}; nothing was written or sent"
        raise ConfigurationError(message, hint=f"set {model.replacement}")
    return model


def model_limits(model: Model, *, tier: str, **own: int | None) -> RateLimits:
    """Return what may be asked of a model a minute and a day; `own` rpm, tpm and rpd stand over the tier's figures."""
    return model.limits(tier)._replace(**{name: one for name, one in own.items() if one is not None})


def load_models(extra: Path | None = None) -> dict[str, Model]:
    """Return every model by name, those of `extra` over those that come with findable.

    Raises:
        ConfigurationError: `extra` cannot be read, is no TOML, or an entry in it lacks something or has a wrong type.
    """
    table = dict(_bundled())
    if extra is not None:
        table |= _read(extra)
    return table


@lru_cache(maxsize=1)
def _bundled() -> dict[str, Model]:
    return _read(_BUNDLED)


def _read(path: Path) -> dict[str, Model]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"the models file {path} cannot be read: {error}", hint=_FORM) from error
    models = document.pop("models", {})
    if document or not isinstance(models, dict):
        raise ConfigurationError(f"the models file {path} may hold only [models.…] tables", hint=_FORM)
    return {name: _model(name, entry, path) for name, entry in models.items()}


def _model(name: str, entry: Any, path: Path) -> Model:
    """Return one entry as a Model; batch prices are half of the live ones where they are not given."""
    try:
        fields = dict(entry)
        if not isinstance(fields.get("thinking", {}), dict):
            raise TypeError("thinking must be a table")  # noqa: TRY301 - it gets the file's name like the others
        promotion = fields.pop("promotion", None)
        dims = fields.pop("dims", None)
        tiers = {tier: _tier(tier, figures) for tier, figures in fields.pop("tiers", {}).items()}
        fields.setdefault("batch_in", fields["price_in"] / 2)
        fields.setdefault("batch_out", fields["price_out"] / 2)
        model = Model(
            name=name,
            tiers=tiers,
            dims=None if dims is None else (int(dims[0]), int(dims[1])),
            promotion=None if promotion is None else Promotion(**promotion),
            **fields,
        )
        _check(model)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(f"the models file {path} is wrong at {name!r}: {error}", hint=_FORM) from error
    return model


def _tier(name: str, entry: Any) -> dict[str, int | None]:
    """Return what one `tiers` table says: numbers of 1 or more, or "none"; what is "unknown" is left out."""
    if name not in TIERS:
        raise ValueError(f"there is no tier {name!r}, only {', '.join(TIERS)}")
    if not isinstance(entry, dict) or entry.keys() - FIGURES:
        raise TypeError(f"tier {name} must be a table of {', '.join(sorted(FIGURES))}")
    for key, value in entry.items():
        if value not in ("none", "unknown") and (type(value) is not int or value < 1):
            raise ValueError(f'{key} must be a number of 1 or more, "none" or "unknown", not {value!r}')
    return {key: None if value == "none" else value for key, value in entry.items() if value != "unknown"}


def _check(model: Model) -> None:
    prices: list[Any] = [model.price_in, model.price_out, model.batch_in, model.batch_out]
    if model.promotion is not None:
        prices += [model.promotion.price_in, model.promotion.price_out]
    if not all(isinstance(price, int | float) and math.isfinite(price) and price >= 0 for price in prices):
        raise ValueError("a price must be a number of 0 or more")
    if model.kind not in _SETTING:
        raise ValueError(f"kind must be 'generate' or 'embed', not {model.kind!r}")
    days = [model.priced_on, model.shutdown, model.promotion.until if model.promotion else None]
    if not all(day is None or type(day) is date for day in days):
        raise TypeError("a day must be written as 2026-12-31, without quotes")
    if not isinstance(model.thinking, dict | None):
        raise TypeError("thinking must be a table")
    if not all(name in IMAGE_TOKENS and isinstance(count, int) for name, count in model.image_tokens.items()):
        raise ValueError(f"image_tokens must be whole numbers for {', '.join(IMAGE_TOKENS)}")
