"""List what every known model costs and allows, with the source and the date of each figure.

Reads data that comes with findable: opens no workspace, sends nothing, changes nothing.
"""

from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.gemini import models

if TYPE_CHECKING:
    from pipeline.core.settings import Settings
    from pipeline.gemini.models import Model


ANSWERS = "answers"
EMBEDS = "embeds"


def run(settings: "Settings", *, on: date) -> list[dict[str, Any]]:
    """Return every model of the catalogue, in its order, with the prices of a day, as JSON objects.

    Prices are USD per 1 M tokens in and out, with their source and since when they hold. Limits are those of the tier
    in force; one that is null is none.

    Raises:
        ConfigurationError: the file of FINDABLE_MODELS_FILE is wrong.
    """
    settings = settings.for_backend(settings.wanted_backend)
    return [_row(model, settings, on=on) for model in models.load_models(settings.models_file).values()]


def _row(model: "Model", settings: "Settings", *, on: date) -> dict[str, Any]:
    """Return one model as it is used and limited under these settings."""
    bare = {settings.model.removeprefix("models/"): ANSWERS, settings.embedding_model.removeprefix("models/"): EMBEDS}
    use = bare.get(model.name, "")
    own = {"rpm": settings.rpm, "tpm": settings.tpm, "rpd": settings.rpd} if use == ANSWERS else {}
    sourced = models.sourced_limits(model, tier=settings.tier, **own)
    limits = sourced.limits
    return {
        "model": model.name,
        "kind": model.kind,
        "use": use or None,
        "live": _price(model, batch=False, on=on),
        "batch": _price(model, batch=True, on=on),
        "limits": {
            "tier": settings.tier,
            **limits._asdict(),
            "sources": dict(zip(limits._fields, sourced.sources, strict=True)),
            "enqueued_tokens": model.enqueued(settings.tier),
        },
        "shutdown": model.shutdown,
        "successor": model.successor or None,
        "differs": _difference(model, on=on) or None,
    }


def _price(model: "Model", *, batch: bool, on: date) -> dict[str, Any]:
    source, day = model.price_source(batch=batch, on=on)
    tokens_in, tokens_out = model.prices(batch=batch, on=on)
    return {"in": tokens_in, "out": tokens_out, "source": source, "date": day}


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
