"""What of each obligation settles now: all of it, its share of a part, or nothing."""

import polars as pl

from assets.netting.net import net_obligations, require_zero_sum
from assets.obligations.derive import derive_obligations, settling_obligations
from schemas.obligation import Decision
from tests.market_days import frame, trades_of

TRADES = """
    chain_id  buyer  buyer_broker  seller  base  quote  base_atoms           quote_atoms
    M1        A      PX            B       ETH   USD    3_000_000_000        10_000
    M2        A      -             C       ETH   USD    2_000_000_000        7
    M3        C      -             A       ETH   USD    1_000_000_000        5
"""


def decided(**base_atoms: int) -> pl.DataFrame:
    return frame(
        Decision,
        [{"chain_id": chain, "settles": atoms > 0, "base_atoms": atoms} for chain, atoms in base_atoms.items()],
        value_atoms=0, age=0, quote_atoms=0, regret="0",
    )  # fmt: skip


def test_a_part_of_a_chain_moves_the_same_share_on_every_hop_rounded_down() -> None:
    trades = trades_of(TRADES)
    now = settling_obligations(derive_obligations(trades), trades, decided(M1=1_000_000_000, M2=2_000_000_000, M3=0))
    assert now.select("obligation_id", "payer", "receiver", "quantity_atoms").rows() == [
        ("M1/1/base", "B", "PX", 1_000_000_000), ("M1/1/quote", "PX", "B", 3_333),
        ("M1/2/base", "PX", "A", 1_000_000_000), ("M1/2/quote", "A", "PX", 3_333),
        ("M2/1/base", "C", "A", 2_000_000_000), ("M2/1/quote", "A", "C", 7),
    ]  # fmt: skip
    require_zero_sum(net_obligations(now))


def test_an_obligation_whose_share_is_less_than_an_atom_is_left_out() -> None:
    trades = trades_of(TRADES)
    now = settling_obligations(derive_obligations(trades), trades, decided(M1=0, M2=1, M3=0))
    assert now.select("obligation_id", "quantity_atoms").rows() == [("M2/1/base", 1)]


def test_amounts_too_wide_for_a_product_in_128_bits_are_cut_exactly() -> None:
    whole, now = 10**33 + 7, 10**33 - 11
    trades = trades_of(TRADES).head(1).with_columns(base_atoms=pl.lit(whole), quote_atoms=pl.lit(10**33 + 9))
    trades = trades.with_columns(pl.col("base_atoms", "quote_atoms").cast(pl.Int128))
    settled = settling_obligations(derive_obligations(trades), trades, decided(M1=now))
    assert set(settled["quantity_atoms"]) == {now, (10**33 + 9) * now // whole}
