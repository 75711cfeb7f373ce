"""List what every known model costs and allows: data that comes with findable; nothing is opened or sent."""

from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.gemini.models import load_models

if TYPE_CHECKING:
    from pipeline.core.settings import Settings


def run(settings: "Settings", *, on: date) -> list[dict[str, Any]]:
    """Return every model of the catalogue, in its order, with the prices of a day, as JSON objects.

    Prices are USD per 1 M tokens in and out. Limits are those of the tier in force; one that is null is none.
    """
    settings = settings.for_backend(settings.wanted_backend)
    uses = {settings.model: "answers", settings.embedding_model: "embeds"}
    uses = {name.removeprefix("models/"): use for name, use in uses.items()}
    own = {name: getattr(settings, name) for name in ("rpm", "tpm", "rpd")}
    return [
        {
            "model": model.name,
            "kind": model.kind,
            "use": (use := uses.get(model.name)),
            **{
                way: dict(zip(("in", "out"), model.prices(batch=way == "batch", on=on), strict=True))
                for way in ("live", "batch")
            },
            "source": model.source,
            "priced_on": model.priced_on,
            "limits": {
                "tier": settings.tier,
                **model.limits(settings.tier, **(own if use == "answers" else {}))._asdict(),
                "enqueued_tokens": model.enqueued(settings.tier),
            },
            "shutdown": model.shutdown,
            "successor": model.successor or None,
        }
        for model in load_models(settings.models_file).values()
    ]
