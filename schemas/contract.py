"""How a frame is held to its contract: one class per concept, checked whole, by Pandera."""

from typing import Annotated, Any

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from schemas import atoms as _atoms  # noqa: F401  Registers Int128 with Pandera.
from schemas.errors import BrokenInvariant

Instant = Annotated[pl.Datetime, "ns", "UTC"]


class Contract(pa.DataFrameModel):
    """A frame with exactly these columns, of exactly these types. No coercion: it rounds and accepts floats."""

    class Config:
        strict = True
        coerce = False

    @classmethod
    def names(cls) -> list[str]:
        """The columns, in the order in which the contract explains them."""
        return list(cls.to_schema().columns)

    @classmethod
    def dtypes(cls) -> dict[str, pl.DataType]:
        """The Polars type of each column: the schema of an empty frame."""
        return {name: column.dtype.type for name, column in cls.to_schema().columns.items()}

    @classmethod
    def empty(cls, *_args: Any) -> pl.DataFrame:  # type: ignore[override]
        """No rows, the right columns."""
        return pl.DataFrame(schema=cls.dtypes())

    @classmethod
    def hold(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame` with its columns in order, or raise BrokenInvariant naming columns and checks, not rows.

        The frame must be collected: of a LazyFrame Pandera checks the schema and silently skips the data.
        """
        if not isinstance(frame, pl.DataFrame):
            raise BrokenInvariant(f"a frame of {cls.__name__} was not collected, so its data cannot be checked.")
        try:
            checked = cls.validate(frame, lazy=True)
        except SchemaErrors as error:
            seen = error.failure_cases.select("column", "check").unique().sort("column", "check").rows()
            found = "; ".join(f"{column}: {check}" for column, check in seen[:8])
            raise BrokenInvariant(
                f"a frame of {cls.__name__} breaks its contract in {error.failure_cases.height:,} places ({found}). "
                "Nothing was written. This is a fault of Trine or of a venue module: please report it."
            ) from error
        return checked.select(cls.names())
