"""Keeping a workspace: doctor, backup, restore, forget, clean, move, rebind, versions, status, export."""
