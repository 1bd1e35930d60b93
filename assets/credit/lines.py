"""What the prime brokers allow: for whom they stand, up to which limits, and what they lend at settlement.

How much of a limit is used does not belong here: that depends on the cycle's trades.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from assets.intake import (
    FileRefused,
    Rule,
    SourceFile,
    cut_lines,
    enter_table,
    first_flaw,
    instant,
    missing,
    not_among,
    not_identifiers,
    quarantine_file,
)
from assets.reference import Reference, not_a_mic, not_a_party, not_an_instrument, not_in_role, wrong_amount
from schemas.atoms import scale, sum_atoms
from schemas.credit_line import BilateralLimit, CreditLine, Designation, SettlementCredit
from schemas.fill import FileCount, Quarantined
from schemas.reasons import Flaw

STATUSES = ("ACTIVE", "SUSPENDED", "TERMINATED")
NOP_FORMULAS = ("GREATER_OF_LONG_SHORT", "SUM_ABS", "NET_DOWNSIDE")
BREACH_ACTIONS = ("HOLD", "REJECT")
LIMITS = ("fill_limit", "nop_limit", "dsl_limit")

DESIGNATION = (
    ("designation_id", "pb_lei", "client_lei", "valid_from", "status"),
    ("venue", "instruments", "valid_to"),
)
CREDIT_LINE = (
    ("line_id", "pb_lei", "client_lei", "status", "valid_from"),
    ("valid_to", "nop_formula", "breach_action", "draw_limit", *LIMITS),
)
SETTLEMENT_CREDIT = (("line_id", "instrument", "credit"), ("drawn",))
BILATERAL = (("party", "counterparty", "limit"), ())
FILES = ("designations.csv", "credit_lines.csv", "settlement_credit.csv", "bilateral_limits.csv")


@dataclass(frozen=True, slots=True)
class Credit:
    """What the prime brokers allow in a cycle, and what had to be kept out."""

    designations: pl.DataFrame  # schemas.credit_line.Designation
    lines: pl.DataFrame  # schemas.credit_line.CreditLine
    settlement_credit: pl.DataFrame  # schemas.credit_line.SettlementCredit
    bilateral: pl.DataFrame  # schemas.credit_line.BilateralLimit
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount


def read_credit(files: Sequence[SourceFile], reference: Reference, reference_instrument: str) -> Credit:
    """Return what the files below credit/ allow; one that is not there allows nothing.

    Limits are atoms of `reference_instrument`; a blank one is zero. A file with an unknown name is
    quarantined whole.
    """
    named = {file.name.removeprefix("credit/"): file for file in files}
    tables = [
        enter_table(
            named.get("designations.csv"), Designation, DESIGNATION, ["designation_id"],
            lambda rows: _judge_designations(rows, reference),
        ),
        enter_table(
            named.get("credit_lines.csv"), CreditLine, CREDIT_LINE, ["line_id"],
            lambda rows: _judge_lines(rows, reference, reference_instrument, named["credit_lines.csv"]),
        ),
    ]  # fmt: skip
    (designations, _, _), (lines, _, _) = tables
    tables.append(
        enter_table(
            named.get("settlement_credit.csv"), SettlementCredit, SETTLEMENT_CREDIT,
            ["line_id", "instrument"],
            lambda rows: _judge_settlement_credit(rows, lines, reference),
        )
    )  # fmt: skip
    tables.append(
        enter_table(
            named.get("bilateral_limits.csv"), BilateralLimit, BILATERAL, ["party", "counterparty"],
            lambda rows: _judge_bilateral(rows, reference, reference_instrument),
        )
    )  # fmt: skip
    refused = [
        quarantine_file(file, FileRefused(Flaw.FILE_UNREADABLE, f"expected one of {', '.join(FILES)}"))
        for name, file in named.items()
        if name not in FILES
    ]
    quarantined = [row for _, row, _ in tables] + [row for row, _ in refused]
    counts = [count for _, _, count in tables] + [count for _, count in refused]
    return Credit(
        designations,
        lines,
        tables[2][0],
        tables[3][0],
        Quarantined.hold(pl.concat(quarantined)),
        FileCount.hold(pl.concat(counts).sort("file")),
    )


def _between_parties(rows: pl.DataFrame, reference: Reference) -> tuple[pl.DataFrame, list[Rule]]:
    """Return rows with their parties and validity in our own terms, and the rules on them."""
    parties = reference.participants
    rows = (
        rows.join(parties.select(pb_lei="lei", prime_broker="participant"), "pb_lei", "left", maintain_order="left")
        .join(
            parties.select(client_lei="lei", client="participant"),
            "client_lei",
            "left",
            maintain_order="left",
        )
        .with_columns(valid_from=instant("valid_from"), valid_to=instant("valid_to"), valid_to_text="valid_to")
    )
    return rows, [
        (
            pl.col("prime_broker").is_null(),
            Flaw.UNKNOWN_PARTY,
            "pb_lei: expected that of a row of participants.csv",
        ),
        (
            pl.col("client").is_null(),
            Flaw.UNKNOWN_PARTY,
            "client_lei: expected that of a row of participants.csv",
        ),
        not_in_role("prime_broker", ("PB",), parties),
        not_in_role("client", ("CLNT", "PB"), parties),
        (pl.col("prime_broker") == pl.col("client"), Flaw.WRONG_ROLE, "client_lei: expected another party"),
        not_among("status", STATUSES),
        (pl.col("valid_from").is_null(), Flaw.BAD_TIME, "valid_from: expected RFC 3339 in UTC"),
        (
            pl.col("valid_to_text").is_not_null() & pl.col("valid_to").is_null(),
            Flaw.BAD_TIME,
            "valid_to: expected RFC 3339 in UTC, or blank for ever",
        ),
        (
            pl.col("valid_to") <= pl.col("valid_from"),
            Flaw.BAD_TIME,
            "valid_to: expected later than valid_from",
        ),
    ]


def _judge_designations(rows: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    known = reference.instruments["instrument"].to_list()
    strangers = pl.col("instruments").str.split(";").list.eval(~pl.element().is_in(known)).list.any()
    needed = missing(*DESIGNATION[0])  # Of the text, before times that are none become null.
    rows = first_flaw(rows, [*needed, *not_identifiers("designation_id"), not_a_mic("venue")])
    rows, rules = _between_parties(rows, reference)
    unknown = (
        strangers,
        Flaw.UNKNOWN_INSTRUMENT,
        "instruments: expected rows of instruments.csv, separated by ;",
    )
    return first_flaw(rows, [*rules, unknown])


def _judge_lines(rows: pl.DataFrame, reference: Reference, reference_instrument: str, file: SourceFile) -> pl.DataFrame:
    decimals = reference.instruments.filter(instrument=reference_instrument)["decimals"].item()
    rows = first_flaw(rows, [*missing(*CREDIT_LINE[0]), *not_identifiers("line_id")]).with_columns(
        pl.col("nop_formula").fill_null(NOP_FORMULAS[0]), pl.col("breach_action").fill_null(BREACH_ACTIONS[0])
    )
    rows, rules = _between_parties(rows, reference)
    rules += [not_among("nop_formula", NOP_FORMULAS), not_among("breach_action", BREACH_ACTIONS)]
    # Files from before there was a limit on draws do not have the column: only there it is none.
    named = any("draw_limit" in piece.header for piece in cut_lines(file, header=True))
    limits = (*LIMITS, "draw_limit") if named else LIMITS
    # Blank is zero, not infinite (R8): whoever forgets a limit must not give all.
    rows = rows.with_columns(pl.col(name).fill_null("0") for name in limits)
    for name in (*LIMITS, "draw_limit"):
        rows = scale(rows, name, pl.lit(decimals), out=f"{name}_atoms")
        rules += _amount(name)
    lines_of_pair = pl.col("line_id").drop_nulls().n_unique().over("prime_broker", "client")
    rules.append((lines_of_pair > 1, Flaw.CONFLICTING_COPIES, "line_id: expected one line for a broker and a client"))
    return first_flaw(rows, rules)


def is_complete(credit: Credit) -> bool:
    """True when designations and lines came and nothing of the credit data was quarantined."""
    read = set(credit.counts.filter(pl.col("flaw").is_null())["file"])
    return {"credit/designations.csv", "credit/credit_lines.csv"} <= read and credit.quarantined.is_empty()


def usable_credit(credit: Credit, recorded: pl.DataFrame, cut_at: datetime) -> pl.DataFrame:
    """Return the settlement credit (SettlementCredit) of the lines in force at the cut, with what is drawn already.

    Where the prime broker does not say what is drawn, it is all that our own records (line_id, instrument,
    drawn_atoms) say was ever drawn: a line does not fill up again by itself.
    """
    cut = pl.lit(cut_at).dt.cast_time_unit("ns")
    in_force = credit.lines.filter(
        pl.col("status") == "ACTIVE",
        pl.col("valid_from") <= cut,
        pl.col("valid_to").is_null() | (cut < pl.col("valid_to")),
    )
    ever = sum_atoms(recorded, ["line_id", "instrument"], ["drawn_atoms"]).select(
        "line_id", "instrument", ever="drawn_atoms"
    )
    known = credit.settlement_credit.join(in_force, on="line_id", how="semi").join(
        ever, on=["line_id", "instrument"], how="left", maintain_order="left"
    )
    drawn = pl.coalesce("drawn_atoms", "ever", pl.lit(0, dtype=pl.Int128))
    return SettlementCredit.hold(known.with_columns(drawn_atoms=drawn).select(SettlementCredit.names()))


def _judge_settlement_credit(rows: pl.DataFrame, lines: pl.DataFrame, reference: Reference) -> pl.DataFrame:
    rows = rows.join(lines.select("line_id", "prime_broker", "client"), "line_id", "left", maintain_order="left")
    rows = rows.join(
        reference.instruments.select("instrument", "decimals"), "instrument", "left", maintain_order="left"
    )
    for name in ("credit", "drawn"):
        rows = scale(rows, name, pl.col("decimals"), out=f"{name}_atoms")
    rules = [
        *missing(*SETTLEMENT_CREDIT[0]),
        (
            pl.col("prime_broker").is_null(),
            Flaw.UNKNOWN_LINE,
            "line_id: expected an accepted row of credit_lines.csv",
        ),
        not_an_instrument("instrument", reference.instruments),
        *_amount("credit"),
        *_amount("drawn"),
    ]
    return first_flaw(rows, rules)


def _judge_bilateral(rows: pl.DataFrame, reference: Reference, reference_instrument: str) -> pl.DataFrame:
    decimals = reference.instruments.filter(instrument=reference_instrument)["decimals"].item()
    rows = scale(rows, "limit", pl.lit(decimals), out="limit_atoms")
    rules = missing(*BILATERAL[0])
    for party in BILATERAL[0][:2]:
        rules.append(not_a_party(party, reference.participants))
        rules.append(not_in_role(party, ("CLNT", "PB"), reference.participants))
    rules.append((pl.col("party") == pl.col("counterparty"), Flaw.WRONG_ROLE, "counterparty: expected another party"))
    return first_flaw(rows, [*rules, *_amount("limit")])


def _amount(name: str) -> list[Rule]:
    negative = (pl.col(f"{name}_atoms") < 0, Flaw.BAD_NUMBER, f"{name}: expected 0 or more")
    return [*wrong_amount(f"{name}_atoms", name), negative]
