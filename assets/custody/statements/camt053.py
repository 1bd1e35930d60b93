"""Statements as ISO 20022 camt.053, of any version: bank money, one record per Stmt.

An XML file is code as much as data, so it gets no document type, no entities, no network and no huge trees;
and comments are dropped before any text is read, since one within an amount would cut it short.
"""

import re
from datetime import UTC, datetime

import polars as pl
from lxml import etree

from assets.custody.statements.delimited import OPTIONAL, REQUIRED
from assets.intake import BOM, SPAN, FileRefused, SourceFile, require_readable
from assets.reference import Reference
from schemas.atoms import NUMBER_PATTERN, plain
from schemas.limits import DECIMALS_MAX
from schemas.reasons import Flaw

XML_BYTES_MAX = 256 * 2**20  # A tree takes about ten times its text.
NAMESPACE_PATTERN = r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.[0-9]{2}"
INSTANT_PATTERN = r"([0-9-]{10}T[0-9:]{8})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
# Whatever can hide a tag comes first, so that only a real <Stmt> or </Stmt> reaches the last alternative.
TAG_PATTERN = re.compile(
    rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>|<\?.*?\?>"
    rb"|<(?P<close>/?)(?:[^\s<>/:\"'=]+:)?Stmt(?=[\s/>])(?:[^>\"']|\"[^\"]*\"|'[^']*')*>",
    re.DOTALL,
)


class _Flawed(Exception):
    """A statement that cannot be read. It does not leave this module: it becomes the record's flaw."""

    def __init__(self, flaw: Flaw, detail: str) -> None:
        super().__init__(detail)
        self.flaw, self.detail = flaw, detail


def read(file: SourceFile, reference: Reference) -> pl.DataFrame:
    """Return one row of text per Stmt, with its span of bytes and what is wrong with it.

    Opening balance + booked entries = closing balance is checked here, exactly: the row no longer shows them.
    Raises FileRefused for what is not a camt.053 document in UTF-8, or has a document type.
    """
    root = _parse(file)
    statements = root.findall("{*}BkToCstmrStmt/{*}Stmt")
    if not statements:
        raise FileRefused(Flaw.FILE_UNREADABLE, "expected BkToCstmrStmt with at least one Stmt")
    spans = _spans(file.bytes())
    if len(spans) != len(statements):
        spans = [(0, file.size)] * len(statements)
    instruments = _instruments_by_currency(reference)
    rows = []
    for record, (statement, (offset, length)) in enumerate(zip(statements, spans, strict=True), start=1):
        try:
            row, flaw, detail = _read_statement(statement, instruments), None, None
        except _Flawed as flawed:
            row, flaw, detail = {}, str(flawed.flaw), flawed.detail
        rows.append({"record": record, "offset": offset, "length": length, "flaw": flaw, "detail": detail, **row})
    return pl.DataFrame(rows, schema={**SPAN, **dict.fromkeys(("detail", *REQUIRED, *OPTIONAL), pl.String)})


def _parse(file: SourceFile) -> etree._Element:
    require_readable(file)
    if file.size > XML_BYTES_MAX:
        raise FileRefused(Flaw.FILE_TOO_LARGE, f"more than {XML_BYTES_MAX:,} bytes of XML: split it")
    data = file.bytes().removeprefix(BOM)
    try:
        data.decode()
    except UnicodeDecodeError:
        raise FileRefused(Flaw.FILE_NOT_UTF8, "expected UTF-8") from None
    if b"\x00" in data:
        raise FileRefused(Flaw.FILE_HAS_NUL, "expected no NUL")
    if b"<!DOCTYPE" in data:
        raise FileRefused(Flaw.FILE_UNREADABLE, "it has a document type; expected none")
    # The encoding is ours to say: by its own declaration a file could hide a document type from that look.
    parser = etree.XMLParser(
        encoding="utf-8", resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError):
        raise FileRefused(Flaw.FILE_UNREADABLE, "it is not well-formed XML") from None
    name = etree.QName(root)
    if name.localname != "Document" or not re.fullmatch(NAMESPACE_PATTERN, name.namespace or ""):
        raise FileRefused(Flaw.FILE_UNREADABLE, "expected a Document in a namespace camt.053.001.NN")
    return root


def _spans(data: bytes) -> list[tuple[int, int]]:
    """Return offset and length of each Stmt element in the bytes of a well-formed document."""
    spans, depth, start = [], 0, 0
    for tag in TAG_PATTERN.finditer(data):
        if tag["close"] is None:
            continue
        if not tag["close"]:
            start = tag.start() if depth == 0 else start
            depth += 1
        if tag["close"] or tag[0].endswith(b"/>"):
            depth -= 1
            if depth == 0:
                spans.append((start, tag.end() - start))
    return spans


def _instruments_by_currency(reference: Reference) -> dict[tuple[str, str], list[str]]:
    """Return our instruments by (account, ISO 4217 code)."""
    held = reference.accounts.join(reference.instruments.filter(pl.col("iso4217").is_not_null()), on="instrument")
    found: dict[tuple[str, str], list[str]] = {}
    for account, currency, instrument in held.select("account", "iso4217", "instrument").rows():
        found.setdefault((account, currency), []).append(instrument)
    return found


