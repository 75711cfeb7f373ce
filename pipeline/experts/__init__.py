"""All that only experts have: their table, reading them from files, the tags task, the score, the index text."""
