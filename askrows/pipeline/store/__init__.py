"""The database, on SQLite and PostgreSQL alike. Each module has a kind of row.

A version is `task@n/model`; a prompt version is `task@n`, which means all its models. Corrections
have the version `person`. The column of a row's id has the name `item_id`. The journal is the table
`askrows_events`, with a line for each change of a state.

- `schema` defines all tables. `database` opens transactions, `sqlite` and `postgresql` connections.
  `locks` has the locks of a workspace.
- `workspace` has the workspace's row and writes its journal. `journal` has facts that only the
  journal contains, and `tag_merges` merges of tags. `task_record` is a registered task.
- `rows` has rows of sources. `claims` has the claims on rows, due retries and parked rows. `again`
  has the rows that a person wants to ask again. `text_hash` hashes a text in SQL.
- `batches` has batches, and is the only module that changes their states. `runs` has runs of `tag`
  and pilots. `money` sums up costs, and `request_history` lists requests with their replies.
- `answers` has answers and failed attempts, `answer_counts` counts both, `confidences` the
  probabilities of decisions, and `edits` corrections.
- `erasure` erases a row from all tables.
"""
