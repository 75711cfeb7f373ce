"""Parse JSON documents into messages of the API, and build refusals in Google's form.

- Names are accepted in camelCase and in snake_case at every level, as by the live service.
- An unknown name refuses the whole document.
- A parsed message has camelCase names only, so other modules handle one spelling.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

# The google.rpc name and number of each HTTP status (google/rpc/code.proto).
_RPC_CODES = {
    400: ("INVALID_ARGUMENT", 3),
    403: ("PERMISSION_DENIED", 7),
    404: ("NOT_FOUND", 5),
    429: ("RESOURCE_EXHAUSTED", 8),
    500: ("INTERNAL", 13),
}


class ApiError(Exception):
    """A refused request: HTTP status and message of the error reply."""

    def __init__(self, code: int, message: str) -> None:
        """Store the parts of the error reply; `code` is the HTTP status, one of `_RPC_CODES`."""
        super().__init__(message)
        self.code = code
        self.message = message

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document of the error reply."""
        error = {
            "code": self.code,
            "message": self.message,
            "status": _RPC_CODES[self.code][0],
        }
        return {"error": error}

    def to_line_error(self) -> dict[str, Any]:
        """Return the `error` member of a line in a result file."""
        return {"code": _RPC_CODES[self.code][1], "message": self.message}


def make_invalid_argument_error(message: str) -> ApiError:
    """Return the 400 error of a wrong request, for the caller to raise."""
    return ApiError(400, message)


def _make_field_types(**names_by_type: str) -> dict[str, str]:
    """Return the type of each field, from the field names of each type.

    Args:
        names_by_type: Field names separated by blanks, by their type: `string="a b"` gives a and b
            the type `string`. A keyword `string_many` gives the list type `[]string`.
    """
    types_by_name: dict[str, str] = {}
    for keyword, names in names_by_type.items():
        field_type = keyword
        if keyword.endswith("_many"):
            field_type = f"[]{keyword.removesuffix('_many')}"
        types_by_name |= dict.fromkeys(names.split(), field_type)
    return types_by_name


