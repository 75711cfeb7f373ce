"""Keeping a workspace: doctor, backup, restore, forget, clean, versions, status, export."""
