"""Quality of answers: figures, gates, reports, and pilots whose answers gates judge.

A figure is a measured number. A gate is a figure with bounds; to judge a figure is to compare its
value with them. A pilot is a small random sample of rows that is asked first. A right value is the
value of a field: a person corrected or confirmed it. A version is `task@n/model`, and a prompt
version is `task@n`.

- `figures` defines figures and gates. `measure` computes those of user tasks; passages
  have a module `quality` of their own. `tag_figures` measures lists of texts.
- `evaluate` measures a task, judges the figures, and writes the `report`.
- `pilot` draws pilots, and decides whether all rows may be asked.
- `drawn_rows` draws rows for people to check.
- `right_value_accuracy` compares the answers of versions with right values.
"""
