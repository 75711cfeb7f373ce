"""Changes of a task's vocabularies that need no new version.

- A term was renamed if its former name is an alias now. Stored answers get the new name at once,
  and count as asked with the new file.
- Terms may be added. Former answers stay valid; `REFRESH=1` asks their rows again.
- Any other change, such as another description, is a change of the question.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.declaration import Declaration, json_schema
from pipeline.core.text import join_first, plural
from pipeline.core.vocabulary import VOCABULARY, fold_term, separate_vocabularies
from pipeline.engine.fingerprint import to_fingerprint_document
from pipeline.store import answer_rewrites, workspace
from pipeline.store.database import Connection
from pipeline.store.workspace import TaskRecord

# Member of a fingerprint document with the terms of the vocabularies.
VOCABULARY_KEY = "vocabulary"
# Description and parent by the name of a term.
TermTexts = Mapping[str, Sequence[str]]


class VocabularyChange(NamedTuple):
    """A change of a task's vocabularies; it keeps stored answers valid if it has no faults."""

    # New name by former name, by file. A removed term has none.
    new_names: Mapping[str, Mapping[str, str]]
    # New terms of all files.
    added_terms: Sequence[str]
    # Why stored answers may be invalid now, or answers to another question.
    faults: Sequence[str]

    @property
    def renamed_terms(self) -> list[tuple[str, str]]:
        """Return the former and the new name of each renamed term."""
        pairs = list[tuple[str, str]]()
        for names in self.new_names.values():
            pairs += [(former, name) for former, name in names.items() if former != name]
        return pairs

    @property
    def summary(self) -> str:
        """Return how many terms were renamed and added, with some names; "" if none were."""
        parts = []
        if self.renamed_terms:
            names = join_first([f"{former} = {name}" for former, name in self.renamed_terms])
            parts.append(f"renamed {plural(len(self.renamed_terms), 'term')} ({names})")
        if self.added_terms:
            names = join_first(self.added_terms)
            parts.append(f"added {plural(len(self.added_terms), 'term')} ({names})")
        return " and ".join(parts)


def find_vocabulary_change(
    former_document: Mapping[str, Any],
    declaration: Declaration,
) -> VocabularyChange | None:
    """Return how a task's vocabularies changed since a fingerprint document.

    The change contains the new names of renamed terms, added terms, and faults. A fault is a reason
    why stored answers may be invalid now, such as a removed term, or may be answers to another
    question, such as a changed description. Equal vocabularies give a change without renamed terms,
    added terms and faults.

    Args:
        former_document: The former members of the declaration, from `to_fingerprint_document`.

    Returns:
        None if anything besides the terms changed, such as the prompt or the file of a vocabulary,
        or if the task has no vocabularies.
    """
    document = to_fingerprint_document(declaration)
    former_files = former_document.get(VOCABULARY_KEY, {})
    is_other_change = {**former_document, VOCABULARY_KEY: None} != {
        **document,
        VOCABULARY_KEY: None,
    }
    files = document.get(VOCABULARY_KEY, {})
    if is_other_change or not files or former_files.keys() != files.keys():
        return None

    _, vocabularies = separate_vocabularies(declaration.answer.model_json_schema())
    new_names = {}
    added_terms = list[str]()
    faults = list[str]()
    for file, terms in vocabularies.items():
        names = _find_new_names(former_files[file], terms)
        new_names[file] = names
        added_terms += [name for name in files[file] if name not in names.values()]
        faults += [
            f"{file} {fault}" for fault in _find_faults(former_files[file], files[file], names)
        ]
    return VocabularyChange(new_names, added_terms, faults)


def _find_new_names(
    former_terms: TermTexts,
    terms: Sequence[Mapping[str, Any]],
) -> dict[str, str]:
    """Return the present name of each former term that is a term or an alias now."""
    names_by_form = {}
    for term in terms:
        for text in (term["name"], *term["aliases"]):
            names_by_form[fold_term(text)] = term["name"]
    return {
        name: names_by_form[fold_term(name)]
        for name in former_terms
        if fold_term(name) in names_by_form
    }


def _find_faults(
    former_terms: TermTexts,
    current_terms: TermTexts,
    new_names: Mapping[str, str],
) -> Iterator[str]:
    """Yield a fault for each former term that is gone or means something else now.

    These are faults: the term has no present name, it is a heading now (the parent of others), or
    its description or parent changed. If several former terms were merged into one, the merged term
    must have the description and parent of one of them, else it has a single fault.

    Args:
        former_terms: Description and parent of each former term.
        current_terms: Description and parent of each present term.
        new_names: Present names by former names.
    """
    headings = {parent for _, parent in current_terms.values()}
    former_headings = {parent for _, parent in former_terms.values()}
    former_texts = dict[str, list[list[str]]]()
    for former_name, (description, parent) in former_terms.items():
        name = new_names.get(former_name)
        if name is None:
            yield f"has no term or alias {former_name!r} any more"
            continue
        if name in headings and former_name not in former_headings:
            yield f"has {name!r} as a heading now"
        former_texts.setdefault(name, []).append([description, new_names.get(parent, "")])

    for name, texts in former_texts.items():
        if list(current_terms[name]) not in texts:
            yield f"has another description or parent of {name!r}"