_SCALAR_TYPES: dict[str, Any] = {
    "string": str,
    "bool": bool,
    "number": int | float,
    "integer": int | float,
}
# Messages of the API by name; a name that is missing here is a scalar type.
_FIELD_TYPES: dict[str, dict[str, str]] = {
    "GenerateContentRequest": _make_field_types(
        string="model cachedContent serviceTier",
        Content_many="contents",
        Content="systemInstruction",
        GenerationConfig="generationConfig",
        any_many="safetySettings tools",
        any="toolConfig labels",
        bool="store",
    ),
    "Content": _make_field_types(string="role", Part_many="parts"),
    "Part": _make_field_types(
        string="text thoughtSignature",
        Blob="inlineData",
        FileData="fileData",
        bool="thought",
        any="functionCall functionResponse executableCode codeExecutionResult videoMetadata"
        " mediaResolution partMetadata",
    ),
    "Blob": _make_field_types(string="mimeType displayName data"),
    "FileData": _make_field_types(string="mimeType fileUri displayName"),
    "GenerationConfig": _make_field_types(
        number="temperature topP topK presencePenalty frequencyPenalty",
        integer="candidateCount maxOutputTokens seed logprobs",
        string_many="stopSequences responseModalities",
        string="responseMimeType mediaResolution",
        Schema="responseSchema",
        any="responseJsonSchema _responseJsonSchema speechConfig imageConfig",
        ThinkingConfig="thinkingConfig",
        bool="responseLogprobs audioTimestamp enableEnhancedCivicAnswers",
    ),
    "ThinkingConfig": _make_field_types(
        bool="includeThoughts",
        integer="thinkingBudget",
        string="thinkingLevel",
    ),
    "Schema": _make_field_types(
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
    "EmbedContentRequest": _make_field_types(
        string="model taskType title",
        Content="content",
        integer="outputDimensionality",
    ),
    "BatchEmbedContentsRequest": _make_field_types(EmbedContentRequest_many="requests"),
    "CountTokensRequest": _make_field_types(
        Content_many="contents",
        GenerateContentRequest="generateContentRequest",
    ),
    "CreateDecisionRequest": _make_field_types(string="model", any="input")
    | {"questions": "{}DecisionQuestion"},
    "DecisionQuestion": _make_field_types(string="type", any="instructions criteria"),
    "CreateBatchRequest": _make_field_types(Batch="batch"),
    "Batch": _make_field_types(
        string="name model displayName",
        InputConfig="inputConfig",
        integer="priority",
        any="webhookConfig",
    ),
    "InputConfig": _make_field_types(string="fileName", any="requests"),
    "StartUpload": _make_field_types(File="file"),
    "File": _make_field_types(string="displayName mimeType", integer="sizeBytes"),
}


def parse_message(message_type: str, value: object, *, path: str = "") -> Any:
    """Check a JSON value against a type, and return it with all names in camelCase.

    Names in snake_case are accepted and converted. Members that are null are left out. A value of
    the type `any` is returned unchecked. A returned message may be shared between calls, so callers
    must not change it.

    Args:
        message_type: A message, a scalar type or `any`; `[]TYPE` is a list, and `{}TYPE` an
            object with free names.
        value: The parsed JSON value.
        path: Path of the value in its document, for error messages.

    Raises:
        ApiError: 400, if a member is unknown, or a value does not fit its type.
    """
    if message_type == "any":
        return value

    if message_type.startswith("[]"):
        if not isinstance(value, list):
            raise _make_type_error(value, path, f"a list of {message_type[2:]}")

        return [
            parse_message(message_type[2:], element, path=f"{path}[{index}]")
            for index, element in enumerate(value)
        ]

    if message_type not in _FIELD_TYPES and not message_type.startswith("{}"):
        return _parse_scalar(message_type, value, path=path)

    if not isinstance(value, Mapping):
        raise _make_type_error(value, path, message_type)

    if message_type.startswith("{}"):
        return {
            name: parse_message(message_type[2:], member, path=f"{path}.{name}")
            for name, member in value.items()
        }

    if message_type == "GenerationConfig":
        return _parse_document(message_type, orjson.dumps(value), path)

    return _parse_fields(message_type, value, path=path)


def join_text_parts(content: Mapping[str, Any]) -> str:
    """Return the text parts of a Content message, joined by line breaks; "" without text."""
    return "\n".join(part["text"] for part in content.get("parts", []) if "text" in part)


@lru_cache(maxsize=256)
def _parse_document(message_type: str, document: bytes, path: str) -> dict[str, Any]:
    """Parse a serialized message once, because each line of a file may repeat it.

    The cached message is returned again for equal arguments.
    """
    return _parse_fields(message_type, orjson.loads(document), path=path)


def _parse_fields(message_type: str, document: Mapping[str, Any], *, path: str) -> dict[str, Any]:
    """Return the checked members of a message by camelCase name, without members that are null.

    Raises:
        ApiError: 400, if a member is unknown, or a value does not fit its field.
    """
    field_types = _FIELD_TYPES[message_type]
    message = {}
    for original_name, member in document.items():
        name = _to_camel_case(original_name)
        if name not in field_types:
            location = f" at {path!r}" if path else ""
            raise make_invalid_argument_error(
                f'Invalid JSON payload received. Unknown name "{original_name}"{location}: '
                "Cannot find field.",
            )

        if member is not None:
            member_path = f"{path}.{name}" if path else name
            message[name] = parse_message(field_types[name], member, path=member_path)
    return message


def _parse_scalar(scalar_type: str, value: Any, *, path: str) -> object:
    """Check and return a scalar: a string, a bool, a number or an integer.

    An integer may be a string of digits, as in protobuf's JSON form. Decimals of a number are cut
    off if an integer is expected.

    Raises:
        ApiError: 400, if the value does not fit the type.
    """
    if scalar_type == "integer" and isinstance(value, str) and value.isdecimal():
        return int(value)

    # A bool is an int in Python, but no number in JSON.
    is_bool = isinstance(value, bool)
    if not isinstance(value, _SCALAR_TYPES[scalar_type]) or is_bool != (scalar_type == "bool"):
        raise _make_type_error(value, path, scalar_type)
    return int(value) if scalar_type == "integer" else value


@lru_cache(maxsize=4096)
def _to_camel_case(name: str) -> str:
    """Return a snake_case name in camelCase; other names, and `_name`, are unchanged."""
    first_word, *other_words = name.split("_")
    if not first_word:
        return name

    return first_word + "".join(word[:1].upper() + word[1:] for word in other_words)


def _make_type_error(value: object, path: str, expected: str) -> ApiError:
    """Return the error of a value at `path` whose type is not the expected type."""
    found_type = type(value).__name__
    return make_invalid_argument_error(
        f"Invalid value at '{path}' ({expected}), found {found_type}"
    )
