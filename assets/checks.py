"""What Dagster shows beside the assets: statements that are true when they pass.

They inform. What must stop a cycle is refused before anything is written, or by the quality verdict that the ledger
asks for: a check of Dagster's does neither.
"""

import warnings
from typing import Any

import dagster as dg
import polars as pl

from assets.partitions import cycles
from schemas.atoms import sum_atoms

# Partitions of a check are a preview in Dagster 1.13; the warning would stand before every run.
warnings.filterwarnings("ignore", category=dg.PreviewWarning)


def _told(
    passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR, **counts: int
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=bool(passed), severity=severity, metadata=counts)


@dg.asset_check(asset="fills", partitions_def=cycles)
def every_record_is_accounted_for(fills: dict[str, Any]) -> dg.AssetCheckResult:
    """Records in = accepted + quarantined + duplicates, in every file."""
    counts = fills["counts"]
    lost = counts.filter(pl.col("records") != pl.col("accepted") + pl.col("quarantined") + pl.col("duplicates"))
    return _told(lost.is_empty(), files=counts.height, files_that_do_not_add_up=lost.height)


@dg.asset_check(asset="fills", partitions_def=cycles)
def nothing_is_quarantined(fills: dict[str, Any]) -> dg.AssetCheckResult:
    """No venue file, and no row of one, was kept out."""
    rows = fills["quarantined"].height
    return _told(rows == 0, dg.AssetCheckSeverity.WARN, quarantined=rows)


@dg.asset_check(asset="balances", partitions_def=cycles)
def book_equals_statement(balances: dict[str, Any]) -> dg.AssetCheckResult:
    """Every custodian holds what the last cycle's book says."""
    breaks = balances["available"].filter(pl.col("break_atoms") != 0).height
    return _told(breaks == 0, dg.AssetCheckSeverity.WARN, accounts_with_a_break=breaks)


@dg.asset_check(asset="net_positions", partitions_def=cycles)
def positions_sum_to_zero(net_positions: dict[str, Any]) -> dg.AssetCheckResult:
    """The net positions of each instrument sum to zero."""
    sums = sum_atoms(net_positions["positions"], ["instrument"], ["net_atoms"])
    off = sums.filter(pl.col("net_atoms") != 0).height
    return _told(off == 0, instruments=sums.height, instruments_that_do_not=off)


@dg.asset_check(asset="selection", partitions_def=cycles)
def everything_settles(selection: dict[str, Any]) -> dg.AssetCheckResult:
    """No chain waits."""
    waiting = selection["decisions"].filter(~pl.col("settles")).height
    return _told(waiting == 0, dg.AssetCheckSeverity.WARN, chains=selection["decisions"].height, waiting=waiting)


@dg.asset_check(asset="journal", partitions_def=cycles)
def postings_balance(journal: dict[str, Any]) -> dg.AssetCheckResult:
    """The postings of each instrument sum to zero."""
    off = sum_atoms(journal["postings"], ["instrument"], ["atoms"]).filter(pl.col("atoms") != 0).height
    return _told(off == 0, postings=journal["postings"].height, instruments_that_do_not=off)