def apply_vocabulary_change(
    tx: Connection,
    record: TaskRecord,
    declaration: Declaration,
    change: VocabularyChange,
    *,
    former_fingerprint: str,
) -> list[str]:
    """Rename terms in stored answers of all versions, and record the change as an event.

    If an answer has a renamed term, a change of the task's answers is recorded, so that the index
    becomes outdated. If no term was added, the stored answers and batches get the present
    fingerprint in place of the former one, so they count as asked with the present vocabulary. If
    terms were added, they keep the former fingerprint. Runs in the caller's transaction, which
    stores the record.

    Args:
        tx: The caller's transaction.
        record: The new record of the task, with the present fingerprint; not stored yet.
        declaration: The declaration of the task's file.
        change: The renamed and the added terms.
        former_fingerprint: The fingerprint before the change.

    Returns:
        Lines to print.
    """
    renamed_count = 0
    if change.renamed_terms:
        schema = json_schema(declaration.answer, by_alias=False)
        renamed_count = answer_rewrites.rewrite_answers(
            tx,
            record.name,
            [f"{record.name}@{version}" for version in workspace.list_versions(tx, record.name)],
            lambda text: _rename_in_answer(text, schema, change.new_names),
        )
    if renamed_count:
        workspace.record_row_change(tx, record.name)
    if not change.added_terms:
        answer_rewrites.replace_fingerprint(
            tx,
            record.name,
            former_fingerprint,
            record.fingerprint,
        )

    reason = f"the vocabulary {change.summary or 'changed'}"
    workspace.record_event(
        tx,
        "task",
        record.name,
        old=former_fingerprint,
        new=record.fingerprint,
        reason=reason,
        now=record.at,
    )
    line = f"{record.name}: {reason}"
    if renamed_count:
        line += f"; {plural(renamed_count, 'stored answer')} got the new names"
    return [line]


def _rename_in_answer(
    text: str,
    schema: Mapping[str, Any],
    new_names: Mapping[str, Mapping[str, str]],
) -> str:
    """Return the JSON of an answer with new names of terms; unchanged if it has none."""
    answer = json.loads(text)
    renamed_answer = _rename_in_value(answer, schema, new_names)
    if renamed_answer == answer:
        return text
    # The form of pydantic, so that the answer can be copied.
    return json.dumps(renamed_answer, ensure_ascii=False, separators=(",", ":"))


def _rename_in_value(
    value: Any,
    node: Mapping[str, Any],
    new_names: Mapping[str, Mapping[str, str]],
) -> Any:
    """Return a value with new names of terms in the fields that have a vocabulary.

    All other values, and terms without a new name, stay as they are.

    Args:
        node: The node of the JSON schema that describes the value; {} if nothing does.
        new_names: New names by former name, for each vocabulary file of the schema; {} for a file
            without renamed terms.
    """
    for choice in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        value = _rename_in_value(value, choice, new_names)

    if isinstance(value, str) and VOCABULARY in node:
        return new_names[node[VOCABULARY]["file"]].get(value, value)
    if isinstance(value, list):
        items_node = node.get("items", {})
        return [_rename_in_value(member, items_node, new_names) for member in value]
    if isinstance(value, dict):
        nodes = node.get("properties", {})
        other_node = node.get("additionalProperties")
        default_node = other_node if isinstance(other_node, dict) else {}
        return {
            name: _rename_in_value(member, nodes.get(name, default_node), new_names)
            for name, member in value.items()
        }
    return value


def find_outgrown_fingerprints(tx: Connection, record: TaskRecord) -> list[str]:
    """Return the fingerprints of a record's version whose vocabularies had fewer terms.

    Answers with such a fingerprint were given without a choice of the newest terms. The record's
    fingerprint must be the newest that is stored.
    """
    documents = workspace.read_documents(tx, record.name, record.version)
    current_files = documents[record.fingerprint].get(VOCABULARY_KEY, {})
    return [
        fingerprint
        for fingerprint, document in documents.items()
        if any(
            terms.keys() - document.get(VOCABULARY_KEY, {}).get(file, {}).keys()
            for file, terms in current_files.items()
        )
    ]
