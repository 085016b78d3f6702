"""A figure that may be unknown."""

from typing import Annotated

NAN_ALLOWED = "NaN if it is unknown"

Figure = Annotated[float, NAN_ALLOWED]
"""A float that is NaN if it is unknown. A plain `float` in a record is finite."""
