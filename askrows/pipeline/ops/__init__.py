"""Keeping a workspace: opened for a task, checked, backed up, and cleaned.

- `open_task` opens the workspace and the task of a command.
- `status` reports the state of a workspace, and `next_command` says what to type next. Both read
  the `Snapshot` of `run`.
- `listed_rows` lists rows, shows one, and unparks rows. `versions` lists versions, and rolls one
  back.
- `doctor` checks everything stored; `health` answers health checks of `work`.
- `backup` and `restore` copy a workspace.
- `forget` erases rows, `clean` old files, and `remove_tables` askrows' own tables.
"""
