"""The tables of `trine select`: read whole and strictly. One wrong row refuses the call, and every wrong row is named.

A message says what is wrong with a cell, never what stands in it: messages reach people who may not see positions.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from assets.funding.problem import Indices, Ints, ints
from assets.intake import BOM, WIDE_BOMS
from schemas import limits
from schemas.errors import BrokenInvariant, RefusedInput

DIGITS_MAX = 4_000
DIGITS_OF_A_WORD = 18
LISTED_MAX = 20


@dataclass
class Findings:
    """All that is wrong with the files of one call."""

    listed: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # By file: line (0: the file) and what.
    total: int = 0

    def add(self, file: str, lines: Sequence[int] | Indices, what: str | Callable[[int], str]) -> None:
        """Note `what` about each of `lines` (ascending). A callable is asked for the text of the n-th of them."""
        self.total += len(lines)
        self.listed.setdefault(file, []).extend(
            (int(line), what if isinstance(what, str) else what(n)) for n, line in enumerate(lines[:LISTED_MAX])
        )

    def require_none(self) -> None:
        """Raise RefusedInput with the first findings by file and line, and how many there are in all."""
        if not self.total:
            return
        each = [
            f"{file}{f' line {line}' if line else ''}: {what}"
            for file, found in self.listed.items()
            for line, what in sorted(found)
        ]
        listed = each[:LISTED_MAX]
        more = [f"and {self.total - len(listed):,} more"] if self.total > len(listed) else []
        raise RefusedInput(
            "\n".join(
                [f"{self.total:,} found wrong. Nothing was written. Mend this, then run it again.", *listed, *more]
            )
        )


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file as text (null where blank), each with its line."""

    file: str
    rows: pl.DataFrame
    lines: Indices
    findings: Findings

    def refuse(self, rows: Indices, what: str | Callable[[int], str]) -> None:
        """Note what is wrong with `rows` (positions, ascending)."""
        self.findings.add(self.file, self.lines[rows], what)

    def given(self, column: str) -> Indices:
        """Return the positions where `column` has a value."""
        return np.flatnonzero(self.rows[column].is_not_null().to_numpy())

    def numbers(self, column: str, *, least: int = 0, default: int | None = None) -> Ints:
        """Return `column` as whole numbers of any size. Blank is `default`, or wrong where there is none."""
        text = self.rows[column]
        well_formed = text.str.contains(r"^[0-9]+$") & (text.str.len_bytes() <= DIGITS_MAX)
        bad = np.flatnonzero((~well_formed).fill_null(default is None).to_numpy())
        self.refuse(
            bad, lambda n: f"{column} {_unlike_digits(text[int(bad[n])])}; expected a whole number, digits alone"
        )
        filler = str(least if default is None else default)
        clean = pl.select(pl.when(well_formed.fill_null(False)).then(text).otherwise(pl.lit(filler))).to_series()
        values = whole_numbers(clean)
        self.refuse(np.flatnonzero(values < least), f"{column} is below {least}; expected {least} or more")
        return values

    def identifiers(self, *columns: str, blank: Sequence[str] = ()) -> list[pl.Series]:
        """Return the columns as text with '' for blank, which is wrong except in `blank`."""
        found = []
        for column in columns:
            text = self.rows[column]
            if column not in blank:
                self.refuse(np.flatnonzero(text.is_null().to_numpy()), f"{column} is blank; expected an identifier")
            wrong = np.flatnonzero((~text.str.contains(limits.IDENTIFIER_PATTERN)).fill_null(False).to_numpy())
            expected = "expected 1 to 64 of A-Z a-z 0-9 . _ : / # -, the first a letter or digit"
            self.refuse(wrong, f"{column} is no identifier; {expected}")
            found.append(text.fill_null(""))
        return found

    def once(self, *columns: str) -> None:
        """Refuse each row whose `columns` stood on an earlier line already."""
        if self.rows.is_empty():
            return
        again = np.flatnonzero(~self.rows.select(pl.struct(columns).is_first_distinct()).to_series().to_numpy())
        self.refuse(again, f"the same {', '.join(columns)} as on an earlier line; expected each once")


def whole_numbers(digits: pl.Series) -> Ints:
    """Return texts of ASCII digits as exact integers."""
    if not (digits.str.len_bytes() > DIGITS_OF_A_WORD).any():
        return ints(digits.cast(pl.Int64).to_numpy())
    return ints([int(text) for text in digits.to_list()])


def _unlike_digits(text: str | None) -> str:
    if text is None:
        return "is blank"
    if text.isascii() and text.isdigit():
        return f"has more than {DIGITS_MAX:,} digits"
    if text[0] in "+-":
        return "has a sign"
    return "has a space" if any(c.isspace() for c in text) else "is not made of the digits 0 to 9 alone"


