"""From a decision to what moves: positions of every account, custody instructions, postings."""

from typing import NamedTuple

import polars as pl

from assets.netting.net import require_zero_sum
from schemas.atoms import sum_atoms
from schemas.digest import digest_of, digest_of_record
from schemas.errors import BrokenInvariant
from schemas.instruction import Instruction
from schemas.journal import Posting

NOTHING = pl.lit(0, dtype=pl.Int128)


class Plan(NamedTuple):
    """What a batch will do, frozen before it commits: commit posts the plan and computes nothing."""

    accounts: pl.DataFrame  # One row per account: what it had, what it gets, what it ends with.
    draws: pl.DataFrame  # CreditDraw
    instructions: pl.DataFrame  # Instruction
    postings: pl.DataFrame  # Posting


def plan(positions: pl.DataFrame, draws: pl.DataFrame, available: pl.DataFrame) -> Plan:
    """Return the plan for `positions` (NetPosition) with `draws` (CreditDraw) on `available` (Available)."""
    require_zero_sum(positions)
    drawn = sum_atoms(draws, ["client", "instrument"], ["drawn_atoms"]).drop("rows").rename({"client": "participant"})
    lent = sum_atoms(draws, ["prime_broker", "instrument"], ["drawn_atoms"]).select(
        "instrument", participant="prime_broker", promised="drawn_atoms"
    )
    amounts = ("debit_atoms", "credit_atoms", "net_atoms", "drawn_atoms", "promised")
    own = pl.col("available_atoms") + pl.col("net_atoms") + pl.col("drawn_atoms")
    accounts = (
        available.join(positions, on=["participant", "instrument"], how="left")
        .join(drawn, on=["participant", "instrument"], how="left")
        .join(lent, on=["participant", "instrument"], how="left")
        .with_columns(pl.col(name).fill_null(NOTHING) for name in amounts)
        # What a broker promised beyond its own funds it must bring first: the book sees that money come and go.
        .with_columns(lent_atoms=pl.max_horizontal(NOTHING, pl.min_horizontal("promised", own)))
        .with_columns(
            closing_atoms=own - pl.col("lent_atoms"),
            total_atoms=pl.col("total_atoms") + pl.col("net_atoms") + pl.col("drawn_atoms") - pl.col("lent_atoms"),
        )
        .sort("participant", "instrument")
        .select(
            "participant", "instrument", "account", "custodian", "available_atoms", "debit_atoms", "credit_atoms",
            "net_atoms", "drawn_atoms", "lent_atoms", "closing_atoms", "total_atoms", "break_atoms",
        )
    )  # fmt: skip
    if (
        accounts.filter(pl.col("closing_atoms") < 0).height
        or positions.join(accounts, on=["participant", "instrument"], how="anti")
        .filter(pl.col("obligations") > 0)
        .height
    ):
        raise BrokenInvariant("a position would leave its account short, or has no account. Nothing was written.")
    return Plan(accounts, draws, _instructions(accounts, draws), _postings(accounts, draws))


def _instructions(accounts: pl.DataFrame, draws: pl.DataFrame) -> pl.DataFrame:
    """Pay-ins of what each account owes out of its own funds, pay-ins of what brokers lend, and pay-outs."""
    own = accounts.with_columns(moves=pl.col("net_atoms") + pl.col("drawn_atoms"))
    moves = [
        own.filter(pl.col("moves") > 0 if sign > 0 else pl.col("moves") < 0).select(
            kind=pl.lit(kind), participant="participant", account="account", custodian="custodian",
            instrument="instrument", quantity_atoms=pl.col("moves") if sign > 0 else 0 - pl.col("moves"),
        )
        for kind, sign in (("PAY_IN", -1), ("PAY_OUT", 1))
    ]  # fmt: skip
    lent = sum_atoms(draws, ["prime_broker", "instrument"], ["drawn_atoms"])
    moves.append(
        lent.join(accounts, left_on=["prime_broker", "instrument"], right_on=["participant", "instrument"], how="left")
        .select(
            kind=pl.lit("CREDIT_PAY_IN"), participant="prime_broker", account=pl.col("account").fill_null("none"),
            custodian=pl.col("custodian").fill_null("none"), instrument="instrument", quantity_atoms="drawn_atoms",
        )
    )  # fmt: skip
    frame = pl.concat(moves).sort("kind", "participant", "instrument")
    return Instruction.hold(
        frame.with_columns(leg=pl.format("{}/{}/{}", "kind", "participant", "instrument")).select(Instruction.names())
    )


def _postings(accounts: pl.DataFrame, draws: pl.DataFrame) -> pl.DataFrame:
    """Gross debits and credits of each account, and both sides of each draw. Zero in all, per instrument (I7)."""
    parts = [
        accounts.select(kind=pl.lit("DEBIT"), account="account", participant="participant", instrument="instrument",
                        atoms=0 - pl.col("debit_atoms")),
        accounts.select(kind=pl.lit("CREDIT"), account="account", participant="participant", instrument="instrument",
                        atoms="credit_atoms"),
        accounts.select(kind=pl.lit("DRAW"), account="account", participant="participant", instrument="instrument",
                        atoms="drawn_atoms"),
        sum_atoms(draws, ["prime_broker", "client", "instrument"], ["drawn_atoms"]).select(
            kind=pl.lit("LENT"), account=pl.format("credit:{}:{}", "prime_broker", "client"),
            participant="prime_broker", instrument="instrument", atoms=0 - pl.col("drawn_atoms")),
    ]  # fmt: skip
    frame = pl.concat(parts).filter(pl.col("atoms") != 0).sort("kind", "account", "instrument")
    frame = frame.with_columns(leg=pl.format("{}/{}/{}", "kind", "account", "instrument"))
    postings = Posting.hold(frame.select(Posting.names()))
    require_zero_sum(postings.rename({"atoms": "net_atoms"}))
    return postings


def plan_digest(planned: Plan, decisions: pl.DataFrame) -> str:
    """Return the digest of what settles: how much of each chain, accounts, draws, instructions, postings; not their files."""
    chosen = decisions.filter("settles").select("chain_id", "base_atoms", "quote_atoms")
    return digest_of_record(
        [
            digest_of(frame)
            for frame in (chosen, planned.accounts, planned.draws, planned.instructions, planned.postings)
        ]
    )
