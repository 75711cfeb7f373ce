"""The database, on SQLite and PostgreSQL alike. Each module has a kind of row."""
