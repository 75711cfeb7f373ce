"""Answering one request for text: which words to look at, the tags, concepts or values, and the reply around them."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from emulator import media
from emulator.answers import fill
from emulator.answers.concepts import concepts
from emulator.answers.tags import tags
from emulator.catalogue import MODEL_VERSION, STAND_IN_VERSION, TAGGER_VERSION, Model
from emulator.media import ImageFeatures
from emulator.messages import invalid
from emulator.schema import SchemaNode, asked_for

BYTES_PER_TOKEN = 4
"""The engine's own measure of a token; Google's manual gives about four characters (Tokens guide, read 2026-11)."""

TO_TAG = ("job_title", "biography")
TO_READ = ("passage",)
"""The sections that tags and concepts must come from."""
FEWEST_TAGS = 3
MOST_TAGS = 8
FEWEST_CONCEPTS = 4
MOST_CONCEPTS = 14
"""How many are given where the schema does not say and the text has as many."""
_CONCEPT = {
    "name": "STRING",
    "quotes": "ARRAY",
    "type": "STRING",
    "aliases": "ARRAY",
    "confidence": "NUMBER",
}
_AS_IT_IS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def tokens_in(text: str) -> int:
    """Return the estimated number of tokens in a text, at least one for a text that is not empty."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def count_tokens(request: Mapping[str, Any], model: Model) -> int:
    """Return the estimated tokens in the contents and the system instruction of a request, its media with them."""
    text = sum(tokens_in(part["text"]) for part in media.parts_of(request) if "text" in part)
    return text + media.tokens_of(request, model)


def said_in(sections: Sequence[str], request: Mapping[str, Any]) -> str:
    """Return what the user says in some sections, from the first opening to the last closing delimiter, else all."""
    whole = "\n".join(_turns(request))
    found = []
    for name in sections:
        start = whole.find(f"<{name}>")
        end = whole.rfind(f"</{name}>")
        found += [whole[start + len(name) + 2 : end]] if 0 <= start < end else []
    return "\n".join(found) if found else whole


def _turns(request: Mapping[str, Any]) -> list[str]:
    return [
        "\n".join(part["text"] for part in content.get("parts", []) if "text" in part)
        for content in request.get("contents", [])
        if content.get("role", "user") == "user"
    ]


def check_request(request: Mapping[str, Any]) -> SchemaNode:
    """Return what is asked for; refuse a request without contents, or with a schema that cannot be served."""
    if not any(content.get("parts") for content in request.get("contents", [])):
        raise invalid("* GenerateContentRequest.contents: contents is not specified")
    return asked_for(request.get("generationConfig", {}))


def answer(
    request: Mapping[str, Any], model: Model, *, seen: Sequence[ImageFeatures | None] = ()
) -> dict[str, Any]:
    """Return the GenerateContentResponse for a request as `messages.read` gives it; the same for the same request.

    `seen` are its media, as `media.looked_at` returns them.

    Raises:
        ApiError: 400 for a request that the live service would refuse or a schema that this one cannot serve.
    """
    document, version = _document(request, check_request(request), seen)
    full = orjson.dumps(document)
    limit = min(
        request.get("generationConfig", {}).get("maxOutputTokens", model.output_limit),
        model.output_limit,
    )
    shown = full[: limit * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    prompt = count_tokens(request, model)
    candidates = tokens_in(shown)
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
            "promptTokenCount": prompt,
            "candidatesTokenCount": candidates,
            "totalTokenCount": prompt + candidates,
        },
        "modelVersion": version,
        "responseId": base64.urlsafe_b64encode(hashlib.blake2b(facts, digest_size=16).digest())
        .rstrip(b"=")
        .decode(),
    }


def _document(
    request: Mapping[str, Any], ask: SchemaNode, looks: Sequence[ImageFeatures | None]
) -> tuple[object, str]:
    """Return the document that is wanted, and what made it.

    A list of strings, bare or as the one property of an object, is what a question for tags is, a list of objects with
    a `name` and their `quotes` one for concepts. What the user said before the last turn are examples to any other.
    """
    name, listed = ask.members[0] if ask.kind == "OBJECT" and len(ask.members) == 1 else ("", ask)
    members = dict(listed.items.members) if listed.items is not None else {}
    if listed.items is not None and fill.is_tag(listed.items):
        found = _tags(request, listed, looks)
        version = TAGGER_VERSION
    elif {"name", "quotes"} <= members.keys() and all(
        _CONCEPT.get(one) == members[one].kind for one in members
    ):
        found = _concepts(request, listed, members)
        version = MODEL_VERSION
    else:
        last = next((turn for turn in reversed(_turns(request)) if turn.strip()), "")
        return fill.answer(ask, last, looks), STAND_IN_VERSION
    return {name: found} if name else found, version


def _tags(
    request: Mapping[str, Any], listed: SchemaNode, looks: Sequence[ImageFeatures | None]
) -> list[Any]:
    """Return tags: of images the words of what is measured of them, of a person no more than the text supports."""
    at_most = MOST_TAGS if listed.at_most is None else listed.at_most
    if looks:
        return list(dict.fromkeys(word for one in looks if one for word in one.words()))[:at_most]
    said = said_in(TO_TAG, request)
    at_least = 0 if said != said_in((), request) else min(listed.at_least or FEWEST_TAGS, at_most)
    return list(tags(said, at_least=at_least, at_most=at_most))


def _concepts(
    request: Mapping[str, Any], listed: SchemaNode, members: Mapping[str, SchemaNode]
) -> list[dict[str, Any]]:
    """Return concepts, of each what is asked for and allowed: of the types `other`, or else the last."""
    at_most = MOST_CONCEPTS if listed.at_most is None else listed.at_most
    at_least = min(max(listed.at_least, FEWEST_CONCEPTS), at_most)
    found = []
    for concept in concepts(said_in(TO_READ, request), at_least=at_least, at_most=at_most):
        fitted = {name: concept[name] for name in members}
        for name, member in members.items():
            if member.kind == "ARRAY":
                fitted[name] = fitted[name][: member.at_most]
            elif member.choices and fitted[name] not in member.choices:
                fitted[name] = "other" if "other" in member.choices else member.choices[-1]
        found.append(fitted)
    return found
