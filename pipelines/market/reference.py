"""The world as files: reference data, credit and the name of the cycle."""

import csv
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from pipelines.market.world import (
    ANONYMOUS,
    BANK,
    INSTRUMENTS,
    MARKETS,
    VENUES,
    WALLETS,
    MarketPlan,
    Participant,
    World,
    lei_of,
)
from schemas.atoms import plain


def rfc3339(instant: datetime) -> str:
    """Return a UTC instant as text: 2026-11-20T12:00:00Z."""
    return instant.isoformat(timespec="seconds").replace("+00:00", "Z")


def write_table(path: Path, header: str, rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file; `header` names its columns, separated by blanks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(header.split())
        table.writerows(rows)


def write_reference(world: World, plan: MarketPlan, folder: Path) -> None:
    """Write reference/ and cycle.toml."""
    reference = folder / "reference"
    write_table(
        reference / "instruments.csv",
        "instrument name kind network decimals dti caip19 iso4217 status",
        ((*instrument[:-1], "ACTIVE") for instrument in INSTRUMENTS.values()),
    )
    venues = (Participant(venue.mic, lei_of(venue.mic), venue.name, "VENU") for venue in VENUES)
    write_table(
        reference / "participants.csv",
        "participant lei name role status",
        ((*person, "ACTIVE") for person in (*world.clients, *world.brokers, WALLETS, BANK, *venues)),
    )
    write_table(
        reference / "accounts.csv",
        "account custodian participant instrument",
        ((row.account, row.custodian.key, row.participant.key, row.instrument.key) for row in world.accounts),
    )
    write_table(
        reference / "symbols.csv",
        "venue symbol base quote quote_increment",
        ((m.venue.mic, m.symbol, m.base.key, m.quote.key, plain(1, m.quote_places)) for m in MARKETS),
    )
    write_table(
        reference / "trading_accounts.csv",
        "venue account client prime_broker",
        (
            (venue.mic, seat.account(venue.mic), seat.client.key, seat.broker.key if seat.broker else "")
            for venue in VENUES
            if venue.dialect in ANONYMOUS
            for seat in world.seats
        ),
    )
    write_table(
        reference / "prices.csv",
        "instrument price as_of",
        ((i.key, i.usd, rfc3339(plan.cut_at)) for i in INSTRUMENTS.values() if i.key != "USD"),
    )
    entries = (f'[{venue.mic}]\nname = "{venue.name}"\ndialect = "{venue.dialect}"\n' for venue in VENUES)
    (reference / "venues.toml").write_text("\n".join(entries), encoding="utf-8", newline="\n")
    cycle = f'cycle = "{plan.cycle_id}"\n\n[policy]\nreference_instrument = "USD"\n'
    (folder / "cycle.toml").write_text(cycle, encoding="utf-8", newline="\n")


def write_credit(world: World, plan: MarketPlan, folder: Path) -> None:
    """Write credit/: a designation and a line for every seat that has a broker, generous in size."""
    since = "2026-01-01T00:00:00Z"
    backed = [(seat.client, seat.broker) for seat in world.seats if seat.broker]
    write_table(
        folder / "credit" / "designations.csv",
        "designation_id pb_lei client_lei venue instruments valid_from valid_to status",
        ((f"DN-{pb.key}-{client.key}", pb.lei, client.lei, "", "", since, "", "ACTIVE") for client, pb in backed),
    )
    open_limit = max(10**9, plan.trades * 10**5)  # Many times what one client of such a market leaves open.
    write_table(
        folder / "credit" / "credit_lines.csv",
        "line_id pb_lei client_lei status valid_from valid_to "
        "fill_limit nop_limit nop_formula dsl_limit breach_action",
        (
            (f"CL-{pb.key}-{client.key}", pb.lei, client.lei, "ACTIVE", since, "",
             25_000_000, open_limit, "GREATER_OF_LONG_SHORT", open_limit, "REJECT")
            for client, pb in backed
        ),
    )  # fmt: skip
    write_table(
        folder / "credit" / "settlement_credit.csv",
        "line_id instrument credit drawn",
        (
            (f"CL-{loan.seat.broker.key}-{loan.seat.client.key}", loan.instrument.key,
             plain(loan.atoms, loan.instrument.decimals), "0")
            for loan in world.loans
            if loan.seat.broker
        ),
    )  # fmt: skip
