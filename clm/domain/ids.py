"""How runs and model versions are named."""

import re
from datetime import UTC, datetime

VERSION_PATTERN = re.compile(r"patchtst_v[0-9]{8}_[0-9]{6}")
"""A model version is the stem of the file the engine will be pointed to."""


def run_id(now: datetime, entropy: bytes) -> str:
    """Return `p07_<UTC>_<8 hex>`: sortable by time, unique by its last part."""
    return f"p07_{now.astimezone(UTC):%Y%m%d_%H%M%S}_{entropy[:4].hex()}"


def version(now: datetime) -> str:
    """Return `patchtst_v<UTC>`; the same second gives the same name, the registry resolves clashes."""
    return f"patchtst_v{now.astimezone(UTC):%Y%m%d_%H%M%S}"
