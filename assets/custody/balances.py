"""What the custodians' statements mean: which row counts for an account, and what it leaves to settle with.

How a statement is written down does not belong here: see `assets.custody.statements`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from assets.custody.statements import read_statements
from assets.custody.statements.delimited import REQUIRED
from assets.intake import (
    FileRefused,
    Rule,
    SourceFile,
    count_file,
    first_flaw,
    instant,
    missing,
    not_among,
    not_identifiers,
    quarantine_file,
    quarantine_rows,
)
from assets.reference import Reference, wrong_amount
from schemas.atoms import scale
from schemas.balance import Available, Balance
from schemas.fill import FileCount, Quarantined
from schemas.limits import BALANCE_ATOMS_MAX
from schemas.participant import Account
from schemas.reasons import Flaw

PARTS = ("available", "held", "pledged", "staked", "restricted")
AMOUNTS = ("total", *PARTS, "pending_in", "pending_out")
STALE_HOURS_MAX = 24 * 36_500  # A century: a policy that allows more only means that nothing is stale.
ZERO = pl.lit(0, dtype=pl.Int128)


@dataclass(frozen=True, slots=True)
class Statements:
    """What the custodians say they hold, and what had to be kept out."""

    balances: pl.DataFrame  # schemas.balance.Balance
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount


def read_balances(
    files: Sequence[SourceFile],
    reference: Reference,
    cut_at: datetime,
    stale_hours: int,
    executed_by: datetime | None = None,
) -> Statements:
    """Return the one row that counts for each account and instrument, from all custody files together.

    Of COMPLETE rows the highest `statement_seq` counts. An earlier one is accepted input that no longer
    counts, and is counted as a duplicate (superseded), as is a copy. Rows of one `statement_seq` with
    different contents, two different DELTA rows and a DELTA beside a COMPLETE one are all quarantined:
    nothing says which is true.

    `cut_at` has a time zone; `stale_hours` before it a COMPLETE statement is too old. So is any statement from before
    `executed_by`, when the last committed cycle's instructions were due at the custodians: it still shows what that
    cycle has spent, and its deliveries are in the book already.
    """
    texts, refusals = [], []
    for number, file in enumerate(files):
        try:
            texts.append(read_statements(file, reference).with_columns(pl.lit(number).alias("file_number")))
        except FileRefused as refused:
            refusals.append(quarantine_file(file, refused))
    quarantined, counts = [Quarantined.empty()], [FileCount.empty()]
    for whole, count in refusals:
        quarantined.append(whole)
        counts.append(count)
    if not texts:
        return Statements(Balance.empty(), pl.concat(quarantined), pl.concat(counts).sort("file"))
    judged = _judge(pl.concat(texts), reference, cut_at.astimezone(UTC), stale_hours, executed_by)
    rows = _resolve(judged.with_columns(pl.Series("file", [files[n].name for n in judged["file_number"]], pl.String)))
    for (number,), of_file in rows.group_by("file_number", maintain_order=True):
        file = files[number]
        bad = quarantine_rows(file, of_file)
        accepted = int(of_file["counts"].sum())
        quarantined.append(bad)
        counts.append(
            count_file(
                file,
                records=of_file.height,
                accepted=accepted,
                quarantined=bad.height,
                duplicates=of_file.filter(pl.col("flaw").is_null()).height - accepted,
            )
        )
    balances = rows.filter("counts").select(Balance.names()).sort("participant", "instrument")
    return Statements(Balance.hold(balances), pl.concat(quarantined), pl.concat(counts).sort("file"))


def _judge(
    text: pl.DataFrame, reference: Reference, cut_at: datetime, stale_hours: int, executed_by: datetime | None
) -> pl.DataFrame:
    """Return the rows with the columns of Balance, and `flaw` where they cannot be believed."""
    parties = reference.participants
    known = (
        reference.accounts.join(parties.select("participant", owner_lei="lei"), on="participant")
        .join(parties.select(custodian="participant", servicer_lei="lei"), on="custodian")
        .join(reference.instruments.select("instrument", "decimals"), on="instrument")
    )
    rows = text.join(known, on=["account", "instrument"], how="left", maintain_order="left")
    for name in AMOUNTS:
        rows = scale(rows, name, pl.col("decimals"), out=f"{name}_atoms")
    seq = pl.when(pl.col("statement_seq").str.contains("^[0-9]{1,10}$")).then(pl.col("statement_seq"))
    rows = rows.with_columns(seq=seq.cast(pl.UInt32, strict=False), at=instant("as_of"))
    complete = pl.col("update") == "COMPLETE"
    # In nanoseconds: beside a literal in microseconds Polars would drop the last three digits of the column.
    cut = pl.lit(cut_at).dt.cast_time_unit("ns")
    oldest = cut - timedelta(hours=min(stale_hours, STALE_HOURS_MAX))
    parts = pl.sum_horizontal(f"{name}_atoms" for name in PARTS)
    rules: list[Rule] = [
        *missing(*REQUIRED),
        *not_identifiers("statement_id"),
        not_among("segregation", ("CLIENT_TITLED", "PB_TITLED", "OMNIBUS")),
        not_among("update", ("COMPLETE", "DELTA")),
        not_among("finality", ("FINAL", "PROVISIONAL")),
        (pl.col("seq").is_null(), Flaw.BAD_NUMBER, "statement_seq: expected a whole number below 2^32"),
        (pl.col("at").is_null(), Flaw.BAD_TIME, "as_of: expected RFC 3339 in UTC"),
        (pl.col("segregation") == "OMNIBUS", Flaw.OMNIBUS_ACCOUNT, "segregation: expected a titled account"),
        (
            pl.col("participant").is_null(),
            Flaw.UNKNOWN_ACCOUNT,
            "account, instrument: expected a row of accounts.csv",
        ),
        (
            pl.col("account_title_lei") != pl.col("owner_lei"),
            Flaw.TITLE_NOT_CLIENT,
            "account_title_lei: expected the participant's own LEI",
        ),
        (
            pl.col("custodian_lei") != pl.col("servicer_lei"),
            Flaw.WRONG_CUSTODIAN,
            "custodian_lei: expected that of the account's custodian",
        ),
        (pl.col("finality") == "PROVISIONAL", Flaw.PROVISIONAL, "finality: expected FINAL"),
        (pl.col("at") > cut, Flaw.IN_THE_FUTURE, "as_of: expected no later than the cut"),
        (
            complete & (pl.col("at") < oldest),
            Flaw.STALE_STATEMENT,
            f"as_of: expected at most {stale_hours} hours ago",
        ),
    ]
    if executed_by is not None:
        due = pl.lit(executed_by.astimezone(UTC)).dt.cast_time_unit("ns")
        rules.append((pl.col("at") < due, Flaw.STALE_STATEMENT, "as_of: expected after the last cycle was executed"))
    for name in AMOUNTS:
        rules += wrong_amount(f"{name}_atoms", name)
        within = pl.col(f"{name}_atoms").is_between(-BALANCE_ATOMS_MAX, BALANCE_ATOMS_MAX)
        rules.append((~within, Flaw.AMOUNT_TOO_LARGE, f"{name}: expected at most 10^37 atoms"))
    rules += [
        (complete & (pl.col(f"{name}_atoms") < 0), Flaw.NEGATIVE_BALANCE, f"{name}: expected 0 or more")
        for name in ("total", *PARTS)
    ]
    # It may wrap, but only for amounts that the rules above have already refused.
    rules.append((parts != pl.col("total_atoms"), Flaw.BALANCE_IDENTITY, f"total: expected {' + '.join(PARTS)}"))
    return first_flaw(rows, rules).with_columns(
        as_of="at", statement_seq="seq", encumbered_atoms=pl.col("total_atoms") - pl.col("available_atoms")
    )


def _resolve(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with conflicts flawed and `counts`: true for the one that counts for its account."""
    place = ["record", "offset", "length", "flaw", "detail", "file", "file_number"]
    rows = _without_outdated(rows).with_row_index("row")
    good = rows.filter(pl.col("flaw").is_null())
    if good.is_empty():
        return rows.with_columns(counts=pl.lit(False))
    account = ["account", "instrument"]
    complete = pl.col("update") == "COMPLETE"
    content = pl.struct(pl.exclude("row", *place))
    rank = pl.when(complete).then(pl.col("statement_seq"))  # DELTA rows have no rank: all of them stand together.
    good = good.with_columns(rank=rank, last=rank.max().over(account)).with_columns(
        clash=(content.n_unique().over([*account, "rank"]) > 1) | (pl.col("update").n_unique().over(account) > 1)
    )
    current = good.filter(~pl.col("clash") & (~complete | (pl.col("rank") == pl.col("last"))))
    counting = current.unique(account, keep="first", maintain_order=True)["row"].to_list()
    clashing = pl.col("row").is_in(good.filter("clash")["row"].to_list())
    return rows.with_columns(
        flaw=pl.when(clashing).then(pl.lit(str(Flaw.CONFLICTING_COPIES))).otherwise("flaw"),
        detail=pl.when(clashing).then(pl.lit("statement_seq, update: expected one content")).otherwise("detail"),
        counts=pl.col("row").is_in(counting),
    )


