"""Passages: texts, and concepts with quoted evidence."""

from pipeline.core.command_hint import CommandHint, HintTemplate

PASSAGES = "passages"
CONCEPTS = "passage_concepts"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "passage_concepts_of_passage"
HOW_TO_BEGIN = HintTemplate(
    "`{}` imports passages",
    CommandHint("import-passages", passages="file.jsonl"),
)
