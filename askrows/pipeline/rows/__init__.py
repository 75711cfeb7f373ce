"""Rows of tables and files: read, synced, listed, filtered, imported and exported.

Reading a source:

- `source` reads the rows of a user's task: a file, a SELECT, or rows from Python. It reads a file
  by the function of its format, in `csv_table`, `sheet` or `named_cells`; `headers` finds the
  header. `source_file` detects the format and the encoding (`encodings`) of a file.
- `row_findings` checks keys and texts of rows, and `cells` converts their cells. `columns` maps
  the names in a file to columns. `pictures` reads images.

Storing rows:

- `row_sync` syncs the stored rows with their source; `row_import` imports a file, and
  `folder_import` the images of a folder. `stored_rows` stores, parses and hashes the values of
  rows.
- `task_tables` makes or adopts the tables of a task: `folder_files` is the table of an imported
  folder, and `database_table` that of other rows. `reflection` reads the columns of
  other programs' tables, and `refusals` the rules that stop a change. `write_to` writes answers
  into such tables.

Using rows:

- `row_state` names the states, in the order of decision and in that of reports. `task_rows` has the
  rows of a task, `TaskRows`: the condition of each state, and the counts. `kept_counts` keeps the
  counts of unchanged rows.
- `grid` lists, filters and counts rows by `where_sql` and `facets`; `view_row` is one listed row
  with its columns. `answer_views` has the SQL views with answers.
- `export` writes rows in each format.
"""
