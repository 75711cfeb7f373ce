"""Answers of the local engine: pure functions of a request, made from the words of its text.

- `fill` fills the schema of an answer, with the sentences and key phrases of `text` and the
  subjects of `terms`.
- `encoder` turns texts into vectors.
"""
