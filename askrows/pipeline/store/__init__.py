"""The database, on SQLite and PostgreSQL alike. Each module has a kind of row.

A version is `task@n/model`; a prompt version is `task@n`, which means all its models. Corrections
have the version `person`. The column of a row's id has the name `item_id`. The journal is the table
`askrows_events`, with a line for each change of a state.
"""
