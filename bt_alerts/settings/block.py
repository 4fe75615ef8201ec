"""The base of every block of settings."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Block(BaseModel):
    """What every block of settings has in common: unknown keys are refused, and nothing can be changed later."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
        protected_namespaces=(),
    )
    #: Keys that a later version will have.
    later: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def known_keys(cls) -> dict[str, str]:
        """``{key in settings: attribute}``."""
        return {field.alias or name: name for name, field in cls.model_fields.items()}
