"""Tasks: declarations and their files, versions, prompts, requests, answers and corrections.

Declarations:

- `task` is the class of all tasks; `task_grid` has its lists and exports, and `task_index` its
  entries of the index. `shipped` has the task files that come with askrows, and `shipped_task`
  registers packages of tasks. `task_values` has the types that tasks exchange with other packages.
- `task_file` finds and loads task files, `user_file` calls their functions, `task_faults` says what
  is wrong in them, and `task_template` writes new ones.
- `task_registry` records tasks in the database. `declaration_changes` decides which edits need a
  new version.
- `selection` chooses the tasks of a command. `task_sync` reads their sources.
  `announcements` warns of placeholder answers.

Requests and answers:

- `claiming` selects the rows that can be asked, claims them, and marks rows to ask them again.
- `prompt_builder` fills a prompt, `listed_terms` limits answers to the terms of TAGS_FROM=, and
  `request_builder` makes request lines. `row_images` adds images.
- `equal_rows` gives rows with equal inputs the answer of one request.
- `request_outcomes` validates replies, stores answers and failures, and decides what parks a row.
- `other_values` stores values of other programs as answers, and `derived_values` computes values
  from rows and answers.
- `tag_lists` counts and merges the tags in lists of answers.
- `corrections` stores corrections of people, and `right_value_file` reads them from a file.
- `row_export` writes rows with their answers to a file.
"""
