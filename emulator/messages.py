"""The fields each message has, reading a JSON document against them, and refusals in the form Google gives them.

As the live service does, names are read in camelCase and in snake_case at every level, and an unknown one refuses the
document. What `read` returns is camelCase throughout, so that no other module has to know there were two spellings.
"""

import base64
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

import orjson

_CODES = {
    400: ("INVALID_ARGUMENT", 3),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    429: ("RESOURCE_EXHAUSTED", 8),
    500: ("INTERNAL", 13),
}
"""The google.rpc name and number that go with each HTTP status (google/rpc/code.proto)."""
TYPES = "type.googleapis.com/google.rpc."


class ApiError(Exception):
    """A refusal, with all that its reply needs."""

    def __init__(self, code: int, message: str, *, details: Sequence[dict[str, Any]] = ()) -> None:
        """Keep the HTTP status, the message and the details of the refusal."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)

    def body(self) -> dict[str, Any]:
        """Return the reply's JSON document."""
        error: dict[str, Any] = {
            "code": self.code,
            "message": self.message,
            "status": _CODES[self.code][0],
        }
        return {"error": error | ({"details": self.details} if self.details else {})}

    def line(self) -> dict[str, Any]:
        """Return the error member of a result line."""
        return {"code": _CODES[self.code][1], "message": self.message}


def invalid(message: str) -> ApiError:
    """Return the 400 for a request that is wrong."""
    return ApiError(400, message)


def _of(**kinds: str) -> dict[str, str]:
    named = {
        kind: f"[]{kind.removesuffix('_many')}" if kind.endswith("_many") else kind
        for kind in kinds
    }
    return {name: named[kind] for kind, names in kinds.items() for name in names.split()}


_FIELDS: dict[str, dict[str, str]] = {
    "GenerateContentRequest": _of(
        string="model cachedContent serviceTier",
        Content_many="contents",
        Content="systemInstruction",
        GenerationConfig="generationConfig",
        any_many="safetySettings tools",
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
        any="functionCall functionResponse executableCode codeExecutionResult videoMetadata mediaResolution"
        " partMetadata",
    ),
    "Blob": _of(string="mimeType displayName", bytes="data"),
    "FileData": _of(string="mimeType fileUri displayName"),
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
    "EmbedContentRequest": _of(
        string="model taskType title", Content="content", integer="outputDimensionality"
    ),
    "BatchEmbedContentsRequest": _of(EmbedContentRequest_many="requests"),
    "CountTokensRequest": _of(
        Content_many="contents", GenerateContentRequest="generateContentRequest"
    ),
    "CreateBatchRequest": _of(Batch="batch"),
    "Batch": _of(
        string="name model displayName",
        InputConfig="inputConfig",
        integer="priority",
        any="webhookConfig",
    ),
    "InputConfig": _of(string="fileName", any="requests"),
    "StartUpload": _of(File="file"),
    "File": _of(string="displayName mimeType", integer="sizeBytes"),
}


class FieldError(ApiError):
    """A document has a member that its message does not have, or that holds what its field cannot hold."""

    def __init__(self, said: str, *, name: str, where: str, of_line: str = "") -> None:
        """Keep the member's name as it was written, the path of what is wrong, and how a batch says it of a line."""
        violations = [{"field": where, "description": said}]
        super().__init__(
            400, said, details=[{"@type": f"{TYPES}BadRequest", "fieldViolations": violations}]
        )
        self.name = name
        self.of_line = of_line or said


def _wrong(value: object, where: str, expected: str) -> FieldError:
    name = where.rpartition(".")[2].partition("[")[0]
    said = f"Invalid value at '{where}' ({expected}), found {type(value).__name__}"
    return FieldError(said, name=name, where=where)


@lru_cache(maxsize=4096)
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in rest) if first else name


def read(kind: str, value: object, *, where: str = "") -> Any:
    """Return `value` as a message of `kind`, its names in camelCase; null members are left out."""
    if kind == "any":
        return value
    if kind.startswith("[]"):
        if not isinstance(value, list):
            raise _wrong(value, where, f"a list of {kind[2:]}")
        return [
            read(kind[2:], member, where=f"{where}[{index}]") for index, member in enumerate(value)
        ]
    if kind not in _FIELDS and not kind.startswith("{}"):
        return _read_scalar(kind, value, where=where)
    if not isinstance(value, Mapping):
        raise _wrong(value, where, kind)
    if kind.startswith("{}"):  # from names of the caller's own choice
        return {
            name: read(kind[2:], member, where=f"{where}.{name}") for name, member in value.items()
        }
    if kind == "GenerationConfig":
        return _read_again(kind, orjson.dumps(value), where)
    return _read_message(kind, value, where=where)


@lru_cache(maxsize=256)
def _read_again(kind: str, document: bytes, where: str) -> dict[str, Any]:
    """Return a message that stands alike in every line of a file, read once; what `read` returns is never changed."""
    return _read_message(kind, orjson.loads(document), where=where)


def _read_message(kind: str, value: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    fields = _FIELDS[kind]
    message = {}
    for written, member in value.items():
        name = _camel(written)
        if name not in fields:
            said = f'Invalid JSON payload received. Unknown name "{written}"{f" at {where!r}" if where else ""}: '
            line = f"no such field: {written!r}"
            raise FieldError(
                f"{said}Cannot find field.", name=written, where=where or written, of_line=line
            )
        if member is not None:
            message[name] = read(fields[name], member, where=f"{where}.{name}" if where else name)
    return message


def _read_scalar(kind: str, value: Any, *, where: str) -> object:
    """Return one plain value; integers may be written as strings, as protobuf's JSON form allows."""
    if kind == "integer" and isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in ("string", "bytes"):
        fits = isinstance(value, str) and (kind == "string" or decode_base64(value) is not None)
    elif kind == "bool":
        fits = isinstance(value, bool)
    else:
        fits = is_number and (kind == "number" or value % 1 == 0)
    if not fits:
        raise _wrong(value, where, kind)
    return int(value) if kind == "integer" else value


def decode_base64(text: str) -> bytes | None:
    """Return the bytes behind base64 of either alphabet, padded or not; None where it is none."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    with suppress(ValueError):
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    return None
