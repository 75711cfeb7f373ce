"""Answering one request for text: which words to look at, the tags, concepts or values, and the reply around them."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from emulator import media
from emulator.answers import fill
from emulator.answers.concepts import concepts
from emulator.answers.looks import told
from emulator.answers.tags import tags
from emulator.catalogue import MODEL_VERSION, STAND_IN_VERSION, TAGGER_VERSION, Model
from emulator.dialect import Ask
from emulator.errors import invalid
from emulator.media import Medium
from emulator.schema import ConceptShape, Shape, shape_of

BYTES_PER_TOKEN = 4
"""The engine's own measure of a token; Google's manual gives about four characters (Tokens guide, read 2026-11)."""

TO_TAG = ("job_title", "biography")
TO_READ = ("passage",)
"""The sections that tags and concepts must come from."""
_AS_IT_IS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


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


def said_in(sections: Sequence[str], request: Mapping[str, Any]) -> str:
    """Return what the answer must come from: what the user's contents say in some sections, else all they say.

    A section is what stands between its delimiters, from the first opening one to the last closing one.
    """
    whole = "\n".join(_turns(request))
    found = []
    for name in sections:
        start, end = whole.find(f"<{name}>"), whole.rfind(f"</{name}>")
        found += [whole[start + len(name) + 2 : end]] if 0 <= start < end else []
    return "\n".join(found) if found else whole


def _turns(request: Mapping[str, Any]) -> list[str]:
    """Return what the user says in each turn of a request, its parts in lines of their own."""
    return [
        "\n".join(part["text"] for part in content.get("parts", []) if "text" in part)
        for content in request.get("contents", [])
        if content.get("role", "user") == "user"
    ]


def check_request(request: Mapping[str, Any], model: Model) -> Shape | ConceptShape | Ask:
    """Return the shape of the answer wanted, and refuse what the live service refuses about a well-formed request.

    Raises:
        ApiError: 400 for no contents, for both thinking fields, for penalties where the model takes none, or for a
            schema that cannot be served.
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


def answer(request: Mapping[str, Any], model: Model, *, seen: Sequence[Medium] = ()) -> dict[str, Any]:
    """Return the GenerateContentResponse for a request as `messages.read` gives it; the same for the same request.

    `seen` are its media, as `media.looked_at` returns them.

    Raises:
        ApiError: 400 for a request that the live service would refuse or a schema that this one cannot serve.
    """
    document, version = _document(request, check_request(request, model), seen)
    full = orjson.dumps(document)
    limit = min(request.get("generationConfig", {}).get("maxOutputTokens", model.output_limit), model.output_limit)
    shown = full[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    prompt, candidates = count_tokens(request, model), tokens_in(shown)
    facts = orjson.dumps([model.name, request], option=_AS_IT_IS)
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": shown}], "role": "model"},
                "finishReason": "STOP" if shown.encode() == full else "MAX_TOKENS",
                "index": 0,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": prompt.total,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt.total + candidates,
            "promptTokensDetails": prompt.details(),
        },
        "modelVersion": version,
        "responseId": base64.urlsafe_b64encode(hashlib.blake2b(facts, digest_size=16).digest()).rstrip(b"=").decode(),
    }


def _document(
    request: Mapping[str, Any], shape: Shape | ConceptShape | Ask, seen: Sequence[Medium]
) -> tuple[object, str]:
    """Return the document that is wanted, and what made it.

    Of images tags are the words of what is measured of them, of a person no more than the text supports, however many
    the schema asks for. What the user said before the last turn are examples to a schema of one's own.
    """
    looks = [medium.seen for medium in seen]
    if isinstance(shape, Ask):
        last = next((turn for turn in reversed(_turns(request)) if turn.strip()), "")
        return fill.answer(shape, last, looks), STAND_IN_VERSION
    if isinstance(shape, ConceptShape):
        found = concepts(said_in(TO_READ, request), at_least=shape.at_least, at_most=shape.at_most)
        return shape.wrap(found), MODEL_VERSION
    if looks and shape.allowed is None:
        words = dict.fromkeys(word for one in looks if one for word in one.words())
        return shape.wrap(list(words)[: shape.at_most]), TAGGER_VERSION
    said = said_in(TO_TAG, request)
    at_least = 0 if shape.allowed is None and said != said_in((), request) else shape.at_least
    text = "\n".join([said, *map(told, looks)])
    return shape.wrap(tags(text, allowed=shape.allowed, at_least=at_least, at_most=shape.at_most)), TAGGER_VERSION
