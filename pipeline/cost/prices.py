"""List what every known model costs and allows.

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

    Prices are USD per 1 M tokens in and out. Limits are those of the tier in force; one that is null is none.

    Raises:
        ConfigurationError: the file of FINDABLE_MODELS_FILE is wrong.
    """
    settings = settings.for_backend(settings.wanted_backend)
    return [_row(model, settings, on=on) for model in models.load_models(settings.models_file).values()]


def _row(model: "Model", settings: "Settings", *, on: date) -> dict[str, Any]:
    bare = {settings.model.removeprefix("models/"): ANSWERS, settings.embedding_model.removeprefix("models/"): EMBEDS}
    use = bare.get(model.name, "")
    own = {"rpm": settings.rpm, "tpm": settings.tpm, "rpd": settings.rpd} if use == ANSWERS else {}
    limits = models.model_limits(model, tier=settings.tier, **own)
    return {
        "model": model.name,
        "kind": model.kind,
        "use": use or None,
        "live": dict(zip(("in", "out"), model.prices(batch=False, on=on), strict=True)),
        "batch": dict(zip(("in", "out"), model.prices(batch=True, on=on), strict=True)),
        "source": model.source,
        "priced_on": model.priced_on,
        "limits": {
            "tier": settings.tier,
            **limits._asdict(),
            "enqueued_tokens": model.enqueued(settings.tier),
        },
        "shutdown": model.shutdown,
        "successor": model.successor or None,
    }
