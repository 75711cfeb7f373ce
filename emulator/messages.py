"""The fields each message has, and reading a JSON document against them.

As the live service does, names are read in camelCase and in snake_case at every level and an unknown name refuses the
document. What `read` returns is camelCase throughout, so that no other module has to know there were two spellings.
"""

import base64
import binascii
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson


def _of(**kinds: str) -> dict[str, str]:
    """Return the fields of a message, from the names of the fields of each kind; `_many` stands for a list of them."""
    named = {kind: f"[]{kind.removesuffix('_many')}" if kind.endswith("_many") else kind for kind in kinds}
    return {name: named[kind] for kind, names in kinds.items() for name in names.split()}


_FIELDS: dict[str, dict[str, str]] = {
    "GenerateContentRequest": _of(
        string="model cachedContent serviceTier",
        Content_many="contents",
        Content="systemInstruction",
        GenerationConfig="generationConfig",
        SafetySetting_many="safetySettings",
        any_many="tools",
        any="toolConfig labels",
        bool="store",
    ),
    "Content": _of(string="role", Part_many="parts"),
    "Part": _of(
        string="text",
        Blob="inlineData",
        FileData="fileData",
        bool="thought",
        bytes="thoughtSignature",
        any=(
            "functionCall functionResponse executableCode codeExecutionResult videoMetadata mediaResolution "
            "partMetadata"
        ),
    ),
    "Blob": _of(string="mimeType displayName", bytes="data"),
    "FileData": _of(string="mimeType fileUri displayName"),
    "SafetySetting": _of(string="category threshold method"),
    "GenerationConfig": _of(
        number="temperature topP topK presencePenalty frequencyPenalty",
        integer="candidateCount maxOutputTokens seed logprobs",
        string_many="stopSequences responseModalities",
        string="responseMimeType mediaResolution",
        Schema="responseSchema",
        any="responseJsonSchema _responseJsonSchema speechConfig imageConfig",
        ThinkingConfig="thinkingConfig",
        bool="responseLogprobs audioTimestamp enableEnhancedCivicAnswers",
    ),
    "ThinkingConfig": _of(bool="includeThoughts", integer="thinkingBudget", string="thinkingLevel"),
    "Schema": _of(
        string="type format title description pattern",
        bool="nullable",
        any="default example",
        string_many="enum required propertyOrdering",
        Schema="items",
        integer="minItems maxItems minProperties maxProperties minLength maxLength",
        number="minimum maximum",
        Schema_many="anyOf",
    )
    | {"properties": "{}Schema"},
    "EmbedContentRequest": _of(string="model taskType title", Content="content", integer="outputDimensionality"),
    "BatchEmbedContentsRequest": _of(EmbedContentRequest_many="requests"),
    "CountTokensRequest": _of(Content_many="contents", GenerateContentRequest="generateContentRequest"),
    "CreateBatchRequest": _of(Batch="batch"),
    "Batch": _of(string="name model displayName", InputConfig="inputConfig", integer="priority", any="webhookConfig"),
    "InputConfig": _of(string="fileName", InlinedRequests="requests"),
    "InlinedRequests": _of(any_many="requests"),
    "StartUpload": _of(File="file"),
    "File": _of(
        string="name displayName mimeType createTime updateTime expirationTime sha256Hash uri downloadUri state source",
        integer="sizeBytes",
        any="videoMetadata error",
    ),
}


class UnknownFieldError(ValueError):
    """A document has a member that its message does not have."""

    def __init__(self, name: str, *, where: str) -> None:
        """Keep the member's name as it was written and the path of the message it stands in."""
        super().__init__(f"no such field: {name!r}")
        self.name = name
        self.where = where


class WrongValueError(ValueError):
    """A member holds something its field cannot hold."""

    def __init__(self, value: object, *, where: str, expected: str) -> None:
        """Keep the path of the member and what was expected there."""
        super().__init__(f"Invalid value at '{where}' ({expected}), found {type(value).__name__}")
        self.where = where


@lru_cache(maxsize=4096)
def camel(name: str) -> str:
    """Return `name` in camelCase; a name that is so already comes back as it is."""
    first, *rest = name.split("_")
    if not first:
        return name
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def read(kind: str, value: object, *, where: str = "") -> Any:
    """Return `value` as a message of `kind`, its names in camelCase; null members are left out.

    Raises:
        UnknownFieldError: a member that the message does not have.
        WrongValueError: a member of the wrong type.
    """
    if kind == "any":
        return value
    if kind.startswith("[]"):
        if not isinstance(value, list):
            raise WrongValueError(value, where=where, expected=f"a list of {kind[2:]}")
        return [read(kind[2:], member, where=f"{where}[{index}]") for index, member in enumerate(value)]
    if kind.startswith("{}"):  # from names of the caller's own choice
        if not isinstance(value, Mapping):
            raise WrongValueError(value, where=where, expected=f"a map of {kind[2:]}")
        return {name: read(kind[2:], member, where=f"{where}.{name}") for name, member in value.items()}
    if kind not in _FIELDS:
        return _read_scalar(kind, value, where=where)
    if kind == "GenerationConfig" and isinstance(value, dict):
        return _read_again(kind, orjson.dumps(value), where)
    return _read_message(kind, value, where=where)


@lru_cache(maxsize=256)
def _read_again(kind: str, document: bytes, where: str) -> dict[str, Any]:
    """Return a message that stands alike in every line of a file, read once; what `read` returns is never changed."""
    return _read_message(kind, orjson.loads(document), where=where)


def _read_message(kind: str, value: object, *, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise WrongValueError(value, where=where, expected=kind)
    fields = _FIELDS[kind]
    message = {}
    for written, member in value.items():
        name = camel(written)
        if name not in fields:
            raise UnknownFieldError(written, where=where)
        if member is not None:
            message[name] = read(fields[name], member, where=f"{where}.{name}" if where else name)
    return message


def _read_scalar(kind: str, value: object, *, where: str) -> object:
    """Return one plain value; integers may be written as strings, as protobuf's JSON form allows."""
    if kind == "integer" and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    if kind == "bytes" and isinstance(value, str):
        decode_base64(value, where=where)
        return value
    whole = isinstance(value, float) and value.is_integer()
    fits = {
        "string": isinstance(value, str),
        "bool": isinstance(value, bool),
        "integer": (isinstance(value, int) or whole) and not isinstance(value, bool),
        "number": isinstance(value, int | float) and not isinstance(value, bool),
    }.get(kind, False)
    if not fits:
        raise WrongValueError(value, where=where, expected=kind)
    return int(value) if kind == "integer" and isinstance(value, float) else value


def decode_base64(text: str, *, where: str) -> bytes:
    """Return the bytes behind base64 of either alphabet, padded or not.

    Raises:
        WrongValueError: the text is no base64.
    """
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise WrongValueError(text, where=where, expected="base64") from error
