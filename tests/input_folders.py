"""Input folders as text: the worked example's world (three clients, two prime brokers, two venues) as real files.

A trade is a line that a person reads; what is written is what the outside world would send (docs/reference/inputs.md).
"""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.market.world import lei_of
from tests.market_days import cells

CYCLE, NEXT, THIRD = "C4H-20261102-0800", "C4H-20261102-1200", "C4H-20261102-1600"
BROKER = {"A": "PX", "B": "PY", "C": "PX"}
FIVE_TRADES = """
    trade  venue  buyer  seller  base  quantity  price
    F1     SPTX   A      B       BTC   10        100000
    F2     SPTX   B      C       BTC   4         100500
    F3     VEN2   C      A       BTC   3         100500
    F4     SPTX   B      A       BTC   6         101000
    F5     SPTX   A      B       ETH   100       3500
"""
WHOLE = "A USD 442500\nB ETH 100\nC BTC 1"
SHORT = "A USD 400000\nB ETH 100\nC BTC 1"
REPORT = (
    "exec_type", "exec_id", "exec_ref_id", "match_id", "symbol", "side", "quantity", "price", "quote_quantity",
    "traded_at", "trade_on", "client", "prime_broker",
)  # fmt: skip

Report = dict[str, str]


def reports(trades: str, traded_at: str = "2026-11-02T09:00:00.000Z") -> list[Report]:
    """Return both sides' reports of each trade of a table; F1's are F1b (the buyer's) and F1s."""
    made = []
    for row in cells(trades):
        for side, who, letter in (("1", "buyer", "b"), ("2", "seller", "s")):
            made.append(
                {
                    "venue": row["venue"], "exec_type": "F", "exec_id": row["trade"] + letter, "exec_ref_id": "",
                    "match_id": row["trade"], "symbol": f"{row['base']}/USD", "side": side, "quantity": row["quantity"],
                    "price": row["price"], "quote_quantity": str(int(row["quantity"]) * int(row["price"])),
                    "traded_at": traded_at, "trade_on": traded_at[:10], "client": lei_of(row[who]),
                    "prime_broker": lei_of(BROKER[row[who]]),
                }
            )  # fmt: skip
    return made


def busts(trades: Iterable[Report]) -> list[Report]:
    """Return a bust of each report: X1b cancels 1b."""
    return [report | {"exec_type": "H", "exec_id": "X" + report["exec_id"], "exec_ref_id": report["exec_id"]}
            for report in trades]  # fmt: skip


def write_table(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])


