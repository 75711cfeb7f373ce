"""The database, on SQLite and PostgreSQL alike. Each module has a kind of row.

A version is `task@n/model`; its column, and some parameters, have the name `extractor`. A prompt
version is `task@n`, which means all its models. Corrections have the version `person`. The journal
is the table `findable_events`, with a line for each change of a state.
"""
