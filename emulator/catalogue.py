"""The models this server answers for: Gemini's names and its own.

Every name is answered by the local models, and says so in `modelVersion`. What differs from name to name is what the
live API would check: token limits, and whether penalties are refused (model pages, read 2026-11).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emulator.errors import ApiError

MODEL_VERSION = "findable-local-1"
"""What answers every request that nothing below answers, whatever it was called in the URL."""
TAGGER_VERSION = f"{MODEL_VERSION}-3"
"""What answers a question for tags; the first was `MODEL_VERSION`, and gave three where a text supports none."""
STAND_IN_VERSION = "findable-local-stand-in-1"
"""What answers a schema that asks for neither tags nor concepts: of the right form, out of the text, and no model."""

OLD_MEDIA = {"": 258, "MEDIA_RESOLUTION_LOW": 64, "MEDIA_RESOLUTION_MEDIUM": 256, "MEDIA_RESOLUTION_HIGH": 256}
NEW_MEDIA = {
    "": 1_120,
    "MEDIA_RESOLUTION_LOW": 280,
    "MEDIA_RESOLUTION_MEDIUM": 560,
    "MEDIA_RESOLUTION_HIGH": 1_120,
    "MEDIA_RESOLUTION_ULTRA_HIGH": 2_240,
}
"""Tokens of an image by how closely a model looks: of the 2.5 models, and of later ones (media resolution guide and
tokens guide, read 2026-11)."""

_GENERATE = ("generateContent", "countTokens", "batchGenerateContent")
_EMBED = ("embedContent", "batchEmbedContents", "countTokens")


@dataclass(frozen=True)
class Model:
    """One name a request may use, with the limits that go with it (tokens), as published for the Flash family."""

    name: str
    methods: tuple[str, ...] = _GENERATE
    input_limit: int = 1_048_576
    output_limit: int = 65_536
    refuses_penalties: bool = False
    encoder: str = "semantic"
    media_tokens: Mapping[str, int] = field(default_factory=lambda: NEW_MEDIA)

    @property
    def embeds(self) -> bool:
        """Whether the model makes vectors rather than text."""
        return self.methods is _EMBED

    def document(self) -> dict[str, Any]:
        """Return the model resource of the API."""
        return {
            "name": f"models/{self.name}",
            "version": MODEL_VERSION,
            "displayName": self.name,
            "description": "Answered by the local engine.",
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
        }


_TABLE = [
    *(Model(f"gemini-2.5-{name}", media_tokens=OLD_MEDIA) for name in ("flash", "flash-lite", "pro")),
    *(Model(f"gemini-3.1-{name}") for name in ("flash-lite", "pro-preview")),
    *(
        Model(f"gemini-{name}", refuses_penalties=True)
        for name in ("3.5-flash-lite", "3.5-flash", "3.6-flash", "3.7-flash", "3.8-flash")
    ),
    Model("findable-local-1"),
    Model("gemini-embedding-001", _EMBED, 2_048, 1),
    Model("gemini-embedding-2", _EMBED, 8_192, 1),
    Model("findable-local-embedding-1", _EMBED, 8_192, 1),
    Model("findable-local-lexical-1", _EMBED, 8_192, 1, encoder="lexical"),
]
MODELS = {model.name: model for model in _TABLE}
"""Every model by the name that stands behind `models/`."""


def find(name: str, method: str, version: str = "v1beta") -> Model:
    """Return the model of that name.

    Raises:
        ApiError: 404 in Google's words, where the name is unknown or cannot do `method`.
    """
    model = MODELS.get(name.removeprefix("models/"))
    if model is None or method not in model.methods:
        raise ApiError(
            404,
            f"models/{name} is not found for API version {version}, or is not supported for {method}. "
            "Call ListModels to see the list of available models and their supported methods.",
        )
    return model
