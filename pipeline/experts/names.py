"""Names of the table of people and of the index that marks it as adopted."""

EXPERTS = "experts"
# This index is created last: if it exists, the adoption of the table was completed.
ADOPTION_INDEX = "findable_experts_unscored"
