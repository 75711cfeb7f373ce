"""Answering one request for text: which words to look at, the tags, concepts or values, and the reply around them."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from emulator import media, stand_in
from emulator.catalogue import MODEL_VERSION, QUICK_VERSION, STAND_IN_VERSION, TAGGER_VERSION, Model
from emulator.dialect import Ask
from emulator.errors import invalid
from emulator.media import Medium
from emulator.models.concepts import concepts, quick_concepts
from emulator.models.looks import Look, told
from emulator.models.tagger import tags as tags_of
from emulator.reading import asked
from emulator.schema import ConceptShape, Shape, shape_of

BYTES_PER_TOKEN = 4
"""The engine's own measure of a token; Google's manual gives about four characters (Tokens guide, read 2026-11)."""

TO_TAG = ("job_title", "biography")
TO_READ = ("passage",)
"""The sections that tags and concepts must come from."""


def tokens_in(text: str) -> int:
    """Return the estimated number of tokens in a text, at least one for a text that is not empty."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


class Tokens(NamedTuple):
    """The tokens of a prompt: of its texts, and of its images and other media."""

    text: int
    media: int

    @property
    def total(self) -> int:
        """Return all of them."""
        return self.text + self.media

    def details(self) -> list[dict[str, Any]]:
        """Return the counts by modality, as a reply tells them."""
        counted = {"TEXT": self.text, "IMAGE": self.media}
        return [{"modality": name, "tokenCount": count} for name, count in counted.items() if count or name == "TEXT"]


def count_tokens(request: Mapping[str, Any], model: Model) -> Tokens:
    """Return the estimated tokens in the contents and the system instruction of a request, its media with them."""
    text = sum(tokens_in(part["text"]) for part in media.parts_of(request) if "text" in part)
    return Tokens(text, media.tokens_of(request, model))


