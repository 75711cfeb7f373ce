"""Experts: people of a table, with tags and a findability score."""
