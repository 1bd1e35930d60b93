"""Where every file enters: bytes are looked at before any parser is, cut into records, and accounted for.

A record is a span of bytes with a number. The spans of a file tile it, so that rows in = accepted + quarantined +
duplicates can be counted, and any figure can be followed back to its bytes. What a record means does not belong here.
"""

import csv
import hashlib
import mmap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from schemas import limits
from schemas.contract import Contract
from schemas.errors import BrokenInvariant
from schemas.fill import FileCount, Quarantined
from schemas.reasons import Flaw

BOM = b"\xef\xbb\xbf"
WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
SPAN = {"record": pl.UInt32, "offset": pl.UInt64, "length": pl.UInt32, "flaw": pl.String}
# Outside these years nanoseconds in 64 bits wrap, and Polars says nothing: 9999 would become 1816.
INSTANT_PATTERN = (
    r"^(19[7-9][0-9]|2[01][0-9]{2}|22[0-5][0-9]|226[01])-[0-9]{2}-[0-9]{2}"
    r"T[0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?Z$"
)

Rule = tuple[pl.Expr, Flaw, str]


class FileRefused(Exception):
    """A file is quarantined whole. Caught by its stage: the other files of the cycle go on."""

    def __init__(self, flaw: Flaw, detail: str) -> None:
        super().__init__(f"{flaw}: {detail}")
        self.flaw, self.detail = flaw, detail


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a cycle, frozen by its digest."""

    stage: str
    name: str  # Path below the input folder, with '/'.
    path: Path
    sha256: str
    size: int

    @classmethod
    def of(cls, stage: str, path: Path, root: Path) -> "SourceFile":
        """Return the file with its digest."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        # A name may hold bytes that are no UTF-8, which no frame can carry.
        name = path.relative_to(root).as_posix().encode(errors="backslashreplace").decode()
        return cls(stage, name, path, digest, path.stat().st_size)

    def bytes(self, offset: int = 0, length: int | None = None) -> bytes:
        """Return the bytes of a span, or of the whole file."""
        with self.path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(-1 if length is None else length)


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of whole records of one file: the unit of ingest."""

    file: SourceFile
    first_record: int  # Number of its first record; a file's are numbered from 1.
    offset: int
    length: int
    header: tuple[str, ...] = ()

    def bytes(self) -> bytes:
        """Return the bytes of the slice."""
        return self.file.bytes(self.offset, self.length)


def require_readable(file: SourceFile) -> None:
    """Raise FileRefused for a file that no text parser may see: empty, too large, UTF-16 or with old line ends."""
    if file.size == 0:
        raise FileRefused(Flaw.FILE_EMPTY, "no bytes")
    if file.size > limits.FILE_BYTES_MAX:
        raise FileRefused(Flaw.FILE_TOO_LARGE, f"more than {limits.FILE_BYTES_MAX:,} bytes: split it")
    start = file.bytes(0, 4)
    if start.startswith(WIDE_BOMS):
        raise FileRefused(Flaw.FILE_NOT_UTF8, "it is UTF-16 or UTF-32; expected UTF-8")


def cut_lines(file: SourceFile, *, header: bool) -> list[Slice]:
    """Cut a text file into slices of whole lines. The header line, if any, belongs to no slice but is known to each.

    Raises FileRefused when the bytes are not those of a text file with LF or CRLF line ends.
    """
    require_readable(file)
    with file.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as view:
        buffer = np.frombuffer(view, dtype=np.uint8)
        ends = np.flatnonzero(buffer == 0x0A) + 1
        has_cr = bool((buffer[: 1 << 20] == 0x0D).any())
        del buffer
        if not len(ends) and has_cr:
            raise FileRefused(Flaw.FILE_CR_LINE_ENDS, "lines end with CR alone; expected LF or CR LF")
        if not len(ends) or ends[-1] != file.size:
            ends = np.append(ends, file.size)
        start = len(BOM) if view[:3] == BOM else 0
        names: tuple[str, ...] = ()
        if header:
            names = _header(view[start : int(ends[0])])
            start, ends = int(ends[0]), ends[1:]
    if len(ends) > limits.RECORDS_PER_FILE_MAX:
        raise FileRefused(Flaw.FILE_TOO_LARGE, f"more than {limits.RECORDS_PER_FILE_MAX:,} records: split it")
    slices = []
    for first in range(0, len(ends), limits.SLICE_RECORDS):
        end = int(ends[min(first + limits.SLICE_RECORDS, len(ends)) - 1])
        slices.append(Slice(file, first + 1, start, end - start, names))
        start = end
    return slices


def _header(line: bytes) -> tuple[str, ...]:
    if not line.endswith(b"\n"):
        raise FileRefused(Flaw.FILE_BAD_HEADER, "the first line has no end: the file was cut short")
    try:
        names = tuple(next(csv.reader([line.decode().rstrip("\r\n")], strict=True), []))
    except (UnicodeDecodeError, csv.Error):
        raise FileRefused(Flaw.FILE_BAD_HEADER, "the first line is not a line of UTF-8 column names") from None
    if len(set(names)) != len(names):
        raise FileRefused(Flaw.FILE_BAD_HEADER, "a column is named twice")
    return names


def lines(piece: Slice) -> tuple[list[str | None], pl.DataFrame]:
    """Return the text of each line of a slice (None where it has a flaw) and their spans (record, offset, length, flaw).

    The spans are found in the bytes, apart from any parser, and tile the slice.
    """
    data = piece.bytes()
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 0x0A) + 1
    if not len(ends) or ends[-1] != len(data):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1]))
    try:
        text: list[str | None] = list(data.decode().split("\n"))
        if data.endswith(b"\n"):
            text.pop()
    except UnicodeDecodeError:
        text = [_decoded(data[start:end]) for start, end in zip(starts, ends, strict=True)]
    flaws: list[str | None] = [None] * len(text)
    for index, line in enumerate(text):
        if line is None or "\x00" in line or "\r" in line[:-1]:
            flaws[index] = Flaw.MALFORMED
        elif not line or line == "\r":
            flaws[index] = Flaw.EMPTY_RECORD
        elif len(line) > limits.RECORD_BYTES_MAX:
            flaws[index] = Flaw.RECORD_TOO_LONG
        elif line[-1] == "\r":
            text[index] = line[:-1]
    if not data.endswith(b"\n"):
        flaws[-1] = flaws[-1] or Flaw.RECORD_CUT
    for index, flaw in enumerate(flaws):
        if flaw is not None:
            text[index] = None
    spans = pl.DataFrame(
        {
            "record": np.arange(piece.first_record, piece.first_record + len(ends), dtype=np.uint32),
            "offset": (starts + piece.offset).astype(np.uint64),
            "length": (ends - starts).astype(np.uint32),
            "flaw": pl.Series(flaws, dtype=pl.String),
        },
        schema=SPAN,
    )
    return text, spans


def _decoded(line: bytes) -> str | None:
    try:
        return line.decode().rstrip("\n")
    except UnicodeDecodeError:
        return None


def read_delimited(piece: Slice, required: Sequence[str], optional: Sequence[str] = ()) -> pl.DataFrame:
    """Return the records of a CSV slice as text: record, offset, length, flaw, then each named column (null if blank).

    A record is one line: a quoted cell may hold a comma, not a line end. Raises FileRefused when a required column is
    missing or an unknown one is there, because a misspelt column would silently be none.
    """
    _require_columns(piece.header, required, optional)
    text, spans = lines(piece)
    width = len(piece.header)
    cells: list[list[str] | None] = []
    flaws = spans["flaw"].to_list()
    for index, line in enumerate(text):
        row = None if line is None else line.split(",") if '"' not in line else _quoted(line)
        if line is not None and (row is None or len(row) != width):
            flaws[index], row = (Flaw.MALFORMED if row is None else Flaw.COLUMN_COUNT), None
        cells.append(row)
    blank = [None] * width
    columns = list(zip(*((blank if row is None else row) for row in cells), strict=True)) if cells else [()] * width
    by_name = {
        name: pl.Series(name, column, dtype=pl.String) for name, column in zip(piece.header, columns, strict=True)
    }
    nothing = pl.lit(None, dtype=pl.String)
    frame = spans.with_columns(pl.Series("flaw", flaws, dtype=pl.String))
    frame = frame.with_columns(
        [by_name.get(name, nothing.alias(name)) for name in (*required, *optional)]
    ).with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in (*required, *optional))
    if frame.height != len(text):
        raise BrokenInvariant("a CSV slice was read into another number of rows than it has lines")
    return frame


def _require_columns(header: Sequence[str], required: Sequence[str], optional: Sequence[str]) -> None:
    lacking, unknown = set(required) - set(header), set(header) - set(required) - set(optional)
    if lacking or unknown:
        detail = "; ".join(
            f"{what}: {', '.join(sorted(names))}"
            for what, names in (("missing", lacking), ("unknown", unknown))
            if names
        )
        raise FileRefused(Flaw.FILE_BAD_HEADER, detail[:200])


def _quoted(line: str) -> list[str] | None:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return None


def read_table(file: SourceFile, required: Sequence[str], optional: Sequence[str] = ()) -> pl.DataFrame:
    """Return all records of a CSV file as text, as `read_delimited` does for a slice."""
    pieces = cut_lines(file, header=True)
    if not pieces:
        _require_columns(_header(file.bytes().removeprefix(BOM)), required, optional)
        return pl.DataFrame(schema={**SPAN, **dict.fromkeys((*required, *optional), pl.String)})
    return pl.concat([read_delimited(piece, required, optional) for piece in pieces])


def instant(column: str) -> pl.Expr:
    """Return the RFC 3339 text of a column as Instant (UTC, ns); null where it is none or lies outside 1970 to 2261."""
    whole = pl.when(pl.col(column).str.contains(INSTANT_PATTERN)).then(pl.col(column))
    return whole.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ns", time_zone="UTC", strict=False)


def missing(*columns: str) -> list[Rule]:
    """Rules: each of these columns has a value."""
    return [(pl.col(name).is_null(), Flaw.MISSING_FIELD, f"{name}: expected a value") for name in columns]


def not_identifiers(*columns: str) -> list[Rule]:
    """Rules: what stands in these columns has the form of an identifier."""
    expected = "expected an identifier (ASCII, up to 64)"
    return [
        (~pl.col(name).str.contains(limits.IDENTIFIER_PATTERN), Flaw.BAD_IDENTIFIER, f"{name}: {expected}")
        for name in columns
    ]


def not_among(column: str, values: Sequence[str]) -> Rule:
    """Rule: what stands in this column is one of `values`."""
    return (
        ~pl.col(column).is_in(list(values)),
        Flaw.BAD_CODE,
        f"{column}: expected one of {', '.join(values)}",
    )


def first_flaw(frame: pl.DataFrame, rules: Iterable[Rule]) -> pl.DataFrame:
    """Return `frame` with `flaw` and `detail` set by the first rule that is true of a row that has no flaw yet.

    A rule is (true when wrong, reason, what was expected). Null counts as not wrong.
    """
    if "detail" not in frame.columns:
        frame = frame.with_columns(pl.when(pl.col("flaw").is_not_null()).then(pl.lit("form")).alias("detail"))
    # Every rule is judged on the values alone, so one pass over `when` chains finds the first that holds.
    found: Any = pl.when(pl.col("flaw").is_not_null()).then(pl.struct("flaw", "detail"))
    for wrong, flaw, detail in rules:
        found = found.when(wrong.fill_null(False)).then(
            pl.struct(pl.lit(str(flaw)).alias("flaw"), pl.lit(detail).alias("detail"))
        )
    verdict = frame.select(found.alias("v"))["v"].struct.unnest()
    return frame.with_columns(verdict["flaw"], verdict["detail"])


def quarantine_rows(file: SourceFile, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the flawed rows of a file (record, offset, length, flaw, detail) as Quarantined, with their bytes.

    A row of a form that has no bytes of its own (Parquet) brings them in an optional column `raw`.
    """
    bad = rows.filter(pl.col("flaw").is_not_null())
    if bad.is_empty():
        return Quarantined.empty()
    raw = bad["raw"].to_list() if "raw" in bad.columns else [None] * bad.height
    with file.path.open("rb") as stream:
        for index, (offset, length) in enumerate(bad.select("offset", "length").rows()):
            if raw[index] is None:
                stream.seek(offset)
                raw[index] = stream.read(min(length, limits.RECORD_BYTES_MAX))
    return bad.select(
        pl.lit(file.stage).alias("stage"),
        pl.lit(file.name).alias("file"),
        pl.lit(file.sha256).alias("file_sha256"),
        "record", "offset", "length", "flaw",
        pl.col("detail").fill_null(""),
        pl.Series("raw", raw, dtype=pl.Binary),
    ).select(Quarantined.names())  # fmt: skip


