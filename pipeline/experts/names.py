"""Names of the people's table and of the index by which it is known that the table was adopted."""

EXPERTS = "experts"
# The index that is made last: if it is there, the table was adopted.
MARK = "findable_experts_unscored"