def read_table(path: Path, required: Sequence[str], optional: Sequence[str], findings: Findings) -> Table:
    """Return the rows of a CSV file. What is wrong with its form goes to `findings`, and those rows are left out.

    UTF-8, a byte order mark and CR LF are allowed, a blank line says nothing and is passed over. Columns may stand in
    any order; an optional one that is not there is blank. A record is one line.
    """
    columns = [*required, *optional]
    nothing = Table(path.name, pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), np.empty(0, np.int64), findings)
    data, flaw = _text_of(path)
    header, _, body = data.partition(b"\n")
    names = _cells(header)
    flaw = flaw or _flaw_of_header(names, required, optional)
    if flaw or names is None:
        findings.add(path.name, [0], flaw)
        return nothing
    if body and not body.endswith(b"\n"):
        findings.add(path.name, [1 + body.count(b"\n") + 1], "has no line end, so the file may be cut short; add one")
        body += b"\n"
    if not body:
        return nothing
    rows, lines = _plain(body, names) or _line_by_line(body, names, path.name, findings)
    absent = [pl.lit(None, pl.String).alias(name) for name in columns if name not in names]
    return Table(path.name, rows.with_columns(absent).select(columns), lines, findings)


def _text_of(path: Path) -> tuple[bytes, str]:
    """Return the bytes of a file with LF line ends, and what is wrong with all of it ('' when nothing is)."""
    if not path.is_file():
        return b"", "is no regular file; expected a CSV file"
    try:
        if path.stat().st_size > limits.FILE_BYTES_MAX:
            return b"", f"has more than {limits.FILE_BYTES_MAX:,} bytes"
        data = path.read_bytes()
    except OSError as error:
        return b"", f"cannot be read: {error.strerror}"
    if not data:
        return b"", "is empty; expected a line of column names"
    if data.startswith(WIDE_BOMS):
        return b"", "is UTF-16 or UTF-32; expected UTF-8"
    data = data.removeprefix(BOM)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    if b"\n" not in data:
        return b"", "has no whole first line; expected column names and a line end (LF or CR LF)"
    return data, ""


def _flaw_of_header(names: list[str] | None, required: Sequence[str], optional: Sequence[str]) -> str:
    if names is None:
        return "the first line is no line of column names in UTF-8"
    unknown = sorted(set(names) - {*required, *optional})
    flaws = {
        "lacks": [name for name in required if name not in names],
        "has the unknown column": [ascii(name[:40]) for name in unknown],
        "names more than once": sorted({name for name in names if names.count(name) > 1 and name not in unknown}),
    }
    told = " and ".join(f"{what} {', '.join(which)}" for what, which in flaws.items() if which)
    return f"{told}; expected {','.join(required)}" + "".join(f"[,{name}]" for name in optional) if told else ""


def _cells(line: bytes) -> list[str] | None:
    """Return the cells of one line, or None for a line that no table of ours holds."""
    try:
        text = line.decode()
        if "\0" in text or "\r" in text:
            return None
        return next(csv.reader([text], strict=True), []) if '"' in text else text.split(",")
    except (UnicodeDecodeError, csv.Error):
        return None


def _plain(body: bytes, names: list[str]) -> tuple[pl.DataFrame, Indices] | None:
    """Return the rows of a body in which nothing is out of the ordinary, else None. Seen in the bytes, before parsing."""
    unusual = any(mark in body for mark in (b'"', b"\0", b"\r", b"\n\n")) or body.startswith(b"\n")
    if unusual or not (body.isascii() or _is_utf8(body)):
        return None
    view = np.frombuffer(body, dtype=np.uint8)
    ends, commas = np.flatnonzero(view == 0x0A), np.flatnonzero(view == 0x2C)
    wide = np.searchsorted(commas, ends)
    if (np.diff(wide, prepend=0) != len(names) - 1).any():
        return None
    rows = pl.read_csv(body, has_header=False, new_columns=names, infer_schema=False, quote_char=None)
    if rows.height != len(ends):
        raise BrokenInvariant("a table was read into another number of rows than it has lines")
    return rows, np.arange(2, len(ends) + 2)


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _line_by_line(body: bytes, names: list[str], file: str, findings: Findings) -> tuple[pl.DataFrame, Indices]:
    kept: list[list[str]] = []
    lines: list[int] = []
    broken: list[int] = []
    ragged: list[int] = []
    for number, line in enumerate(body[:-1].split(b"\n"), start=2):
        cells = _cells(line) if line else None
        if cells is not None and len(cells) == len(names):
            kept.append(cells)
            lines.append(number)
        elif line:
            (broken if cells is None else ragged).append(number)
    findings.add(file, broken, "is no CSV line in UTF-8 (a NUL, a bare CR, an odd quote or a byte out of place)")
    findings.add(file, ragged, f"has not {len(names)} cells like the first line")
    rows = pl.DataFrame(kept, schema=dict.fromkeys(names, pl.String), orient="row")
    blank = [pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in names]
    return rows.with_columns(blank), np.asarray(lines, dtype=np.int64)
