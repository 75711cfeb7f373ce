"""The workspace: its folder, its database, and the consent to change them.

- `open_workspace` is the frozen value `OpenWorkspace`: what each command has of a workspace.
- `opening` prepares the folder and the database, checks the schema number, and asks for consent.
- `data_folder` makes the folder DATA, refuses links that lead out of it, and protects its files.

The workspace knows no task: `tasks.selection` chooses it, and `ops.open_task` does both.
"""
