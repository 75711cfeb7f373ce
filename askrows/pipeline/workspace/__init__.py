"""The workspace: its folder, its database, and the consent to change them.

- `open_workspace` makes the frozen value `OpenWorkspace`, which each command gets.
- `opening` has the kinds of access of a command, and asks for consent.
- `data_folder` makes and marks the folder, and refuses links that lead out of it.

The workspace knows no task: `tasks.selection` chooses it, and `ops.open_task` does both.
"""
