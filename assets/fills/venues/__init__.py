"""The dialects in which venues write, one module per form of file. What it means does not belong here."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import polars as pl

from assets.fills.venues import delimited, fix44, parquet, rest
from assets.intake import Slice, SourceFile


class Dialect(NamedTuple):
    """How the files of a venue are read. Both functions may raise FileRefused."""

    cut: Callable[[SourceFile], list[Slice]]  # Into slices of whole records.
    parse: Callable[[Slice], pl.DataFrame]  # Into schemas.fill.Report, text only.
    lines: bool = False  # One record is one line, so that records can be counted in the bytes, apart from `parse`.
    per_account: bool = False  # A file is one trading account's, and is named for it.


DIALECTS = {
    "fix44": Dialect(fix44.cut, fix44.parse, lines=True),
    "delimited": Dialect(delimited.cut, delimited.parse, lines=True),
    "parquet": Dialect(parquet.cut, parquet.parse),
    **{name: Dialect(rest.cut, partial(rest.parse, name), per_account=True) for name in rest.SHAPES},
}
