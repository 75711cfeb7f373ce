"""What all of the engine's own tables are made with."""

from sqlalchemy import BigInteger, Integer, MetaData

METADATA = MetaData()
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up by itself only for INTEGER PRIMARY KEY
