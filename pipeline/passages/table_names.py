"""Names of the tables of passages and concepts, and the command that brings passages in."""

from pipeline.core.command_hint import CommandHint, HintTemplate

PASSAGES = "passages"
CONCEPTS = "passage_concepts"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "passage_concepts_of_passage"
HOW_TO_BEGIN = HintTemplate(
    "`{}` brings passages in",
    CommandHint("import-passages", passages="file.jsonl"),
)
