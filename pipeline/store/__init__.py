"""The database: tables, schema, and one module per kind of row. Beside a subject's table, the only room with SQL."""