def quarantine_file(file: SourceFile, refused: FileRefused) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the Quarantined row and the FileCount row of a file that is kept out whole."""
    row = pl.DataFrame(
        [
            (
                file.stage,
                file.name,
                file.sha256,
                0,
                0,
                min(file.size, 2**32 - 1),
                str(refused.flaw),
                refused.detail,
                b"",
            )
        ],
        schema=Quarantined.dtypes(),
        orient="row",
    )
    return row, count_file(file, records=0, accepted=0, quarantined=0, duplicates=0, flaw=str(refused.flaw))


def count_file(
    file: SourceFile,
    *,
    records: int,
    accepted: int,
    quarantined: int,
    duplicates: int,
    flaw: str | None = None,
) -> pl.DataFrame:
    """Return the FileCount row of a file. BrokenInvariant if a record went missing or was counted twice."""
    if records != accepted + quarantined + duplicates:
        raise BrokenInvariant(
            f"{file.name}: {records:,} records came in, but {accepted:,} accepted + {quarantined:,} quarantined + "
            f"{duplicates:,} duplicates are not that many. Nothing was written. Please report it."
        )
    row = (file.stage, file.name, file.sha256, file.size, records, accepted, quarantined, duplicates, flaw)
    return pl.DataFrame([row], schema=FileCount.dtypes(), orient="row")


def take_table(
    file: SourceFile, rows: pl.DataFrame, key: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Split judged rows of a small file into (accepted, Quarantined, FileCount).

    Of rows with one `key` and one content the first is kept and the rest are duplicates; with different contents
    none can be believed, and all are quarantined.
    """
    good = rows.filter(pl.col("flaw").is_null())
    content = [name for name in good.columns if name not in ("record", "offset", "length", "flaw", "detail")]
    contents = good.select(pl.struct(content).n_unique().over(list(key)) if good.height else pl.lit(None)).to_series()
    conflicts = good.filter(contents > 1) if good.height else good
    rows = rows.with_columns(
        pl.when(pl.col("record").is_in(conflicts["record"].to_list()))
        .then(pl.lit(str(Flaw.CONFLICTING_COPIES))).otherwise("flaw").alias("flaw")
    )  # fmt: skip
    good = rows.filter(pl.col("flaw").is_null())
    accepted = good.unique(list(key), keep="first", maintain_order=True)
    quarantined = quarantine_rows(file, rows)
    count = count_file(
        file,
        records=rows.height,
        accepted=accepted.height,
        quarantined=quarantined.height,
        duplicates=good.height - accepted.height,
    )
    return accepted, quarantined, count


def enter_table(
    file: SourceFile | None,
    contract: type[Contract],
    columns: tuple[Sequence[str], Sequence[str]],
    key: Sequence[str],
    judge: Callable[[pl.DataFrame], pl.DataFrame],
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return (accepted, Quarantined, FileCount) of a CSV file whose accepted rows are those of `contract`.

    `columns` are the required and the optional ones; `judge` turns their text into the columns of the contract and
    sets `flaw` and `detail`. A file that is None is not there: three frames without rows.
    """
    if file is None:
        return contract.empty(), Quarantined.empty(), FileCount.empty()
    try:
        rows = judge(read_table(file, *columns)).select(*SPAN, "detail", *contract.names())
    except FileRefused as refused:
        return contract.empty(), *quarantine_file(file, refused)
    accepted, quarantined, count = take_table(file, rows, key)
    return contract.hold(accepted.select(contract.names()).sort(list(key))), quarantined, count
