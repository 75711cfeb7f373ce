"""Answer one generateContent request: read its prompt, fill its schema, and build the response.

The local engine has three ways to answer: tags of a vocabulary, concepts of the text, and values
for any other schema.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import orjson

from emulator import media
from emulator.answers import fill, values
from emulator.answers.concepts import extract_concepts
from emulator.answers.tags import tag_text
from emulator.catalogue import MODEL_VERSION, STAND_IN_VERSION, TAGGER_VERSION, Model
from emulator.media import ImageFeatures
from emulator.messages import invalid_argument, join_text_parts
from emulator.schema import SchemaNode, parse_response_schema

# The engine's own measure of a token. Google's manual gives about four characters (Tokens guide,
# read 2026-11).
BYTES_PER_TOKEN = 4

# Sections of the prompt that tags and concepts are taken from.
TAG_SECTIONS = ("job_title", "biography")
CONCEPT_SECTIONS = ("passage",)
# Numbers of tags and concepts if the schema has no bounds, and the text has enough of them.
MIN_TAGS = 3
MAX_TAGS = 8
MIN_CONCEPTS = 4
MAX_CONCEPTS = 14
# Kinds of the members that a concept can have.
_CONCEPT_KINDS = {
    "name": "STRING",
    "quotes": "ARRAY",
    "type": "STRING",
    "aliases": "ARRAY",
    "confidence": "NUMBER",
}
_HASH_JSON_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def estimate_tokens(text: str) -> int:
    """Return the estimated tokens of a text, at least 1 unless the text is empty."""
    byte_count = len(text.encode("utf-8", "replace"))
    # Division that rounds up.
    return -(-byte_count // BYTES_PER_TOKEN)


def count_tokens(request: Mapping[str, Any], model: Model) -> int:
    """Return the estimated tokens of a request: contents, system instruction and media."""
    text_tokens = sum(
        estimate_tokens(part["text"]) for part in media.iter_parts(request) if "text" in part
    )
    return text_tokens + media.count_media_tokens(request, model)


def check_request(request: Mapping[str, Any]) -> SchemaNode:
    """Check a request, and return the node of its response schema.

    Raises:
        ApiError: 400, if the request has no contents or a schema that cannot be served.
    """
    if not any(content.get("parts") for content in request.get("contents", [])):
        raise invalid_argument("* GenerateContentRequest.contents: contents is not specified")
    system = "\n".join(
        str(part.get("text", ""))
        for part in (request.get("systemInstruction") or {}).get("parts") or ()
    )
    return parse_response_schema(request.get("generationConfig", {}), system)


def answer_request(
    request: Mapping[str, Any],
    model: Model,
    *,
    images: Sequence[ImageFeatures | None] = (),
) -> dict[str, Any]:
    """Return the GenerateContentResponse to a request; equal requests get equal responses.

    The answer is cut at the output limit of the request or the model.

    Args:
        request: A message as `messages.parse_message` returns it.
        images: Measures of the request's media, as `media.measure_media` returns them.

    Raises:
        ApiError: 400, if the request has no contents or a schema that cannot be served.
    """
    document, version = _build_document(request, check_request(request), images)
    full_text = orjson.dumps(document)
    config = request.get("generationConfig", {})
    max_tokens = min(config.get("maxOutputTokens", model.output_limit), model.output_limit)
    text = full_text[: max_tokens * BYTES_PER_TOKEN].decode("utf-8", "ignore")
    is_complete = text.encode() == full_text

    prompt_tokens = count_tokens(request, model)
    candidate_tokens = estimate_tokens(text)
    # The id is a hash of model and request, so equal requests have equal ids.
    hashed_bytes = orjson.dumps([model.name, request], option=_HASH_JSON_OPTIONS)
    digest = hashlib.blake2b(hashed_bytes, digest_size=16).digest()
    response_id = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return {
        "candidates": [
            {
                "content": {"parts": [{"text": text}], "role": "model"},
                "finishReason": "STOP" if is_complete else "MAX_TOKENS",
                "index": 0,
            },
        ],
        "usageMetadata": {
            "promptTokenCount": prompt_tokens,
            "candidatesTokenCount": candidate_tokens,
            "totalTokenCount": prompt_tokens + candidate_tokens,
        },
        "modelVersion": version,
        "responseId": response_id,
    }


def _build_document(
    request: Mapping[str, Any],
    node: SchemaNode,
    images: Sequence[ImageFeatures | None],
) -> tuple[object, str]:
    """Return (JSON document of an answer, `modelVersion` of the response).

    The schema decides how the request is answered:

    - A list of free texts gets tags, with TAGGER_VERSION.
    - A list of objects with `name` and `quotes`, and no members that concepts lack, gets concepts,
      with MODEL_VERSION.
    - Any other schema is filled from the last turn of the user, with STAND_IN_VERSION. Earlier
      turns are examples.

    Such a list may be the schema itself, or the only property of an object.

    Args:
        images: Measures of the request's media. Concepts ignore them.
    """
    property_name = ""
    list_node = node
    if node.kind == "OBJECT" and len(node.members) == 1:
        property_name, list_node = node.members[0]

    entries: list[Any]
    if list_node.items is not None and values.is_tag(list_node.items):
        entries = _find_tags(request, list_node, images)
        version = TAGGER_VERSION
    elif _asks_for_concepts(list_node):
        entries = _find_concepts(request, list_node)
        version = MODEL_VERSION
    else:
        turns = [turn for turn in _list_user_turns(request) if turn.strip()]
        last_turn = turns[-1] if turns else ""
        return fill.ValueFiller(last_turn, images).fill(node), STAND_IN_VERSION

    document = {property_name: entries} if property_name else entries
    return document, version


def _asks_for_concepts(list_node: SchemaNode) -> bool:
    if list_node.items is None:
        return False

    members = dict(list_node.items.members)
    has_required_members = {"name", "quotes"} <= members.keys()
    return has_required_members and all(
        _CONCEPT_KINDS.get(name) == member.kind for name, member in members.items()
    )


def _find_tags(
    request: Mapping[str, Any],
    list_node: SchemaNode,
    images: Sequence[ImageFeatures | None],
) -> list[str]:
    """Return the tags of a request, at most as many as the list may have.

    If the request has images, their colours and orientations are the tags, and the text is ignored.
    There is no minimum then. An image that is None gives no tag, so the list may be empty.

    Otherwise the text is tagged. If the prompt has a section of TAG_SECTIONS, only these sections
    are read, and there may be no tag, so that a person gets no tag that the text does not support.
    Without such a section there are at least as many tags as the schema demands, or MIN_TAGS if it
    demands none.
    """
    max_tags = MAX_TAGS if list_node.max_size is None else list_node.max_size
    if images:
        words = chain.from_iterable(image.to_words() for image in images if image)
        return list(dict.fromkeys(words))[:max_tags]

    text = _get_user_text(TAG_SECTIONS, request)
    has_section = text != _get_user_text((), request)
    min_tags = 0 if has_section else min(list_node.min_size or MIN_TAGS, max_tags)
    return tag_text(text, min_count=min_tags, max_count=max_tags)


def _find_concepts(request: Mapping[str, Any], list_node: SchemaNode) -> list[dict[str, Any]]:
    """Return the concepts of a request, each with the members that the schema asks for.

    Their number is at most that of the list's bounds, and at least that if the text has enough
    words.
    """
    members = dict(list_node.items.members) if list_node.items else {}
    max_concepts = MAX_CONCEPTS if list_node.max_size is None else list_node.max_size
    min_concepts = min(max(list_node.min_size, MIN_CONCEPTS), max_concepts)
    text = _get_user_text(CONCEPT_SECTIONS, request)

    return [
        {name: _fit_concept_member(concept[name], member) for name, member in members.items()}
        for concept in extract_concepts(text, min_count=min_concepts, max_count=max_concepts)
    ]


def _fit_concept_member(value: Any, member: SchemaNode) -> Any:
    """Return a member of a concept as the schema allows it.

    A list is cut to its maximum. A text that is not an allowed choice becomes "other", or the last
    choice if "other" is not allowed either.
    """
    if member.kind == "ARRAY":
        return value[: member.max_size]
    if not member.choices or value in member.choices:
        return value
    return "other" if "other" in member.choices else member.choices[-1]


def _get_user_text(section_names: Sequence[str], request: Mapping[str, Any]) -> str:
    """Return the text in the named sections of all turns of the user, joined by line breaks.

    A section reaches from its first opening tag to its last closing tag. If no section is found,
    the result is all text of the user.
    """
    full_text = "\n".join(_list_user_turns(request))
    section_texts = []
    for name in section_names:
        start = full_text.find(f"<{name}>")
        end = full_text.rfind(f"</{name}>")
        if 0 <= start < end:
            section_texts.append(full_text[start + len(name) + 2 : end])
    return "\n".join(section_texts) if section_texts else full_text


def _list_user_turns(request: Mapping[str, Any]) -> list[str]:
    """Return the text of each content that the user wrote, in order; "" without text.

    A content without a role is the user's.
    """
    return [
        join_text_parts(content)
        for content in request.get("contents", [])
        if content.get("role", "user") == "user"
    ]
