"""The subject passages: texts, and concepts with quoted evidence."""

CONCEPTS = "passage_concepts"
MARK = "passage_concepts_of_passage"  # its index that is made last: where it is, the tables were adopted
HOW_TO_FILL = "`make import-passages PASSAGES=file.jsonl` brings passages in"
