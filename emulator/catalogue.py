"""The models this server answers for, Gemini's names and its own.

Every name is answered by the local models, and says so in `modelVersion`. What differs from name to name is what the
live API says of it: its methods and token limits (model pages, read 2026-11).
"""

from dataclasses import dataclass
from typing import Any

from emulator.messages import ApiError

MODEL_VERSION, TAGGER_VERSION = "findable-local-1", "findable-local-1-3"
STAND_IN_VERSION = "findable-local-stand-in-1"
"""What answers a question for concepts, one for tags, and any other: of the right form, and no model."""
_GENERATE = ("generateContent", "countTokens", "batchGenerateContent")
_EMBED = ("embedContent", "batchEmbedContents", "countTokens")


@dataclass(frozen=True)
class Model:
    """One name a request may use, with the limits that go with it (tokens), as published for the Flash family."""

    name: str
    methods: tuple[str, ...] = _GENERATE
    input_limit: int = 1_048_576
    output_limit: int = 65_536
    encoder: str = "semantic"

    def document(self) -> dict[str, Any]:
        """Return the model resource of the API."""
        return {
            "name": f"models/{self.name}",
            "version": MODEL_VERSION,
            "displayName": self.name,
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
        }


_FLASH = "2.5-flash 2.5-flash-lite 2.5-pro 3.1-flash-lite 3.1-pro-preview 3.5-flash-lite 3.5-flash 3.6-flash 3.7-flash"
_TABLE = [
    *(Model(f"gemini-{name}") for name in [*_FLASH.split(), "3.8-flash"]),
    Model("findable-local-1"),
    Model("gemini-embedding-001", _EMBED, 2_048, 1),
    Model("gemini-embedding-2", _EMBED, 8_192, 1),
    Model("findable-local-embedding-1", _EMBED, 8_192, 1),
    Model("findable-local-lexical-1", _EMBED, 8_192, 1, encoder="lexical"),
]
MODELS = {model.name: model for model in _TABLE}
"""Every model by the name that stands behind `models/`."""


def find(name: str, method: str, version: str = "v1beta") -> Model:
    """Return the model of that name; refuse one that is unknown or cannot do `method` in Google's words."""
    model = MODELS.get(name.removeprefix("models/"))
    if model is None or method not in model.methods:
        wrong = f"models/{name} is not found for API version {version}, or is not supported for {method}."
        raise ApiError(404, f"{wrong} Call ListModels to see the list of available models and their supported methods.")
    return model
