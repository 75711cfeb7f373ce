"""The local engine's models: vectors, tags and concepts that need no key, no network and no training.

`encoder` turns texts into vectors, `tagger` turns a text into domain tags, `concepts` finds the concepts in one. All
are small, real and deterministic; `docs/local-engine.md` says what they are good and bad at. Importing this package
loads nothing.
"""
