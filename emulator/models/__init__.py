"""The local engine's models: vectors and tags that need no key, no network and no training.

`encoder` turns texts into vectors, `tagger` turns a text into domain tags. Both are small, real and deterministic;
`docs/local-engine.md` says what they are good and bad at. Importing this package loads nothing.
"""
