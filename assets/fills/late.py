"""Reports that came after a cycle and are about it: what a replay that knows today's state settles it with.

Never part of the normal road, where what comes late belongs to the cycle in which it came.
"""

from datetime import datetime

import polars as pl

from assets.reference import Reference
from schemas.fill import FileCount, Fill

LATE_FILE = "late/fills"  # The name under which late reports are counted beside the cycle's files.


def late_reports(known: pl.DataFrame, later: pl.DataFrame, reference: Reference, cut_at: datetime) -> pl.DataFrame:
    """Return those of `later` (Fill) that the cycle of `known` (Fill) would have settled with, had they come in time.

    `known` are the fills of the cycle, new and carried; `later` those that later cycles accepted. Trades (F) count when
    they were done by the cut (R1). Corrections and busts count when what they name does: it is known, or late as well.
    A correction is dated when it was made, so it is taken back to the cut: what it corrects was traded before. Markets
    and parties must be known in `reference`, the cycle's own.
    """
    cut = pl.lit(cut_at).dt.cast_time_unit("ns")  # As microseconds, Polars would cut the column to them.
    parties = reference.participants["participant"].implode()
    later = later.join(reference.symbols, on=["venue", "base", "quote"], how="semi").filter(
        ~pl.col("fill_id").is_in(known["fill_id"].implode()),
        pl.col("client").is_in(parties),
        pl.col("prime_broker").is_null() | pl.col("prime_broker").is_in(parties),
    )
    found = later.filter((pl.col("exec_type") == "F") & (pl.col("traded_at") <= cut))
    after = later.filter(pl.col("exec_type") != "F")
    while True:
        seen = pl.concat([known["fill_id"], found["fill_id"]]).implode()
        more = after.filter(pl.col("exec_ref_id").is_in(seen) & ~pl.col("fill_id").is_in(seen))
        if more.is_empty():
            break
        found = pl.concat([found, more])
    return Fill.hold(found.with_columns(pl.min_horizontal("traded_at", cut).alias("traded_at")).sort("fill_id"))


def count_late(late: pl.DataFrame, digest: str) -> pl.DataFrame:
    """Return the FileCount row of late reports, which come from no file of the cycle; none when there are none."""
    if late.is_empty():
        return FileCount.empty()
    row = ("fills", LATE_FILE, digest, 0, late.height, late.height, 0, 0, None)
    return pl.DataFrame([row], schema=FileCount.dtypes(), orient="row")
