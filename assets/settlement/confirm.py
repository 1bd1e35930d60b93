"""What became of instructions: by what their custodians say of them, else by statements that show them executed."""

import polars as pl

from schemas.participant import Account


def derive_outcomes(
    pending: pl.DataFrame, confirmations: pl.DataFrame, available: pl.DataFrame, breaks: pl.DataFrame, *, clear: bool
) -> dict[str, dict[str, str]]:
    """Return the outcome of each instruction that a cycle's inputs tell: {batch_id: {instruction_id: outcome}}.

    `pending` and `breaks` are those of `assets.ledger.store.Store`, for this cycle; `confirmations` are Confirmation,
    `available` Available.

    A custodian's own word comes first. Without one, a COMPLETE statement that equals the account's book exactly shows
    that all in the book was executed: DONE. It does so only if no cycle since has found a break, because from a break
    on the book follows the statement, executed or not. A break itself says nothing: deposits from outside make them.
    A rejection is not undone by a statement, only by word. `clear` is False when a row of the custodians' word is in
    quarantine: nobody knows which instruction it is about, so statements confirm nothing in this cycle.
    """
    new = pending.filter(~pl.col("heard"))
    told = new.drop("outcome").join(confirmations.select("instruction_id", "outcome"), on="instruction_id")
    agreed = available.filter(
        pl.col("statement_atoms").is_not_null() & pl.col("book_atoms").is_not_null() & (pl.col("break_atoms") == 0)
    )
    broken = new.join(breaks, on=Account.names(), suffix="_of_break").filter(
        pl.col("opens_at_of_break") > pl.col("opens_at")
    )
    shown = (
        new.filter(pl.col("outcome").is_null() | (pl.col("outcome") == "UNKNOWN"), pl.lit(clear))
        .join(agreed, on=Account.names(), how="semi")
        .join(pl.concat([frame.select("instruction_id") for frame in (told, broken)]), on="instruction_id", how="anti")
        .with_columns(outcome=pl.lit("DONE"))
    )
    outcomes: dict[str, dict[str, str]] = {}
    for frame in (told, shown):
        for batch_id, instruction_id, outcome in frame.select("batch_id", "instruction_id", "outcome").rows():
            outcomes.setdefault(batch_id, {})[instruction_id] = outcome
    return outcomes
