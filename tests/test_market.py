import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from pathlib import Path

import polars as pl
import pytest
import simplefix
from lxml import etree
from stdnum import iban, lei

from pipelines.market import FLAWS, MarketPlan, MarketSummary, write_market
from schemas.errors import RefusedInput

PLAN = MarketPlan(
    cycle_id="C4H-20261120-0800",
    opens_at=datetime(2026, 11, 20, 8, tzinfo=UTC),
    cut_at=datetime(2026, 11, 20, 12, tzinfo=UTC),
    trades=300,
)
ARRAYS = {"CBSE": ("fills",), "BYBT": ("result", "list"), "BNCE": ()}
MATCH = {"KRKN": "trade_id", "CBSE": "trade_id", "BYBT": "execId", "BNCE": "id"}
AMOUNT = {"KRKN": "vol", "CBSE": "size", "BYBT": "execQty", "BNCE": "qty"}
SIDE = {"KRKN": "type", "CBSE": "side", "BYBT": "side", "BNCE": "isBuyer"}

Said = tuple[str, str, str, str]  # Venue, match, side, quantity.


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MarketSummary]:
    folder = tmp_path_factory.mktemp("day") / "market"
    return folder, write_market(PLAN, folder)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def fix_messages(folder: Path) -> list[simplefix.FixMessage]:
    messages = []
    for line in (folder / "venues/SPTX/dropcopy.fix").read_bytes().splitlines():
        parser = simplefix.FixParser()
        parser.append_buffer(line)
        messages.append(parser.get_message())
    return messages


def field(message: simplefix.FixMessage, tag: int) -> str:
    return message.get(tag).decode()


def records(path: Path) -> list[dict]:
    """The trades of a JSON file, every number as the text that it is."""
    found = json.loads(path.read_bytes(), parse_float=str, parse_int=str)
    if path.parent.name == "KRKN":
        return list(found["result"]["trades"].values())
    for key in ARRAYS[path.parent.name]:
        found = found[key]
    return found


def named_rows(folder: Path) -> list[tuple[str, dict[str, str]]]:
    rows = [("CALX", row) for row in table(folder / "venues/CALX/dropcopy.csv")]
    return rows + [("QUAY", row) for row in pl.read_parquet(folder / "venues/QUAY/*.parquet").to_dicts()]


def first_reports(folder: Path) -> list[Said]:
    """What every venue says of new trades (not busts and corrections)."""
    fix = [message for message in fix_messages(folder) if field(message, 150) == "F"]
    said = [("SPTX", field(m, 880), field(m, 54), field(m, 32)) for m in fix]
    for mic, row in named_rows(folder):
        if row["exec_type"] == "F":
            said.append((mic, row["match_id"], row["side"], row["quantity"]))
    for mic in MATCH:
        for path in sorted((folder / "venues" / mic).glob("*.json")):
            if "resent" not in path.name:
                for record in records(path):
                    buys = str(record[SIDE[mic]]).lower() in ("buy", "true")
                    said.append((mic, record[MATCH[mic]], "1" if buys else "2", record[AMOUNT[mic]]))
    return said


def test_the_same_plan_gives_the_same_bytes_and_another_seed_does_not(
    day: tuple[Path, MarketSummary], tmp_path: Path
) -> None:
    again = write_market(PLAN, tmp_path / "again")
    other = write_market(replace(PLAN, seed=8), tmp_path / "other")
    assert contents(tmp_path / "again") == contents(day[0])
    assert again == day[1]
    assert other.holdings != again.holdings


def test_every_trade_is_reported_by_a_buyer_and_a_seller_of_one_quantity_under_one_match_id(
    day: tuple[Path, MarketSummary],
) -> None:
    sides = defaultdict(list)
    for mic, match, side, quantity in first_reports(day[0]):
        sides[mic, match].append((side, quantity))
    assert len(sides) == PLAN.trades
    assert all(sorted(side for side, _ in pair) == ["1", "2"] for pair in sides.values())
    assert all(len({quantity for _, quantity in pair}) == 1 for pair in sides.values())
    assert {mic for mic, _ in sides} == {"SPTX", "KRKN", "CBSE", "BYBT", "BNCE", "CALX", "QUAY"}


def test_a_drop_copy_has_the_length_and_the_checksum_that_another_fix_engine_computes(
    day: tuple[Path, MarketSummary],
) -> None:
    lines = (day[0] / "venues/SPTX/dropcopy.fix").read_bytes().splitlines()
    messages = fix_messages(day[0])
    assert messages[0].encode() == lines[0]  # It writes 9 and 10 anew.
    assert all(message.encode() == line for message, line in zip(messages, lines, strict=True))


