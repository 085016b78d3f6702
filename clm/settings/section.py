"""A section of the settings: fields that belong together, and the names that they have in clm.env."""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

PREFIX = "CLM_"
Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Fields under one heading; the docstring below each field is the operator's documentation.

    `Fields` inherits from all sections, so the name of a validator must be unique among them.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    heading: ClassVar[str]
    group: ClassVar[str | None] = None
    """Name of the group, as in CLM_TRAINING__EPOCHS; None for the names without a group."""
    short: ClassVar[Mapping[str, str]] = {}
    """Field to name within the group, if the two differ."""

    @classmethod
    def names(cls) -> Iterator[tuple[str, str]]:
        """Yield the name in clm.env and the field of each setting of this section."""
        before = PREFIX if cls.group is None else f"{PREFIX}{cls.group}__"
        # Own annotations only, in the order of the source; inherited fields belong to other sections.
        for field in cls.__annotations__:
            if field in cls.model_fields:
                yield before + cls.short.get(field, field).upper(), field
