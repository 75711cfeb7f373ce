"""Test how vocabulary files are read, and which texts name a term."""

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ValidationError, create_model

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.vocabulary import Vocabulary

HEADER = "term,description,aliases\n"


def read(path: Path, text: str | bytes) -> Vocabulary:
    """Return the vocabulary of a file with a text."""
    file = path / "topics.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return Vocabulary(str(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "topics.csv, line 1: the header has no column 'term'"),
        ("name,description\nlamp,\n", "topics.csv, line 1: the header has no column 'term'"),
        (HEADER, "topics.csv has no terms"),
        (HEADER + "\n ,,\n", "topics.csv has no terms"),
        (b"term\nd\xe9but\n", "topics.csv is not in UTF-8"),
        (HEADER + "lamp,a light,,\n", "line 2: there are more cells than columns"),
        (HEADER + ",a light,\n", "line 2: the term is missing"),
        (HEADER + "lamp,,\n\nLAMP,,\n", "line 4: 'LAMP' is on line 2 already"),
        (
            HEADER + "lamp,,light\nsun,,Light|star\n",
            "line 3: 'Light' is on line 2 already",
        ),
        (
            HEADER + "lamp,,sun\nsun,,\n",
            "line 3: 'sun' is on line 2 already",
        ),
        (
            HEADER + "".join(f"term {number},,\n" for number in range(256)),
            "topics.csv has 256 terms; at most 255 are possible",
        ),
    ],
)
def test_faults_of_a_file_are_named_with_their_lines(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    """A faulty file is refused with its name and the line of the fault."""
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert message in caught.value.message


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A path without a file is refused."""
    with pytest.raises(InputError, match="does not exist"):
        Vocabulary(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "Care at home,,nursing | visits\n",
        "\ufeffTerm;Aliases\r\nCare at home;nursing|visits\r\n",
        "term\taliases\nCare at home\tnursing;visits\n",
    ],
)
def test_terms_are_found_by_name_and_alias_in_any_form(tmp_path: Path, text: str) -> None:
    """Case, white space and equivalent characters of a term or an alias do not matter."""
    vocabulary = read(tmp_path, text)
    for form in ("Care at home", "care  AT home", "Nursing", "\uff56isits"):
        assert vocabulary.find_term(form) == "Care at home"
    assert vocabulary.find_term("care") is None


def test_vocabulary_belongs_to_a_text(tmp_path: Path) -> None:
    """A field of another type is refused when its model is made."""
    vocabulary = read(tmp_path, HEADER + "lamp,,\n")
    kind: Any = Annotated[list[str], vocabulary]
    with pytest.raises(TypeError, match="belongs to a text"):
        create_model("Answer", topics=(kind, ...))


def test_stored_terms_are_valid_again(tmp_path: Path) -> None:
    """An answer is stored with the names of terms, and validates to the same answer."""
    topic: Any = Annotated[str, read(tmp_path, HEADER + "lamp,,light\n")]
    model: type[BaseModel] = create_model("Answer", topics=(list[topic], ...))
    answer = model.model_validate_json('{"topics": ["LIGHT", "lamp"]}', strict=True)
    assert answer.model_dump_json() == '{"topics":["lamp","lamp"]}'
    assert model.model_validate_json(answer.model_dump_json(), strict=True) == answer
    with pytest.raises(ValidationError, match="'lmap' is not a term of"):
        model.model_validate({"topics": ["lmap"]})