def test_a_drop_copy_names_client_venue_custodian_and_the_prime_broker_if_there_is_one(
    day: tuple[Path, MarketSummary],
) -> None:
    people = {row["lei"]: row["role"] for row in table(day[0] / "reference/participants.csv")}
    roles = Counter()
    for message in fix_messages(day[0]):
        count = int(field(message, 453))
        for nth in range(1, count + 1):
            party, role = message.get(448, nth).decode(), message.get(452, nth).decode()
            roles[role, "MIC" if party == "SPTX" else people[party]] += 1
    reports = roles["3", "CLNT"]
    assert roles["73", "MIC"] == roles["28", "CUST"] == reports
    assert 0 < roles["79", "PB"] < reports
    assert len(roles) == 4


def test_the_quote_amount_is_price_times_quantity_within_half_an_increment(
    day: tuple[Path, MarketSummary],
) -> None:
    increments = {
        (row["venue"], row["symbol"]): Decimal(row["quote_increment"])
        for row in table(day[0] / "reference/symbols.csv")
    }
    for message in fix_messages(day[0]):
        quantity, price, quote = (Decimal(field(message, tag)) for tag in (32, 31, 1056))
        assert abs(quantity * price - quote) * 2 <= increments["SPTX", field(message, 55)]
    for mic, row in named_rows(day[0]):
        with localcontext(prec=60):  # NEAR is traded to 24 digits: the default would round the product.
            product = Decimal(row["quantity"]) * Decimal(row["price"])
        assert abs(product - Decimal(row["quote_quantity"])) * 2 <= increments[mic, row["symbol"]]


def test_no_amount_has_more_digits_than_its_instrument(day: tuple[Path, MarketSummary]) -> None:
    decimals = {r["instrument"]: int(r["decimals"]) for r in table(day[0] / "reference/instruments.csv")}
    legs = {
        (r["venue"], r["symbol"]): (decimals[r["base"]], decimals[r["quote"]])
        for r in table(day[0] / "reference/symbols.csv")
    }

    def places(text: str) -> int:
        return len(text.partition(".")[2].rstrip("0"))

    for mic in ("KRKN", "BNCE"):
        for path in (day[0] / "venues" / mic).glob("*.json"):
            for record in records(path):
                base, quote = legs[mic, record.get("pair") or record["symbol"]]
                assert places(record[AMOUNT[mic]]) <= base
                assert places(record.get("cost") or record["quoteQty"]) <= quote
    for mic, row in named_rows(day[0]):
        base, quote = legs[mic, row["symbol"]]
        assert places(row["quantity"]) <= base
        assert places(row["quote_quantity"]) <= quote


def test_every_lei_and_every_iban_has_right_check_digits_and_none_is_shared(
    day: tuple[Path, MarketSummary], tmp_path: Path
) -> None:
    write_market(replace(PLAN, clients=120, brokers=11, trades=5), tmp_path / "many")
    for folder in (day[0], tmp_path / "many"):
        people = [row["lei"] for row in table(folder / "reference/participants.csv")]
        assert len(set(people)) == len(people)
        assert all(lei.is_valid(code) for code in people)
        accounts = [row["account"] for row in table(folder / "reference/accounts.csv")]
        ibans = [account for account in accounts if account.startswith("GB")]
        assert len(set(ibans)) == len(ibans) > 0
        assert all(iban.is_valid(account, check_country=False) for account in ibans)


def test_an_account_for_each_client_and_broker_in_each_instrument_is_stated_once(
    day: tuple[Path, MarketSummary],
) -> None:
    accounts = {(r["account"], r["instrument"]) for r in table(day[0] / "reference/accounts.csv")}
    stated = [(r["account"], r["instrument"]) for r in table(day[0] / "custody/strongvault.csv")]
    for path in (day[0] / "custody").glob("*.xml"):
        for one in etree.parse(path).iterfind(".//{*}Stmt"):
            account = one.findtext(".//{*}Acct/{*}Id/{*}IBAN") or one.findtext(".//{*}Acct/{*}Id/{*}Othr/{*}Id")
            stated.append((account, one.findtext(".//{*}Acct/{*}Ccy")))
    assert sorted(stated) == sorted(accounts)
    assert len(accounts) == 15 * 10


