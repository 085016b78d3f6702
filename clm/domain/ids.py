"""Names of runs."""

from datetime import UTC, datetime


def run_id(now: datetime, entropy: bytes) -> str:
    """Return `p07_<UTC>_<8 hex>`: sortable by time; the last part makes it unique."""
    return f"p07_{now.astimezone(UTC):%Y%m%d_%H%M%S}_{entropy[:4].hex()}"