def text_digest(request: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all that the contents of a request say: what tells one item's requests from another's."""
    said = [_said(part) for content in request.get("contents", []) for part in content.get("parts", [])]
    return hashlib.sha256("\n".join(said).encode("utf-8", "replace")).hexdigest()


def _said(part: Mapping[str, Any]) -> str:
    """Return what one part says: its text, or what tells its medium from others."""
    if "inlineData" in part:
        return str(part["inlineData"].get("data", ""))
    return str(part["fileData"].get("fileUri", "")) if "fileData" in part else str(part.get("text", ""))


def said_in(sections: Sequence[str], request: Mapping[str, Any]) -> str:
    """Return what the answer must come from: what the user's contents say in some sections, else all they say.

    A section is what stands between its delimiters, from the first opening one to the last closing one.
    """
    texts = [
        part["text"]
        for content in request.get("contents", [])
        if content.get("role", "user") == "user"
        for part in content.get("parts", [])
        if "text" in part
    ]
    whole = "\n".join(texts)
    found = [section for name in sections if (section := _between(whole, name)) is not None]
    return "\n".join(found) if found else whole


def _between(text: str, name: str) -> str | None:
    """Return what stands between `<name>` and the last `</name>`, None where they do not enclose anything."""
    opening, closing = f"<{name}>", f"</{name}>"
    start, end = text.find(opening), text.rfind(closing)
    return text[start + len(opening) : end] if 0 <= start < end else None


def check_request(request: Mapping[str, Any], model: Model) -> Shape | ConceptShape | Ask:
    """Return the shape of the answer wanted, and refuse what the live service refuses about a well-formed request.

    Raises:
        ApiError: 400 for no contents, for both thinking fields, for penalties where the model takes none, for a
            resolution that is none, or for a schema that cannot be served.
    """
    if not any(content.get("parts") for content in request.get("contents", [])):
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    config = request.get("generationConfig", {})
    thinking = config.get("thinkingConfig", {})
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        raise invalid("You can only set only one of thinking budget and thinking level.")
    if model.refuses_penalties and ("presencePenalty" in config or "frequencyPenalty" in config):
        raise invalid(f"Penalty is not enabled for models/{model.name}")
    limit = config.get("maxOutputTokens", 1)
    if limit < 1:
        raise invalid(f"* GenerateContentRequest.generation_config.max_output_tokens: {limit} must be positive.")
    return shape_of(config)


def answer(
    request: Mapping[str, Any], model: Model, *, seen: Sequence[Medium] = (), seed: int = 0, quick: bool = False
) -> dict[str, Any]:
    """Return the GenerateContentResponse for a request as `messages.read` gives it; the same for the same request.

    `seen` are its media, as `media.looked_at` returns them. With `quick` concepts are the first words there are, and
    `modelVersion` says so; likewise of a stand-in's values.

    Raises:
        ApiError: 400 for a request that the live service would refuse or a schema that this one cannot serve.
    """
    shape = check_request(request, model)
    config = request.get("generationConfig", {})
    document, version = _document(request, shape, seen, quick=quick)
    full = orjson.dumps(document).decode()
    shown = _cut(full, limit=min(config.get("maxOutputTokens", model.output_limit), model.output_limit))
    candidate = {
        "content": {"parts": [{"text": shown}], "role": "model"},
        "finishReason": "STOP" if shown == full else "MAX_TOKENS",
        "index": 0,
    }
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(count_tokens(request, model), tokens_in(shown)),
        "modelVersion": version,
        "responseId": _response_id(request, model, seed=seed),
    }


def _document(
    request: Mapping[str, Any], shape: Shape | ConceptShape | Ask, seen: Sequence[Medium], *, quick: bool
) -> tuple[object, str]:
    """Return the document that is wanted, and what made it."""
    looks = [medium.seen for medium in seen]
    if isinstance(shape, Ask):
        return stand_in.answer(shape, asked(request), looks), STAND_IN_VERSION
    if isinstance(shape, ConceptShape):
        return _concepts(request, shape, quick=quick), QUICK_VERSION if quick else MODEL_VERSION
    return _tags(request, shape, looks), TAGGER_VERSION


def _tags(request: Mapping[str, Any], shape: Shape, looks: Sequence[Look | None]) -> object:
    """Return tags: of images the words of what is measured of them, else what the text is about.

    Of a person no more than the text supports, however many the schema asks for.
    """
    if looks and shape.allowed is None:
        return shape.wrap(list(dict.fromkeys(word for one in looks if one for word in one.words()))[: shape.at_most])
    said = said_in(TO_TAG, request)
    is_person = said != said_in((), request)
    at_least = 0 if is_person and shape.allowed is None else shape.at_least
    text = "\n".join([said, *map(told, looks)])
    return shape.wrap(tags_of(text, allowed=shape.allowed, at_least=at_least, at_most=shape.at_most))


def _concepts(request: Mapping[str, Any], shape: ConceptShape, *, quick: bool) -> object:
    find = quick_concepts if quick else concepts
    return shape.wrap(find(said_in(TO_READ, request), at_least=shape.at_least, at_most=shape.at_most))


def _cut(text: str, *, limit: int) -> str:
    """Return as much of a text as `limit` tokens hold, never half a character."""
    data = text.encode()
    if tokens_in(text) <= limit:
        return text
    return data[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def _usage(prompt: Tokens, candidates: int) -> dict[str, Any]:
    """Return the counts of a reply; the engine does not think, so there are no thoughts to count."""
    return {
        "promptTokenCount": prompt.total,
        "candidatesTokenCount": candidates,
        "totalTokenCount": prompt.total + candidates,
        "promptTokensDetails": prompt.details(),
    }


def _response_id(request: Mapping[str, Any], model: Model, *, seed: int) -> str:
    """Return an id that follows from the seed, the model and the request."""
    facts = orjson.dumps([seed, model.name, request], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return base64.urlsafe_b64encode(hashlib.blake2b(facts, digest_size=16).digest()).rstrip(b"=").decode()