def write_folder(
    folder: Path,
    venue_reports: Sequence[Report],
    holdings: str | None,
    *,
    cycle_id: str = CYCLE,
    lends: str | None = None,
    resent: Sequence[Report] = (),
) -> Path:
    """Write the input folder of one cycle and return it.

    `holdings` are lines of 'participant instrument amount' that the custodian states, every other account empty; None:
    no statement comes. `lends` is what PX lends A in dollars at settlement. `resent` are reports that the venues sent
    in an earlier cycle too, so that their totals of this one leave them out.
    """
    opens_at = datetime.strptime(cycle_id, "C4H-%Y%m%d-%H%M").replace(tzinfo=UTC)
    # A quarter of an hour before the cut: what the cycle before instructed has been executed by then.
    as_of = (opens_at + timedelta(hours=3, minutes=45)).isoformat().replace("+00:00", "Z")
    reference = folder / "reference"
    roles = {**dict.fromkeys("ABC", "CLNT"), "PX": "PB", "PY": "PB", "CU": "CUST", "SPTX": "VENU", "VEN2": "VENU"}
    accounts = [(who, what) for who, role in roles.items() if role in ("CLNT", "PB") for what in ("BTC", "ETH", "USD")]
    write_table(reference / "instruments.csv", ("instrument", "name", "kind", "decimals", "status"), [
        ("BTC", "Bitcoin", "CRYPTO", 8, "ACTIVE"), ("ETH", "Ether", "CRYPTO", 18, "ACTIVE"),
        ("USD", "US dollar", "FIAT", 2, "ACTIVE"),
    ])  # fmt: skip
    write_table(reference / "participants.csv", ("participant", "lei", "name", "role", "status"),
                [(who, lei_of(who), who, role, "ACTIVE") for who, role in roles.items()])  # fmt: skip
    write_table(reference / "accounts.csv", ("account", "custodian", "participant", "instrument"),
                [(f"CU-{who}-{what}", "CU", who, what) for who, what in accounts])  # fmt: skip
    write_table(reference / "symbols.csv", ("venue", "symbol", "base", "quote"),
                [(venue, f"{base}/USD", base, "USD") for venue in ("SPTX", "VEN2") for base in ("BTC", "ETH")])  # fmt: skip
    write_table(reference / "prices.csv", ("instrument", "price", "as_of"),
                [("BTC", "100000", as_of), ("ETH", "3500", as_of)])  # fmt: skip
    (reference / "venues.toml").write_text(
        "".join(f'[{venue}]\nname = "{venue}"\ndialect = "delimited"\n' for venue in ("SPTX", "VEN2"))
    )
    for venue in ("SPTX", "VEN2"):
        rows = [[row[name] for name in REPORT] for row in (*venue_reports, *resent) if row["venue"] == venue]
        if rows:
            write_table(folder / "venues" / venue / "fills.csv", REPORT, rows)
    totals: dict[tuple[str, ...], list[int]] = {}
    for report in venue_reports:
        if report["exec_type"] == "F":
            sums = totals.setdefault((report["venue"], report["symbol"], report["side"]), [0, 0, 0])
            for place, number in enumerate(("1", report["quantity"], report["quote_quantity"])):
                sums[place] += int(number)
    write_table(folder / "venues" / "control_totals.csv",
                ("venue", "symbol", "side", "reports", "quantity", "quote_quantity"),
                [(*market, *sums) for market, sums in sorted(totals.items())])  # fmt: skip
    if holdings is not None:
        held = {tuple(line.split()[:2]): line.split()[2] for line in holdings.splitlines()}
        header = (
            "statement_id", "statement_seq", "custodian_lei", "account", "account_title_lei", "segregation", "as_of",
            "update", "instrument", "total", "available", "held", "pledged", "staked", "restricted",
        )  # fmt: skip
        write_table(folder / "custody" / "cu.csv", header, [
            (f"S{cycle_id[4:]}", 1, lei_of("CU"), f"CU-{who}-{what}", lei_of(who),
             "PB_TITLED" if who in ("PX", "PY") else "CLIENT_TITLED", as_of, "COMPLETE", what,
             held.get((who, what), "0"), held.get((who, what), "0"), 0, 0, 0, 0)
            for who, what in accounts
        ])  # fmt: skip
    pairs = [(BROKER[client], client) for client in "ABC"]
    write_table(folder / "credit" / "designations.csv",
                ("designation_id", "pb_lei", "client_lei", "valid_from", "status"),
                [(f"D-{c}", lei_of(pb), lei_of(c), "2026-01-01T00:00:00Z", "ACTIVE") for pb, c in pairs])  # fmt: skip
    write_table(
        folder / "credit" / "credit_lines.csv",
        ("line_id", "pb_lei", "client_lei", "status", "valid_from", "fill_limit", "nop_limit", "nop_formula",
         "dsl_limit", "breach_action"),
        [(f"L-{c}", lei_of(pb), lei_of(c), "ACTIVE", "2026-01-01T00:00:00Z", "1000000000", "1000000000",
          "GREATER_OF_LONG_SHORT", "1000000000", "HOLD") for pb, c in pairs],
    )  # fmt: skip
    if lends is not None:
        write_table(folder / "credit" / "settlement_credit.csv", ("line_id", "instrument", "credit"),
                    [("L-A", "USD", lends)])  # fmt: skip
    (folder / "cycle.toml").write_text(f'cycle = "{cycle_id}"\n')
    return folder
