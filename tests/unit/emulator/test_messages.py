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


def test_a_leading_underscore_stays() -> None:
    """The one name that begins with an underscore is not taken apart."""
    assert camel("_responseJsonSchema") == "_responseJsonSchema"


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


def test_names_of_properties_are_the_callers_own() -> None:
    """The names in `properties` are no field names: they stay as they are written."""
    schema = {"properties": {"first_name": {"type": "STRING"}}}
    assert read("Schema", schema) == schema


def test_a_free_document_is_not_looked_into() -> None:
    """A JSON Schema passes as it is."""
    config = {"responseJsonSchema": {"$defs": {"a_b": 1}, "additionalProperties": False}}
    assert read("GenerationConfig", config) == config


def test_null_members_are_left_out() -> None:
    """A null is an absent member."""
    assert read("Content", {"role": None, "parts": []}) == {"parts": []}


@pytest.mark.parametrize(
    ("document", "name", "where"),
    [
        ({"config": {}}, "config", ""),
        ({"generationConfig": {"cached_content": "x"}}, "cached_content", "generationConfig"),
        ({"contents": [{"parts": [{"txt": "x"}]}]}, "txt", "contents[0].parts[0]"),
        ({"generationConfig": {"responseSchema": {"$schema": "x"}}}, "$schema", "generationConfig.responseSchema"),
    ],
)
def test_an_unknown_name_is_refused_with_its_place(document: object, name: str, where: str) -> None:
    """An unknown name is told as it was written, with the message it stands in."""
    with pytest.raises(UnknownFieldError) as refusal:
        read("GenerateContentRequest", document)
    assert (refusal.value.name, refusal.value.where) == (name, where)


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"contents": "hi"},
        {"contents": [{"parts": [{"text": 1}]}]},
        {"generationConfig": {"maxOutputTokens": "many"}},
        {"generationConfig": {"maxOutputTokens": True}},
        {"generationConfig": {"maxOutputTokens": 1.5}},
        {"generationConfig": {"temperature": "hot"}},
        {"generationConfig": []},
        {"generationConfig": {"responseSchema": {"properties": []}}},
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(document: object) -> None:
    """A value that its field cannot hold is refused, twice the same."""
    for _ in range(2):
        with pytest.raises(WrongValueError):
            read("GenerateContentRequest", document)


@pytest.mark.parametrize("value", [7, "7", 7.0])
def test_integers_come_in_three_spellings(value: object) -> None:
    """An integer may be a number, a string or a number with a zero fraction, as in protobuf's JSON."""
    assert read("GenerationConfig", {"maxOutputTokens": value}) == {"maxOutputTokens": 7}


@given(st.binary(max_size=64))
def test_base64_of_either_alphabet_padded_or_not_is_read(data: bytes) -> None:
    """All four ways to write bytes give the same bytes."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert decode_base64(text, where="x") == decode_base64(text.rstrip("="), where="x") == data
