"""What a venue says happened: first as text, then as a fill.

A fill is one *report*, from one side's point of view; a trade is made where the reports of two sides agree.
"""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract, Instant

STAGES = ["fills", "control", "custody", "credit", "clients", "reference"]  # Where a file enters.
SIDES = {"1": "BUY", "2": "SELL"}  # FIX 54


class Report(Contract):
    """One row per record of a venue's file, as text: what every venue module returns, valid or not.

    Amounts are decimal strings, exactly as the venue wrote them. Nothing is null because it was hard to read: a
    record that the dialect cannot read has its reason in `flaw` and goes to quarantine with its bytes.
    """

    record: pl.UInt32 = pa.Field(description="Number of the record in the file, from 1. A CSV header is not one.")
    offset: pl.UInt64 = pa.Field(description="Where its bytes start in the file. 0 in Parquet, which has no lines.")
    length: pl.UInt32 = pa.Field(description="How many bytes it has, its line end included. 0 in Parquet.")
    flaw: str = pa.Field(nullable=True, description="Why it cannot be read (schemas.reasons.Flaw), or null.")
    exec_type: str = pa.Field(nullable=True, description="FIX 150: F trade, G correct, H cancel (bust).")
    exec_id: str = pa.Field(nullable=True, description="FIX 17, unique per venue and trade date.")
    exec_ref_id: str = pa.Field(nullable=True, description="FIX 19: the report that a G or H replaces or cancels.")
    match_id: str = pa.Field(nullable=True, description="FIX 880: the same in the reports of both sides.")
    symbol: str = pa.Field(nullable=True, description="The venue's own, resolved by reference/symbols.csv.")
    side: str = pa.Field(nullable=True, description="FIX 54: 1 buy, 2 sell, seen from `client`.")
    quantity: str = pa.Field(nullable=True, description="Of the base instrument (FIX 32).")
    price: str = pa.Field(nullable=True, description="Quote per base (FIX 31).")
    quote_quantity: str = pa.Field(
        nullable=True, description="The venue's own quote amount (FIX 1056 or 119). Null if it states none."
    )
    traded_at: str = pa.Field(nullable=True, description="RFC 3339 in UTC, 0 to 9 digits: 2026-11-20T04:05:06.789Z.")
    trade_on: str = pa.Field(nullable=True, description="FIX 75, 2026-11-20. Null: the UTC date of traded_at.")
    value_on: str = pa.Field(nullable=True, description="FIX 64. Null: the trade date (crypto settles T+0).")
    client: str = pa.Field(nullable=True, description="LEI. Null: from reference/trading_accounts.csv by `account`.")
    prime_broker: str = pa.Field(nullable=True, description="LEI. Null: from the trading account, else none.")
    custodian: str = pa.Field(nullable=True, description="LEI, where the venue names one: must be the client's.")
    venue: str = pa.Field(nullable=True, description="MIC, where the row names one: must be the folder's.")
    account: str = pa.Field(nullable=True, description="The client's trading account at the venue.")
    fee: str = pa.Field(nullable=True, description="As the venue wrote it; positive is paid, negative a rebate.")
    fee_symbol: str = pa.Field(nullable=True, description="What the fee is in, as the venue names it.")


REPORT_TEXT = [name for name in Report.names() if name not in ("record", "offset", "length", "flaw")]


class Fill(Contract):
    """One row per accepted report. Instruments and participants are our own stable keys."""

    fill_id: str = pa.Field(unique=True, description="'SPTX:2026-11-20:E1': venue MIC, trade date, exec id.")
    venue: str
    exec_type: str = pa.Field(isin=["F", "G", "H"])
    exec_ref_id: str = pa.Field(nullable=True, description="The fill_id that a G or H refers to.")
    match_id: str = pa.Field(description="'SPTX:2026-11-20:M1'. Both sides carry it; it becomes the chain's id.")
    side: str = pa.Field(isin=["BUY", "SELL"])
    client: str
    prime_broker: str = pa.Field(nullable=True)
    account: str = pa.Field(nullable=True)
    base: str
    quote: str
    # A bust needs no amounts: base_atoms, quote_atoms and price are null in an H that states none, and only there.
    base_atoms: pl.Int128 = pa.Field(nullable=True, gt=0)
    quote_atoms: pl.Int128 = pa.Field(nullable=True, gt=0, description="The venue's own amount, not price x quantity.")
    quote_increment_atoms: pl.Int128 = pa.Field(gt=0, description="Two statements of an amount may differ by it.")
    price: str = pa.Field(nullable=True, description="As written, without leading or trailing zeros.")
    traded_at: Instant
    trade_on: pl.Date
    value_on: pl.Date
    fee: str = pa.Field(nullable=True, description="Kept as written; not yet settled.")
    fee_symbol: str = pa.Field(nullable=True)
    content_hash: str = pa.Field(description="SHA-256 of what the report says, without where it was read.")
    file: str = pa.Field(description="Path below the input folder.")
    file_sha256: str
    record: pl.UInt32
    offset: pl.UInt64
    length: pl.UInt32
    age: pl.UInt32 = pa.Field(description="Cycles that it has waited. 0: it arrived in this one.")
    accepted: bool = pa.Field(description="Its prime broker stood for it in an earlier cycle.")


class Quarantined(Contract):
    """One row per record kept out of a cycle, from any file, and one per file that was kept out whole."""

    stage: str = pa.Field(isin=STAGES)
    file: str
    file_sha256: str
    record: pl.UInt32 = pa.Field(description="0: the whole file.")
    offset: pl.UInt64
    length: pl.UInt32
    flaw: str = pa.Field(description="schemas.reasons.Flaw, the first found.")
    detail: str = pa.Field(description="The column, and what was expected; never the value.")
    raw: pl.Binary = pa.Field(description="The bytes as received; empty for a whole file, which is kept by digest.")


class FileCount(Contract):
    """One row per file of a cycle: rows in = accepted + quarantined + duplicates, always."""

    stage: str = pa.Field(isin=STAGES)
    file: str = pa.Field(unique=True)
    file_sha256: str
    bytes: pl.UInt64
    records: pl.UInt32
    accepted: pl.UInt32
    quarantined: pl.UInt32
    duplicates: pl.UInt32
    flaw: str = pa.Field(nullable=True, description="Why the file was quarantined whole, or null.")
