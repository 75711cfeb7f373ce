"""The workspace: its folder, its database, and the consent to change them.

`open_workspace` is the only module. It makes the frozen value `OpenWorkspace`, which each command
gets.

The workspace knows no task: `tasks.selection` chooses it, and `ops.open_task` does both.
"""
