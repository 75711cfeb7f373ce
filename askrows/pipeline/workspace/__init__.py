"""The workspace: its folder, its database, the consent to change it, and the open workspace."""
