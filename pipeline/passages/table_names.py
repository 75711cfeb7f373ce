"""Names of the tables of passages and concepts, and of the index that marks their adoption."""

PASSAGES = "passages"
CONCEPTS = "passage_concepts"
# The last index that adoption creates. If it exists, both tables were adopted completely.
ADOPTION_INDEX = "passage_concepts_of_passage"
