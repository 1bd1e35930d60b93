"""A small batch, taken through its life step by step, for all who test the records."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from assets.ledger.store import Claim, Proposal, Store
from assets.netting.net import net_obligations
from assets.obligations.derive import derive_obligations
from assets.settlement.instruct import Plan, plan, plan_digest
from assets.settlement.outcomes import settlements_of
from schemas.cycle import Policy
from schemas.digest import digest_of
from tests.market_days import accounts_of, chosen_of, credit_of, trades_of

CYCLE, NEXT = "C4H-20261102-0800", "C4H-20261102-1200"
RULES = ("nothing_is_lost", "everyone_is_content")
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def at_noon() -> datetime:
    """A clock that stands still, so that the same life leaves the same records."""
    return NOON


@dataclass(frozen=True)
class Life:
    """Everything that one cycle's batch is made of: B buys 10 BTC from A for a million, of which PX lends it 42,500.00."""

    cycle: dict[str, Any]
    proposal: Proposal
    planned: Plan
    settlements: pl.DataFrame
    inputs_digest: str = "1" * 64

    def begin(self, store: Store) -> Claim:
        """Begin the batch, or take it over."""
        return store.begin(self.cycle, lambda _: self.inputs_digest).claim

    def instructions_of(self, claim: Claim) -> dict[str, str]:
        """Return the batch's instructions, all of them done."""
        return {f"{claim.batch_id}/{leg}": "DONE" for leg in self.planned.instructions["leg"]}

    def proposed_as(self, claim: Claim) -> Proposal:
        """Return the proposal with the ids that its batch gives it."""
        named = self.planned.instructions.with_columns(instruction_id=pl.format("{}/{}", pl.lit(claim.batch_id), "leg"))
        return Proposal(self.proposal.plan, {**self.proposal.rows, "instructions": named})


def life_of(cycle_id: str = CYCLE, policy: Policy | None = None, inputs_digest: str = "1" * 64, **plan_: Any) -> Life:
    """Return a small cycle's batch; `plan_` changes columns of its plan."""
    trades = trades_of("""
        chain_id  buyer  buyer_broker  seller  seller_broker  base  quote  base_amount  quote_amount
        F1        B      PX            A       PY             BTC   USD    10           1_000_000.00
    """)
    funds = accounts_of(trades, "A BTC 10\nB USD 957_500\nPX USD 50_000")
    chosen = chosen_of(trades, funds, credit_of("PX B USD 50_000"))
    planned = plan(net_obligations(derive_obligations(trades)), chosen.draws, funds)
    settlements = settlements_of(cycle_id, trades, chosen.decisions)
    cycle = {
        "cycle_id": cycle_id, "opens_at": f"2026-11-02T{cycle_id[-4:-2]}:00:00+00:00",
        "cut_at": f"2026-11-02T{int(cycle_id[-4:-2]) + 4}:00:00+00:00", "policy": (policy or Policy()).as_json(),
        "manifest_digest": "0" * 64, "trine_version": "0", "lock_digest": "",
    }  # fmt: skip
    figures = {
        "plan_digest": plan_digest(planned, chosen.decisions), "degraded": 0, "reference_instrument": "USD",
        "fills_new": 2, "fills_carried": 0, "chains": 1, "chains_settled": 1, "value_atoms": 10**8,
        "value_open_atoms": 0, "weight_atoms": 2 * 10**8, "bound_atoms": 2 * 10**8, "solver": "s", "path": "p",
    }  # fmt: skip
    frozen = pl.DataFrame(
        [(name, digest_of(frame), frame.height)
         for name, frame in (("postings", planned.postings), ("settlements", settlements))],
        schema=["name", "digest", "rows"], orient="row",
    )  # fmt: skip
    top_ups = pl.DataFrame({"chain_id": ["F2"], "participant": ["A"], "instrument": ["BTC"], "quantity_atoms": [1]})
    rows = {
        "positions": planned.accounts, "credit_draws": planned.draws, "frames": frozen,
        "selections": chosen.certificates, "pay_ins": chosen.schedule, "top_ups": top_ups,
    }  # fmt: skip
    return Life(cycle, Proposal(figures | plan_, rows), planned, settlements, inputs_digest)


def verdicts(*rules: str, severity: str = "BLOCK", success: int = 1) -> list[dict[str, Any]]:
    return [{"rule": rule, "statement": "s", "severity": severity, "success": success, "found": "f"} for rule in rules]


Step = Callable[[Store, Claim, Life], Any]

# The life of a batch after it was begun, in order. Every step may be taken again: it then changes nothing.
STEPS: dict[str, Step] = {
    "propose": lambda store, claim, life: store.propose(claim, life.proposed_as(claim)),
    "judge": lambda store, claim, life: store.judge(claim, verdicts(*RULES)),
    "reserve": lambda store, claim, life: store.reserve(claim, RULES),
    "approve": lambda store, claim, life: store.approve(claim),
    "commit": lambda store, claim, life: store.commit(claim, life.planned.postings, life.settlements),
    "execute": lambda store, claim, life: store.execute(claim),
    "confirm": lambda store, claim, life: store.confirm(claim.batch_id, life.instructions_of(claim), "test"),
}


def live(store: Store, life: Life, until: str = "execute") -> Claim:
    """Begin a batch and take it up to a step, and that one too."""
    claim = life.begin(store)
    for name, step in STEPS.items():
        step(store, claim, life)
        if name == until:
            break
    return claim


def settle(store: Store, cycle_id: str = CYCLE) -> str:
    """Settle a small cycle and return its batch id."""
    return live(store, life_of(cycle_id)).batch_id
