"""Commands that take several steps.

- `tag` asks all open rows; `batch_steps` takes the single steps of a batch.
- `ask` asks about a table at once, `try_out` tries rows, and `verify` tests key and API. `worker`
  does due work as jobs, on several machines.
- `new_task_files` writes a task file, with the columns of `column_guesses`. `table_replacement`
  replaces the table of a task.
- `row_importers` imports the rows of files and folders; `add_row` adds one.
- `correct_rows` corrects answers, and `labelled_rows` measures versions by them.
- `python_api` is `askrows.Workspace`; `python_arguments` checks its arguments, and
  `python_results` has its results.
"""
