"""List what every known model costs and allows, with the source and the date of each figure.

Reads data that comes with findable: opens no workspace, sends nothing, changes nothing.
"""

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.gemini import models

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.gemini.limits import SourcedLimits
    from pipeline.gemini.models import Model


ANSWERS = "answers"
EMBEDS = "embeds"


@dataclass(frozen=True)
class PriceFigure:
    """USD per 1 M tokens in and out, where that stands, and since when."""

    tokens_in: float
    tokens_out: float
    source: str
    date: date | None

    @property
    def document(self) -> dict[str, Any]:
        """Return the price as a JSON object."""
        return {"in": self.tokens_in, "out": self.tokens_out, "source": self.source, "date": self.date}


@dataclass(frozen=True)
class ModelPrices:
    """One model: what it is used for here, its prices, its limits in the tier in force, its last day."""

    model: str
    kind: str
    use: str
    live: PriceFigure
    batch: PriceFigure
    tier: str
    limits: "SourcedLimits"
    enqueued_tokens: int | None
    shutdown: date | None
    successor: str
    differs: str

    @property
    def document(self) -> dict[str, Any]:
        """Return the row as a JSON object; a limit that is null is none."""
        limits = self.limits.limits
        return {
            "model": self.model,
            "kind": self.kind,
            "use": self.use or None,
            "live": self.live.document,
            "batch": self.batch.document,
            "limits": {
                "tier": self.tier,
                **limits._asdict(),
                "sources": dict(zip(limits._fields, self.limits.sources, strict=True)),
                "enqueued_tokens": self.enqueued_tokens,
            },
            "shutdown": self.shutdown,
            "successor": self.successor or None,
            "differs": self.differs or None,
        }


def run(settings: "Settings", *, on: date) -> list[ModelPrices]:
    """Return every model of the catalogue, in its order, with the prices of a day.

    Raises:
        ConfigurationError: the file of FINDABLE_MODELS_FILE is wrong.
    """
    settings = settings.for_backend(settings.wanted_backend)
    return [_row(model, settings, on=on) for model in models.load_models(settings.models_file).values()]


def _row(model: "Model", settings: "Settings", *, on: date) -> ModelPrices:
    """Return one model as it is used and limited under these settings."""
    bare = {settings.model.removeprefix("models/"): ANSWERS, settings.embedding_model.removeprefix("models/"): EMBEDS}
    use = bare.get(model.name, "")
    own = {"rpm": settings.rpm, "tpm": settings.tpm, "rpd": settings.rpd} if use == ANSWERS else {}
    return ModelPrices(
        model=model.name,
        kind=model.kind,
        use=use,
        live=_price(model, batch=False, on=on),
        batch=_price(model, batch=True, on=on),
        tier=settings.tier,
        limits=models.sourced_limits(model, tier=settings.tier, **own),
        enqueued_tokens=model.enqueued(settings.tier),
        shutdown=model.shutdown,
        successor=model.successor,
        differs=_difference(model, on=on),
    )


def _price(model: "Model", *, batch: bool, on: date) -> PriceFigure:
    source, day = model.price_source(batch=batch, on=on)
    return PriceFigure(*model.prices(batch=batch, on=on), source, day)


def _difference(model: "Model", *, on: date) -> str:
    """Return what the list of prices says other than the table, or an empty text; the list is what counts."""
    said = []
    for batch in (False, True):
        listed, ours = model.listed(batch=batch, on=on), model.catalogued(batch=batch, on=on)
        if listed is not None and listed != ours:
            way = "batch" if batch else "live"
            said.append(f"{way} {listed[0]:g} in, {listed[1]:g} out, not {ours[0]:g} and {ours[1]:g}")
    if not said:
        return ""
    source, _ = model.price_source(batch=False, on=on)
    return f"{model.name}: {source} has {'; '.join(said)} as the catalogue of {model.priced_on} has; the former counts"