def _read_statement(statement: etree._Element, instruments: dict[tuple[str, str], list[str]]) -> dict[str, str | None]:
    if _text(statement, "StmtPgntn/LastPgInd") in ("false", "0"):
        raise _Flawed(Flaw.MALFORMED, "LastPgInd: expected the last page, which has the closing balance")
    account = _text(statement, "Acct/Id/IBAN") or _text(statement, "Acct/Id/Othr/Id")
    balances = _balances(statement)
    opening, closing = balances.get("OPBD", balances.get("PRCD")), balances.get("CLBD")
    if account is None or opening is None or closing is None:
        raise _Flawed(Flaw.MISSING_FIELD, "expected Acct/Id, OPBD (or PRCD) and CLBD")
    booked = [entry for entry in _all(statement, "Ntry") if _is_booked(entry)]
    amounts = [opening, closing, *([balances["CLAV"]] if "CLAV" in balances else []), *booked]
    currencies = {node.get("Ccy") for balance in amounts for node in _all(balance, "Amt")}
    currencies |= {_text(statement, "Acct/Ccy")} - {None}
    if len(currencies) != 1:
        raise _Flawed(Flaw.BAD_CODE, "Ccy: expected one currency in a statement")
    found = instruments.get((account, str(currencies.pop())), [])
    if len(found) != 1:
        raise _Flawed(Flaw.UNKNOWN_ACCOUNT, "expected one row of accounts.csv for this account and currency")
    total = _signed(closing)
    if _signed(opening) + sum(_signed(entry) for entry in booked) != total:
        raise _Flawed(Flaw.BALANCE_IDENTITY, "expected opening balance + booked entries = closing balance")
    # What is available may include a credit line of the bank's; only funds that are there count.
    available = min(_signed(balances["CLAV"]), total) if "CLAV" in balances else total
    return {
        "statement_id": _text(statement, "Id"),
        "statement_seq": _text(statement, "ElctrncSeqNb") or _text(statement, "LglSeqNb"),
        "custodian_lei": _text(statement, "Acct/Svcr/FinInstnId/LEI"),
        "account": account,
        "account_title_lei": _text(statement, "Acct/Ownr/Id/OrgId/LEI"),
        "segregation": "CLIENT_TITLED",  # A bank's statement has one owner, who is judged by LEI.
        "as_of": _utc(_text(statement, "FrToDt/ToDtTm") or _text(statement, "CreDtTm")),
        "update": "COMPLETE",
        "instrument": found[0],
        "total": plain(total, DECIMALS_MAX),
        "available": plain(available, DECIMALS_MAX),
        "held": plain(total - available, DECIMALS_MAX),
        "pledged": "0",
        "staked": "0",
        "restricted": "0",
    }


def _balances(statement: etree._Element) -> dict[str, etree._Element]:
    """Return the balances by their code. Two of one code, or one that includes a credit line, are flaws."""
    balances: dict[str, etree._Element] = {}
    for balance in _all(statement, "Bal"):
        code = _text(balance, "Tp/CdOrPrtry/Cd")
        if code not in ("OPBD", "PRCD", "CLBD", "CLAV"):
            continue
        if code in balances:
            raise _Flawed(Flaw.DUPLICATE_FIELD, f"Bal: expected {code} once")
        included = [_text(line, "Incl") in ("true", "1") for line in _all(balance, "CdtLine")]
        if code != "CLAV" and any(included):
            raise _Flawed(Flaw.BAD_CODE, "CdtLine/Incl: expected false; a credit line is no balance")
        balances[code] = balance
    return balances


def _is_booked(entry: etree._Element) -> bool:
    """Say if an entry has moved the balance: its status is BOOK, in either of two shapes, or not given."""
    status = _all(entry, "Sts")
    return not status or "BOOK" in (_text(entry, "Sts/Cd"), status[0].text)


def _signed(node: etree._Element) -> int:
    """Return the amount of a Bal or Ntry in units of 10^-30, negative for a debit."""
    amount, direction = _text(node, "Amt"), _text(node, "CdtDbtInd")
    if amount is None or direction is None:
        raise _Flawed(Flaw.MISSING_FIELD, "expected Amt and CdtDbtInd")
    # Unlike the pattern of CSV this one knows no sign: here the sign is CdtDbtInd.
    if not re.fullmatch(NUMBER_PATTERN.replace("-?", ""), amount):
        raise _Flawed(Flaw.BAD_NUMBER, "Amt: expected a decimal number")
    if direction not in ("CRDT", "DBIT"):
        raise _Flawed(Flaw.BAD_CODE, "CdtDbtInd: expected CRDT or DBIT")
    whole, _, fraction = amount.partition(".")
    size = int(whole + fraction.ljust(DECIMALS_MAX, "0"))
    return size if direction == "CRDT" else -size


def _utc(text: str | None) -> str | None:
    """Return an ISO 20022 time with its offset as RFC 3339 in UTC, to the same digit."""
    if text is None:
        return None
    parts = re.fullmatch(INSTANT_PATTERN, text)
    try:
        whole = datetime.fromisoformat(parts[1] + parts[3]).astimezone(UTC) if parts else None
    except (ValueError, OverflowError):
        whole = None
    if parts is None or whole is None:
        raise _Flawed(Flaw.BAD_TIME, "ToDtTm, CreDtTm: expected a time with Z or an offset")
    return f"{whole:%Y-%m-%dT%H:%M:%S}{parts[2] or ''}Z"


def _all(node: etree._Element, path: str) -> list[etree._Element]:
    return node.findall("/".join(f"{{*}}{name}" for name in path.split("/")))


def _text(node: etree._Element, path: str) -> str | None:
    """Return the text of the one element at `path`, None if there is none or it is blank."""
    found = _all(node, path)
    if len(found) > 1:
        raise _Flawed(Flaw.DUPLICATE_FIELD, f"{path}: expected once")
    if not found or not (found[0].text or "").strip():
        return None
    if len(found[0]):
        # The text of an element with others inside would stop at the first of them.
        raise _Flawed(Flaw.MALFORMED, f"{path}: expected text alone")
    return str(found[0].text)
