"""The subject experts: people, their tags and their score."""
