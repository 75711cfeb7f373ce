"""Reading JSON documents as the messages of the API."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.messages import UnknownFieldError, WrongValueError, camel, decode_base64, read

NAMES = st.lists(st.text(string.ascii_lowercase, min_size=1, max_size=8), min_size=1, max_size=4)


@given(NAMES)
def test_a_name_in_either_spelling_is_the_same_name(words: list[str]) -> None:
    """Snake case and camelCase of the same words give the same name, and reading it again changes nothing."""
    name = camel("_".join(words))
    assert name == words[0] + "".join(word.capitalize() for word in words[1:])
    assert camel(name) == name


def test_both_spellings_are_read_at_every_level() -> None:
    """A document in snake_case and one in camelCase are the same message."""
    snake = {
        "system_instruction": {"parts": [{"inline_data": {"mime_type": "a/b", "data": "YQ"}}]},
        "generation_config": {"response_schema": {"min_items": 1, "any_of": [{"max_items": "2"}]}},
    }
    plain = {
        "systemInstruction": {"parts": [{"inlineData": {"mimeType": "a/b", "data": "YQ"}}]},
        "generationConfig": {"responseSchema": {"minItems": 1, "anyOf": [{"maxItems": 2}]}},
    }
    assert read("GenerateContentRequest", snake) == read("GenerateContentRequest", plain) == plain


@given(st.binary(max_size=64))
def test_base64_of_either_alphabet_padded_or_not_is_read(data: bytes) -> None:
    """All four ways to write bytes give the same bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert decode_base64(text, where="x") == decode_base64(text.rstrip("="), where="x") == data


def test_what_is_the_callers_own_is_not_looked_into() -> None:
    """Names in `properties` and a JSON Schema stay as written; a null is an absent member; integers have three ways."""
    schema = {"properties": {"first_name": {"type": "STRING"}}}
    assert read("Schema", schema) == schema
    config = {"responseJsonSchema": {"$defs": {"a_b": 1}, "additionalProperties": False}}
    assert read("GenerationConfig", config) == config
    assert read("Content", {"role": None, "parts": []}) == {"parts": []}
    for value in (7, "7", 7.0):
        assert read("GenerationConfig", {"maxOutputTokens": value}) == {"maxOutputTokens": 7}
    assert camel("_responseJsonSchema") == "_responseJsonSchema"


def test_an_unknown_name_is_refused_with_its_place() -> None:
    """An unknown name is told as it was written, with the message it stands in; a wrong value is refused too."""
    for document, name, where in (
        ({"config": {}}, "config", ""),
        ({"contents": [{"parts": [{"txt": "x"}]}]}, "txt", "contents[0].parts[0]"),
        ({"generationConfig": {"responseSchema": {"$schema": "x"}}}, "$schema", "generationConfig.responseSchema"),
    ):
        with pytest.raises(UnknownFieldError) as refusal:
            read("GenerateContentRequest", document)
        assert (refusal.value.name, refusal.value.where) == (name, where)
    for config in ("many", True, 1.5):
        with pytest.raises(WrongValueError):
            read("GenerationConfig", {"maxOutputTokens": config})
    documents: list[object] = [[], {"contents": "hi"}, {"contents": [{"parts": [{"text": 1}]}]}]
    for wrong in (*documents, {"generationConfig": []}):
        with pytest.raises(WrongValueError):
            read("GenerateContentRequest", wrong)
