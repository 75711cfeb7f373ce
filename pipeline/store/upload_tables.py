"""The engine's own tables of images that are too large for a request, each uploaded to the API once."""

from sqlalchemy import BigInteger, Column, ForeignKey, Table, Text

from pipeline.store.table_base import METADATA, BigId
from pipeline.store.times import UtcTime

uploads = Table(
    "findable_uploads",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("sha256", Text, nullable=False, index=True),  # of the bytes as they are sent
    Column("mime_type", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("began_at", UtcTime, nullable=False),
    Column("name", Text),  # at the API, NULL as long as it is not whole there
    Column("uri", Text),
    Column("uploaded_at", UtcTime),
    Column("expires_at", UtcTime),
)

# what needs them: batches until they are over, and processes until a moment
upload_uses = Table(
    "findable_upload_uses",
    METADATA,
    Column("id", BigId, primary_key=True),
    Column("upload", ForeignKey("findable_uploads.id"), nullable=False, index=True),
    Column("batch", ForeignKey("findable_batches.number"), index=True),
    Column("owner", Text),
    Column("until", UtcTime),
)

UPLOADS = (uploads, upload_uses)