def _without_outdated(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with those flawed that a later statement, itself in quarantine, was to replace.

    What the later one says is not known, only that the earlier one no longer holds: the book stands instead. One that
    is provisional or from after the cut replaces nothing yet.
    """
    account = ["account", "instrument"]
    replacing = pl.col("flaw").is_not_null() & ~pl.col("flaw").is_in([str(Flaw.PROVISIONAL), str(Flaw.IN_THE_FUTURE)])
    later = rows.filter(replacing).group_by(account).agg(pl.col("statement_seq").max().alias("later"))
    rows = rows.join(later, on=account, how="left", maintain_order="left")
    outdated = pl.col("flaw").is_null() & (pl.col("update") == "COMPLETE") & (pl.col("statement_seq") < pl.col("later"))
    return rows.with_columns(
        flaw=pl.when(outdated).then(pl.lit(str(Flaw.STALE_STATEMENT))).otherwise("flaw"),
        detail=pl.when(outdated)
        .then(pl.lit("statement_seq: expected no later statement, and one is in quarantine"))
        .otherwise("detail"),
    ).drop("later")


def derive_available(balances: pl.DataFrame, accounts: pl.DataFrame, book: pl.DataFrame) -> pl.DataFrame:
    """Return what each account can settle with in this cycle (Available), one row per row of `accounts`.

    `balances` are Balance, `accounts` Account; `book` has the columns of Account, closing_atoms (what was left to
    settle with) and total_atoms (what was there in all) of each account's last committed cycle, and may be empty. A
    participant's new account does not inherit the book of its old one: the assets are not there.

    The custodian has executed that cycle's instructions before this cut, so a COMPLETE statement is the later
    truth and wins over the book, in both directions: a deposit from outside must not stay locked, and what is
    gone must not be spent. The book then only gives the break, total - book. A DELTA is added to the book.
    Without a statement the book stands, and without both there is nothing.
    """
    stated = balances.select(
        "participant", "instrument", "update", said_total="total_atoms", said_available="available_atoms"
    )
    known = accounts.join(stated, on=["participant", "instrument"], how="left").join(
        book.select(*Account.names(), "closing_atoms", book_atoms="total_atoms"),
        on=Account.names(),
        how="left",
    )
    complete = (pl.col("update") == "COMPLETE").fill_null(False)
    kept = pl.col("closing_atoms").fill_null(ZERO) + pl.col("said_available").fill_null(ZERO)
    held = pl.col("book_atoms").fill_null(ZERO) + pl.col("said_total").fill_null(ZERO)
    available = known.with_columns(
        statement_atoms=pl.when(complete).then("said_available"),
        available_atoms=pl.when(complete)
        .then("said_available")
        .otherwise(pl.max_horizontal(ZERO, pl.min_horizontal(kept, held))),
        total_atoms=pl.when(complete).then("said_total").otherwise(held),
        break_atoms=pl.when(complete & pl.col("book_atoms").is_not_null())
        .then(pl.col("said_total") - pl.col("book_atoms"))
        .otherwise(ZERO),
    )
    return Available.hold(available.select(Available.names()).sort("participant", "instrument"))
