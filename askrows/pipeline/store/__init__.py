"""The database, on SQLite and PostgreSQL alike. Each module has a kind of row.

- `schema` defines the tables. `database` opens them for transactions; `sqlite` and `postgresql`
  have what differs. `text_hash` is SHA-256 in SQL, and `locks` names what one process does.
- `workspace` has the row of the workspace, its journal and its tasks. `task_record` has the record
  of a task, and compares versions. `journal` has facts that only lines of the journal contain, and
  `tag_merges` merges of tags.
- `rows` has the rows of sources, and cells of files beside a table. `claims` has who asks them and
  their failed attempts, `again` who wants them asked again.
- `batches` moves batches between states, `runs` has runs of `tag` and pilots, `request_history` the
  sent requests, and `money` their costs.
- `answers` has answers and attempts, `confidences` how sure a model was, `edits` the corrections of
  people, `answer_counts` the counts of all, and `erasure` deletes one row everywhere.

A version is `task@n/model`; a prompt version is `task@n`, which means all its models. Corrections
have the version `person`. The journal is the table `askrows_events`, with a line for each change of
a state.
"""
