"""Answers of the local engine: pure functions of a request, made from the words of its text."""
