"""Models of this server.

- Names are those of Gemini's models and of the local engine's own models.
- The local engine answers for every name, and says so in `modelVersion`.
- Methods and token limits of a name are those of the live API (model pages, read 2026-11).
"""

from dataclasses import dataclass
from typing import Any

from askrows.emulator.messages import ApiError

# `modelVersion` of every answer.
MODEL_VERSION = "askrows-local-1"
_GENERATE_METHODS = ("generateContent", "countTokens", "batchGenerateContent")
_DECIDE_METHODS = ("createDecision", "countTokens")
_EMBED_METHODS = ("embedContent", "batchEmbedContents", "countTokens")


@dataclass(frozen=True)
class Model:
    """A model name that requests may use, with its methods and limits."""

    name: str
    methods: tuple[str, ...] = _GENERATE_METHODS
    # Tokens, as published for the Flash family.
    input_limit: int = 1_048_576
    output_limit: int = 65_536

    def to_dict(self) -> dict[str, Any]:
        """Return the model resource of the API."""
        return {
            "name": f"models/{self.name}",
            "version": MODEL_VERSION,
            "displayName": self.name,
            "inputTokenLimit": self.input_limit,
            "outputTokenLimit": self.output_limit,
            "supportedGenerationMethods": list(self.methods),
        }


_GEMINI_NAMES = """
    2.5-flash 2.5-flash-lite 2.5-pro 3.1-flash-lite 3.1-pro-preview 3.5-flash-lite 3.5-flash
    3.6-flash 3.7-flash 3.8-flash
"""
_GENERATION_MODELS = [
    *(Model(f"gemini-{name}") for name in _GEMINI_NAMES.split()),
    Model("askrows-local-1"),
]
# Models of OpenAI, and one that a server of one's own may have.
_OPENAI_NAMES = "gpt-5 gpt-5-mini gpt-5-nano gpt-4.1-mini gpt-4o-mini llama-3.3-70b"
_OPENAI_MODELS = [Model(name) for name in _OPENAI_NAMES.split()]
_EMBEDDING_MODELS = [
    Model("gemini-embedding-001", _EMBED_METHODS, 2_048, 1),
    Model("gemini-embedding-2", _EMBED_METHODS, 8_192, 1),
    Model("text-embedding-3-small", _EMBED_METHODS, 8_192, 1),
    Model("askrows-local-embedding-1", _EMBED_METHODS, 8_192, 1),
]
_DECISION_MODELS = [
    Model(name, _DECIDE_METHODS, 262_144, 1)
    for name in ("gemini-decision-1", "askrows-local-decision-1")
]
# Every model by its name after `models/`, in the order of the model list.
MODELS = {
    model.name: model
    for model in [*_GENERATION_MODELS, *_OPENAI_MODELS, *_EMBEDDING_MODELS, *_DECISION_MODELS]
}


def require_known_model(name: str, method: str, version: str = "v1beta") -> Model:
    """Return a model that can serve an API method.

    Args:
        name: Model name, with or without `models/`.
        method: For example "generateContent".
        version: API version of the request, for the error message.

    Raises:
        ApiError: 404 in Google's words, if the model is unknown or lacks the method.
    """
    model = MODELS.get(name.removeprefix("models/"))
    if model is None or method not in model.methods:
        raise ApiError(
            404,
            f"models/{name} is not found for API version {version}, or is not supported for "
            f"{method}. Call ListModels to see the list of available models and their supported "
            f"methods.",
        )

    return model