def test_a_wallet_statement_adds_up_and_says_what_the_summary_says(day: tuple[Path, MarketSummary]) -> None:
    decimals = {r["instrument"]: int(r["decimals"]) for r in table(day[0] / "reference/instruments.csv")}
    owners = {(r["account"], r["instrument"]): r["participant"] for r in table(day[0] / "reference/accounts.csv")}
    encumbered = 0
    for row in table(day[0] / "custody/strongvault.csv"):
        atoms = {
            name: int(row[name].replace(".", ""))
            for name in ("total", "available", "held", "pledged", "staked", "restricted")
        }
        total = atoms.pop("total")
        assert total == sum(atoms.values())
        assert len(row["total"].partition(".")[2]) == decimals[row["instrument"]]
        assert total == day[1].holdings[owners[row["account"], row["instrument"]], row["instrument"]]
        encumbered += atoms["available"] < total
    assert encumbered > 0


def test_a_bank_statement_leads_from_opening_through_its_entries_to_closing(
    day: tuple[Path, MarketSummary],
) -> None:
    entries = held_back = 0
    for path in (day[0] / "custody").glob("*.xml"):
        for one in etree.parse(path).iterfind(".//{*}Stmt"):
            balances = {
                balance.findtext("{*}Tp/{*}CdOrPrtry/{*}Cd"): Decimal(balance.findtext("{*}Amt"))
                for balance in one.iterfind("{*}Bal")
            }
            booked = [
                Decimal(entry.findtext("{*}Amt")) * (1 if entry.findtext("{*}CdtDbtInd") == "CRDT" else -1)
                for entry in one.iterfind("{*}Ntry")
            ]
            assert balances["OPBD"] + sum(booked) == balances["CLBD"] >= balances["CLAV"] >= 0
            entries += len(booked)
            held_back += balances["CLAV"] < balances["CLBD"]
    assert entries > 0
    assert held_back > 0


def test_custodians_hold_exactly_what_nets_out_when_the_market_is_fully_funded(tmp_path: Path) -> None:
    full = write_market(replace(PLAN, funding_percent=100), tmp_path / "full").holdings
    half = write_market(replace(PLAN, funding_percent=50), tmp_path / "half").holdings
    none = write_market(replace(PLAN, funding_percent=0), tmp_path / "none").holdings
    needs = {key: full[key] - none[key] for key in full if full[key] > none[key]}
    assert needs
    assert all(half[key] - none[key] in (0, need) for key, need in needs.items())
    assert 0 < sum(half[key] > none[key] for key in needs) < len(needs)


def test_holdings_of_the_cycle_before_are_what_the_custodians_state(tmp_path: Path) -> None:
    held = {("AURUMFIELD", "USD"): 12_345_67, ("AURUMFIELD", "BTC"): 250_000_000}
    summary = write_market(replace(PLAN, trades=10, first_trade=300), tmp_path / "next", held)
    assert {key: atoms for key, atoms in summary.holdings.items() if atoms} == held
    document = (tmp_path / "next/custody/harbourvale-USD.xml").read_text(encoding="utf-8")
    assert '<Cd>CLBD</Cd></CdOrPrtry></Tp><Amt Ccy="USD">12345.67</Amt>' in document


def test_a_later_cycle_has_other_ids_and_a_higher_statement_number_in_the_same_world(tmp_path: Path) -> None:
    write_market(PLAN, tmp_path / "one")
    later = replace(
        PLAN, cycle_id="C4H-20261120-1200", opens_at=PLAN.cut_at,
        cut_at=datetime(2026, 11, 20, 16, tzinfo=UTC), seed=8, first_trade=300,
    )  # fmt: skip
    write_market(later, tmp_path / "two")
    one, two = ({field(m, 17) for m in fix_messages(tmp_path / name)} for name in ("one", "two"))
    assert not one & two
    first, second = (
        {int(row["statement_seq"]) for row in table(tmp_path / name / "custody/strongvault.csv")}
        for name in ("one", "two")
    )
    assert max(first) + 1 == min(second)
    for file in ("participants.csv", "accounts.csv", "symbols.csv", "trading_accounts.csv"):
        assert contents(tmp_path / "one/reference")[file] == contents(tmp_path / "two/reference")[file]


# What goes wrong on request


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MarketSummary]:
    folder = tmp_path_factory.mktemp("spoilt") / "market"
    return folder, write_market(replace(PLAN, flaws=tuple(FLAWS)), folder)


