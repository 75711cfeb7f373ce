"""The database: one module a kind of row, on SQLite and PostgreSQL alike."""
