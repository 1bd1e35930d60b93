"""The files of the venues become the fills of a cycle: each record once, in whatever order they come."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from assets.fills.normalise import normalise
from assets.fills.venues import DIALECTS, Dialect
from assets.intake import FileRefused, SourceFile, count_file, quarantine_file, quarantine_rows
from assets.reference import Reference
from schemas.cycle import Cycle
from schemas.errors import BrokenInvariant, TrineError
from schemas.fill import REPORT_TEXT, FileCount, Fill, Quarantined, Report
from schemas.reasons import Flaw


@dataclass(frozen=True, slots=True)
class Ingested:
    """What came in through the venues' files in one cycle."""

    fills: pl.DataFrame  # schemas.fill.Fill: the reports seen for the first time, by fill_id.
    quarantined: pl.DataFrame  # schemas.fill.Quarantined
    counts: pl.DataFrame  # schemas.fill.FileCount, one row per file


def ingest(files: Sequence[SourceFile], reference: Reference, cycle: Cycle, known: pl.DataFrame) -> Ingested:
    """Return the fills of all `files`, which lie below venues/<MIC>/, with what was kept out and the counts.

    `known` has the fill_id and content_hash of every report accepted in an earlier cycle: the same again is a
    duplicate, the same id with other content is quarantined. Files and rows may come in any order.
    """
    read: list[tuple[SourceFile, pl.DataFrame]] = []
    quarantined, counts = [Quarantined.empty()], [FileCount.empty()]
    for file in sorted(files, key=lambda file: file.name):
        try:
            read.append((file, _read(file, reference, cycle)))
        except FileRefused as refused:
            row, count = quarantine_file(file, refused)
            quarantined.append(row)
            counts.append(count)
    judged = _judge_copies(read, known)
    fills = [Fill.empty()]
    for (file, _), rows in zip(read, judged, strict=True):
        kept = rows.filter(pl.col("flaw").is_null() & ~pl.col("is_copy"))
        bad = quarantine_rows(file, rows)
        copies = rows.height - kept.height - rows["flaw"].count()
        counts.append(
            count_file(file, records=rows.height, accepted=kept.height, quarantined=bad.height, duplicates=copies)
        )
        fills.append(kept.select(Fill.names()))
        quarantined.append(bad)
    return Ingested(
        Fill.hold(pl.concat(fills).sort("fill_id")),
        Quarantined.hold(pl.concat(quarantined).sort("file", "record")),
        FileCount.hold(pl.concat(counts).sort("file")),
    )


def _read(file: SourceFile, reference: Reference, cycle: Cycle) -> pl.DataFrame:
    """Return all records of a file, judged one by one. FileRefused when it is not what its venue promises."""
    folder = file.name.split("/")[1:-1]
    venue = reference.venues.get(folder[0]) if folder else None
    if venue is None:
        raise FileRefused(Flaw.FILE_UNKNOWN_VENUE, "folder: expected a venue of venues.toml")
    dialect = DIALECTS.get(venue.dialect)
    if dialect is None:
        raise FileRefused(Flaw.FILE_UNKNOWN_VENUE, f"dialect: expected one of {', '.join(DIALECTS)}")
    account = file.name.rpartition("/")[2].partition(".")[0]
    accounts = reference.trading_accounts.filter(venue=venue.mic)["account"].to_list()
    if dialect.per_account and account not in accounts:
        raise FileRefused(Flaw.FILE_UNKNOWN_ACCOUNT, "file name: expected an account of trading_accounts.csv")
    try:
        frames = []
        for reports in _reports(file, dialect):
            rows = normalise(reports, venue=venue, file=file, reference=reference, cut_at=cycle.cut_at)
            frames.append(rows.with_columns(_rows_as_bytes(reports)))
        return pl.concat(frames) if frames else _nothing()
    except (FileRefused, TrineError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  Polars' PanicException is no Exception.
        # A file must not stop the cycle, nor its text reach a message: the name of the error is enough.
        raise FileRefused(Flaw.FILE_UNREADABLE, type(error).__name__) from None


def _reports(file: SourceFile, dialect: Dialect) -> list[pl.DataFrame]:
    frames = []
    for piece in dialect.cut(file):
        reports = dialect.parse(piece)
        if dict(reports.schema) != Report.dtypes():
            raise BrokenInvariant("a venue module returned something else than a Report. Please report it.")
        if dialect.lines:
            data = piece.bytes()
            if reports.height != data.count(b"\n") + (not data.endswith(b"\n")):
                raise FileRefused(Flaw.FILE_COUNT_MISMATCH, "the parser saw another number of records than there are")
        frames.append(reports)
    return frames


def _rows_as_bytes(reports: pl.DataFrame) -> pl.Series:
    """Return as `raw` the rows of a form that has no bytes for each (length 0), in JSON; null for others."""
    if not (reports["length"] == 0).any():
        return pl.Series("raw", [None] * reports.height, dtype=pl.Binary)
    return reports.select(pl.struct(REPORT_TEXT).struct.json_encode().cast(pl.Binary).alias("raw")).to_series()


def _nothing() -> pl.DataFrame:
    return pl.DataFrame(schema={**Fill.dtypes(), "flaw": pl.String, "detail": pl.String, "raw": pl.Binary})


def _judge_copies(read: Sequence[tuple[SourceFile, pl.DataFrame]], known: pl.DataFrame) -> list[pl.DataFrame]:
    """Return each file's rows with `is_copy`, and CONFLICTING_COPIES where an id stands for two contents."""
    if not read:
        return []
    rows = pl.concat(frame.with_columns(pl.lit(n).alias("n")) for n, (_, frame) in enumerate(read))
    rows = rows.with_columns(pl.when(pl.col("flaw").is_null()).then("fill_id").alias("fill_id")).join(
        known.select("fill_id", known_hash="content_hash"),
        on="fill_id", how="left", maintain_order="left", validate="m:1",
    )  # fmt: skip
    fresh = rows.filter(pl.col("fill_id").is_not_null() & pl.col("known_hash").is_null())
    contents = fresh.group_by("fill_id").agg(pl.col("content_hash").n_unique())
    torn = contents.filter(pl.col("content_hash") > 1)["fill_id"]
    conflict = (pl.col("known_hash") != pl.col("content_hash")) | pl.col("fill_id").is_in(torn.implode())
    rows = rows.with_columns(
        pl.when(conflict).then(pl.lit(str(Flaw.CONFLICTING_COPIES))).otherwise("flaw").alias("flaw"),
        pl.when(conflict).then(pl.lit("exec_id: stands for two contents")).otherwise("detail").alias("detail"),
        # Files come by name and rows by record, so the first of equals is the same in any run.
        (pl.col("known_hash").is_not_null() | ~pl.col("fill_id").is_first_distinct()).alias("is_copy"),
    )
    return [rows.filter(n=n) for n in range(len(read))]