def test_the_summary_counts_every_flaw(spoilt: tuple[Path, MarketSummary]) -> None:
    assert spoilt[1].flaws == {**dict.fromkeys(FLAWS, 3), "broken_file": 1}
    # Three for duplicates, six each for busts and corrections, and three fewer for missing sides.
    assert spoilt[1].reports == 2 * PLAN.trades + 3 + 6 + 6 - 3


def test_a_duplicate_is_the_same_report_twice_and_a_one_sided_trade_has_no_seller(
    spoilt: tuple[Path, MarketSummary],
) -> None:
    said = first_reports(spoilt[0])
    copies = Counter((mic, match, side) for mic, match, side, _ in said)
    assert sorted(copies.values())[-4:] == [1, 2, 2, 2]
    sides = defaultdict(set)
    for mic, match, side, _ in said:
        sides[mic, match].add(side)
    assert [side for side in sides.values() if side != {"1", "2"}] == [{"1"}] * 3


def test_a_bust_and_a_correction_of_each_side_refer_to_reports_that_were_sent(
    spoilt: tuple[Path, MarketSummary],
) -> None:
    sent, later = {}, []
    for message in fix_messages(spoilt[0]):
        kind, own, quantity = (field(message, tag) for tag in (150, 17, 32))
        if kind == "F":
            sent["SPTX", own] = Decimal(quantity)
        else:
            later.append((kind, "SPTX", field(message, 19), Decimal(quantity)))
    for mic, row in named_rows(spoilt[0]):
        if row["exec_type"] == "F":
            sent[mic, row["exec_id"]] = row["quantity"]
        else:
            later.append((row["exec_type"], mic, row["exec_ref_id"], Decimal(row["quantity"])))
    assert Counter(kind for kind, *_ in later) == {"H": 6, "G": 6}
    for kind, mic, referred, quantity in later:
        assert quantity == Decimal(sent[mic, referred]) * (2 if kind == "G" else 1)


def test_a_bad_number_is_no_decimal_or_has_a_digit_too_many(spoilt: tuple[Path, MarketSummary]) -> None:
    quantities = [quantity for *_, quantity in first_reports(spoilt[0])]
    assert {"1e5", "NaN"} <= set(quantities)
    assert sum(quantity in ("1e5", "NaN") or len(quantity.partition(".")[2]) > 8 for quantity in quantities) >= 3


def test_an_unknown_party_has_a_valid_lei_that_is_not_registered(spoilt: tuple[Path, MarketSummary]) -> None:
    known = {row["lei"] for row in table(spoilt[0] / "reference/participants.csv")}
    named = [field(m, 448) for m in fix_messages(spoilt[0])]
    named += [row["client"] for mic, row in named_rows(spoilt[0]) if mic == "CALX"]
    strangers = [party for party in named if party not in known]
    assert len(strangers) == 3
    assert all(lei.is_valid(stranger) for stranger in strangers)


def test_a_broken_file_is_cut_off_in_the_middle(spoilt: tuple[Path, MarketSummary]) -> None:
    (broken,) = (spoilt[0] / "venues").glob("*/*.resent.json")
    whole = broken.with_name(broken.name.replace(".resent", ""))
    assert whole.read_bytes().startswith(broken.read_bytes())
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken.read_bytes())


def test_a_busted_trade_needs_no_funding(tmp_path: Path) -> None:
    busted = write_market(replace(PLAN, trades=3, flaws=("busts",), funding_percent=100), tmp_path / "busted")
    nothing = write_market(replace(PLAN, trades=0, funding_percent=100), tmp_path / "nothing")
    assert busted.flaws == {"busts": 3}
    assert busted.holdings == nothing.holdings


# A tape of real prints

TAPE = """{"error": [], "result": {"XBTUSDT": [
    ["105433.60000", "0.00027625", 1762795433.9717445, "b", "l", "", 10218208],
    ["105410.10000", "0.00000001", 1762795457.8467374, "s", "m", "", 10218209],
    ["0.10000", "0.00000001", 1762795460.5, "b", "m", "", 10218210],
    ["105383.80000", "12.00885072", 1762795473, "b", "m", "", 10218211]
], "last": "1762820035982277754"}}"""


def prints(folder: Path) -> list[tuple[str, ...]]:
    rows = set()
    for path in (folder / "venues/KRKN").glob("*.json"):
        for row in records(path):
            rows.add(tuple(row[name] for name in ("trade_id", "price", "vol", "cost", "time")))
    return sorted(rows)


