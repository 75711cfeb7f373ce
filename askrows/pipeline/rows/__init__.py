"""Rows of tables and files: read, synced, listed, filtered, imported and exported."""
