"""The test lab: judged questions, variants of the search measured on them, and what the figures tell apart."""