def test_a_print_keeps_price_volume_and_trade_id_to_the_digit_and_its_place_in_time(tmp_path: Path) -> None:
    tape = tmp_path / "tape.json"
    tape.write_text(TAPE, encoding="utf-8")
    summary = write_market(replace(PLAN, tape=tape), tmp_path / "market")
    opening = int(PLAN.opens_at.timestamp())
    assert prints(tmp_path / "market") == [
        ("10218208", "105433.60000", "0.00027625", "29.126032", f"{opening}.000000"),
        ("10218209", "105410.10000", "0.00000001", "0.001054", f"{opening + 23}.874993"),
        ("10218211", "105383.80000", "12.00885072", "1265538.322506", f"{opening + 39}.028256"),
    ]
    assert (summary.trades, summary.reports, summary.skipped) == (3, 6, 1)
    assert sorted(path.name for path in (tmp_path / "market/venues").iterdir()) == ["KRKN", "control_totals.csv"]


def test_each_print_has_a_taker_of_the_side_it_names_and_a_maker_of_the_other(tmp_path: Path) -> None:
    tape = tmp_path / "tape.json"
    tape.write_text(TAPE, encoding="utf-8")
    write_market(replace(PLAN, tape=tape), tmp_path / "market")
    takers = {}
    for path in (tmp_path / "market/venues/KRKN").glob("*.json"):
        takers |= {row["trade_id"]: row["type"] for row in records(path) if not row["maker"]}
    assert takers == {"10218208": "buy", "10218209": "sell", "10218211": "buy"}


def test_a_tape_longer_than_the_cycle_is_drawn_together_and_ends_before_the_cut(tmp_path: Path) -> None:
    tape = tmp_path / "tape.json"
    tape.write_text(TAPE.replace("1762795473,", "1762881833,"), encoding="utf-8")  # A day later.
    write_market(replace(PLAN, tape=tape), tmp_path / "market")
    times = [Decimal(time) for *_, time in prints(tmp_path / "market")]
    assert times == sorted(times)
    assert times[0] == int(PLAN.opens_at.timestamp())
    assert 0 < int(PLAN.cut_at.timestamp()) - times[-1] < 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"result": {"XBTUSDT": [["1e5", "1", 1.0, "b", "l", "", 1]]}}',
        '{"result": {"XBTUSDT": [["1", "1", 1.0, "x", "l", "", 1]]}}',
        '{"result": {"DOGEMOON": [["1", "1", 1.0, "b", "l", "", 1]]}}',
        '{"result": {"XBTUSDT": [["1", "1"]]}}',
        '{"result": {"XBTUSDT": [[1, null, NaN, "b", "l", "", 1]]}}',
    ],
)
def test_a_file_that_is_no_tape_is_refused_before_anything_is_written(text: str, tmp_path: Path) -> None:
    tape = tmp_path / "tape.json"
    tape.write_text(text, encoding="utf-8")
    with pytest.raises(RefusedInput, match="tape"):
        write_market(replace(PLAN, tape=tape), tmp_path / "market")
    assert not (tmp_path / "market").exists()


def test_a_market_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for wrong in ({"flaws": ("typos",)}, {"clients": 1}, {"brokers": 0}, {"cut_at": PLAN.opens_at}):
        with pytest.raises(RefusedInput, match="no such market"):
            write_market(replace(PLAN, **wrong), tmp_path / "market")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "cycle.toml").write_text("", encoding="utf-8")
    with pytest.raises(RefusedInput, match="not empty"):
        write_market(PLAN, tmp_path / "old")


def test_large_venues_are_cut_into_files_that_are_each_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.market.files.REPORTS_PER_FILE", 5)
    monkeypatch.setattr("pipelines.market.files.REPORTS_IN_MEMORY", 7)
    write_market(PLAN, tmp_path / "market")
    reports = 0
    for path in (tmp_path / "market/venues/SPTX").glob("*.fix"):
        lines = path.read_bytes().splitlines(keepends=True)
        assert 0 < len(lines) <= 5
        assert all(re.fullmatch(rb"8=FIX.*\x0110=\d{3}\x01\n", line) for line in lines)
        reports += len(lines)
    for mic in MATCH:
        sizes = [len(records(path)) for path in (tmp_path / "market/venues" / mic).glob("*.json")]
        assert max(sizes) <= 5
        reports += sum(sizes)
    for path in (tmp_path / "market/venues/CALX").glob("*.csv"):
        reports += len(table(path))
    reports += pl.read_parquet(tmp_path / "market/venues/QUAY/*.parquet").height
    assert reports == 2 * PLAN.trades
