"""Allow only the terms of a vocabulary file in the list of an answer, as TAGS_FROM= says."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from askrows.pipeline.core.declaration import Declaration, list_faults
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.vocabulary import Term, Vocabulary

_SYSTEM = """

The values of {field} come from a list, which the schema of the answer contains. Use only terms of \
this list, each copied as it is: first those that the text supports best. Where none of them fits, \
return an empty list."""
_HASH_DIGITS = 8


def hash_vocabulary(path: Path) -> str:
    """Return the first digits of a hash of the terms of a vocabulary and their descriptions.

    Raises:
        InputError: The file cannot be read or has faults.
    """
    terms = Vocabulary(str(path.absolute())).terms
    texts = sorted((term.name, term.description) for term in terms)
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:_HASH_DIGITS]


def limit_answer_to_vocabulary(declaration: Declaration, vocabulary_path: Path) -> Declaration:
    """Return a declaration whose answer has only terms of a vocabulary in its list.

    The answer has a single field, a list of texts. Its validators get the terms. The system text
    also asks for terms of the list only.

    Raises:
        InputError: The file cannot be read or has faults, or a term is no valid value.
    """
    from pydantic import create_model

    vocabulary = Vocabulary(str(vocabulary_path.absolute()))
    ((name, field),) = declaration.answer.model_fields.items()
    for term in vocabulary.terms:
        _check_term(declaration, vocabulary_path, name, term)
    kind: Any = list[Annotated[str, vocabulary]]
    members: dict[str, Any] = {name: (kind, field)}
    answer = create_model("ListedAnswer", __base__=declaration.answer, **members)
    return replace(
        declaration, answer=answer, system=declaration.system + _SYSTEM.format(field=name)
    )


def _check_term(declaration: Declaration, path: Path, name: str, term: Term) -> None:
    """Raise InputError if a term is no valid value of the field."""
    from pydantic import ValidationError

    try:
        declaration.answer.model_validate({name: [term.name]})
    except ValidationError as error:
        reason = list_faults(error)[0]
        raise InputError(f"{path}, line {term.line}: {reason}; nothing was changed") from None
