"""Why a row is kept out, why a chain waits, what became of a fill: one list of codes each.

`HoldReason` is in order of precedence: a chain that waits shows the first that applies. Four-letter codes are
those of ISO 20022 (SettlementStatusReason and its kin); codes with an X are ours, where ISO has none.
"""

from enum import StrEnum


class Flaw(StrEnum):
    """Why bytes, a row or a file were quarantined. The comment says what to do about it."""

    # A whole file
    FILE_UNREADABLE = "FILE_UNREADABLE"  # Not of the form its venue or format promises.
    FILE_EMPTY = "FILE_EMPTY"  # No bytes at all.
    FILE_TOO_LARGE = "FILE_TOO_LARGE"  # Beyond schemas.limits: split it.
    FILE_NOT_UTF8 = "FILE_NOT_UTF8"  # UTF-16 or damage.
    FILE_HAS_NUL = "FILE_HAS_NUL"
    FILE_CR_LINE_ENDS = "FILE_CR_LINE_ENDS"  # Old Mac line ends would read as one line.
    FILE_BAD_HEADER = "FILE_BAD_HEADER"  # A column is missing, unknown or named twice.
    FILE_COUNT_MISMATCH = "FILE_COUNT_MISMATCH"  # The parser saw another number of records than the bytes hold.
    FILE_UNKNOWN_VENUE = "FILE_UNKNOWN_VENUE"  # No entry in reference/venues.toml.
    FILE_UNKNOWN_ACCOUNT = "FILE_UNKNOWN_ACCOUNT"  # The account that the file is named for is not registered.
    # The form of a row
    EMPTY_RECORD = "EMPTY_RECORD"
    RECORD_CUT = "RECORD_CUT"  # The file's last record has no end: an amount may have lost digits.
    RECORD_TOO_LONG = "RECORD_TOO_LONG"
    COLUMN_COUNT = "COLUMN_COUNT"
    MALFORMED = "MALFORMED"
    DUPLICATE_FIELD = "DUPLICATE_FIELD"  # A FIX tag or JSON key that must stand once stands twice.
    BAD_CHECKSUM = "BAD_CHECKSUM"
    BAD_BODY_LENGTH = "BAD_BODY_LENGTH"
    UNEXPECTED_MESSAGE = "UNEXPECTED_MESSAGE"  # A message or execution type that is no trade report.
    MISSING_FIELD = "MISSING_FIELD"
    # Its values
    BAD_IDENTIFIER = "BAD_IDENTIFIER"
    BAD_LEI = "BAD_LEI"
    BAD_DTI = "BAD_DTI"
    BAD_CODE = "BAD_CODE"  # A value outside the list of allowed ones.
    BAD_TIME = "BAD_TIME"
    BAD_NUMBER = "BAD_NUMBER"
    EXCESS_DECIMALS = "EXCESS_DECIMALS"  # More digits than the instrument has; never rounded.
    AMOUNT_TOO_LARGE = "AMOUNT_TOO_LARGE"
    NOT_POSITIVE = "NOT_POSITIVE"
    NEGATIVE_BALANCE = "NEGATIVE_BALANCE"
    # Its meaning
    WRONG_VENUE = "WRONG_VENUE"  # The row names another venue than its folder.
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    UNKNOWN_PARTY = "UNKNOWN_PARTY"
    WRONG_ROLE = "WRONG_ROLE"  # A venue where a client is due, a client where a prime broker is due.
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_LINE = "UNKNOWN_LINE"
    UNKNOWN_INSTRUCTION = "UNKNOWN_INSTRUCTION"  # Not one that Trine gave, or its batch is final or not handed out.
    SAME_INSTRUMENT = "SAME_INSTRUMENT"  # Base and quote are one.
    SELF_TRADE = "SELF_TRADE"  # Buyer and seller are one account.
    TOO_OLD = "TOO_OLD"
    IN_THE_FUTURE = "IN_THE_FUTURE"
    QUOTE_MISMATCH = "QUOTE_MISMATCH"  # The venue's quote amount is not price x quantity within one increment.
    CONFLICTING_COPIES = "CONFLICTING_COPIES"  # One key, two contents: neither can be believed.
    OMNIBUS_ACCOUNT = "OMNIBUS_ACCOUNT"
    TITLE_NOT_CLIENT = "TITLE_NOT_CLIENT"  # The account's title is not its client: assets are never a venue's.
    WRONG_CUSTODIAN = "WRONG_CUSTODIAN"
    BALANCE_IDENTITY = "BALANCE_IDENTITY"  # total is not the sum of its parts, or opening + moves is not closing.
    STALE_STATEMENT = "STALE_STATEMENT"
    PROVISIONAL = "PROVISIONAL"  # The custodian may still take it back: ask for the final statement.


class HoldReason(StrEnum):
    """Why a chain or a fill waits, in order of precedence: it shows the first that applies. `MEANING` explains each."""

    UNKNOWN_REFERENCE = "XREF"
    UNMATCHED = "XUNM"
    SETTLEMENT_DATE = "FUTU"
    SUSPENDED = "PRSY"
    HOLD = "PREA"
    INCOMPLETE = "INBC"
    LINK = "LINK"
    NO_PRICE = "XPRC"
    NO_CREDIT_DATA = "XCRD"
    LIMIT_NOP = "XLIM_NOP"
    LIMIT_DSL = "XLIM_DSL"
    LIMIT_SHORT = "XLIM_SHORT"
    LIMIT_BILATERAL = "XLIM_BILAT"
    NO_ACCOUNT = "BLOC"
    BELOW_MINIMUM = "MINO"
    NO_SECURITIES = "LACK"
    NO_MONEY = "MONY"
    NEXT_CYCLE = "CYCL"


MEANING = {
    HoldReason.UNKNOWN_REFERENCE: "it corrects or cancels a fill that has not been seen",
    HoldReason.UNMATCHED: "the other side has not reported it, or reported something else",
    HoldReason.SETTLEMENT_DATE: "its settlement date or trade time lies after the cut",
    HoldReason.SUSPENDED: "a participant or instrument of it is suspended",
    HoldReason.HOLD: "a party of it has put it on hold",
    HoldReason.INCOMPLETE: "its pool is not complete",
    HoldReason.LINK: "a chain that it is linked to does not settle",
    HoldReason.NO_PRICE: "an instrument of it has no price, so what it is worth is unknown",
    HoldReason.NO_CREDIT_DATA: "no line is known for it, and credit data are missing or in quarantine",
    HoldReason.LIMIT_NOP: "it would break a net open position limit",
    HoldReason.LIMIT_DSL: "it would break a daily settlement limit",
    HoldReason.LIMIT_SHORT: "it would draw more credit than the limit over all instruments allows",
    HoldReason.LIMIT_BILATERAL: "it would break a limit between two parties",
    HoldReason.NO_ACCOUNT: "a party has no settlement account for an instrument of it",
    HoldReason.BELOW_MINIMUM: "what could settle of it is less than the smallest part that its parties allow",
    HoldReason.NO_SECURITIES: "a deliverer has not enough of the base instrument",
    HoldReason.NO_MONEY: "a payer has not enough of the quote instrument",
    HoldReason.NEXT_CYCLE: "it is funded alone, and a more valuable set needs the same funds",
}


class Rejection(StrEnum):
    """Why a trade will never be a chain. After a refused give-up it stays between its clients, outside Trine."""

    SELF_TRADE = "SELF_TRADE"  # Both sides are one account (R12).
    NO_DESIGNATION = "NO_DESIGNATION"
    NO_CREDIT_LINE = "NO_CREDIT_LINE"
    FILL_LIMIT = "FILL_LIMIT"
    LIMIT_NOP = "NOP"
    LIMIT_DSL = "DSL"


class FillState(StrEnum):
    """What became of an accepted fill report at the end of a cycle."""

    SETTLED = "SETTLED"
    PARTLY_SETTLED = "PARTLY_SETTLED"  # The rest is taken over by the next cycle.
    WAITING = "WAITING"
    UNMATCHED = "UNMATCHED"
    REJECTED = "REJECTED"
    CORRECTED = "CORRECTED"  # Replaced by a later report.
    BUSTED = "BUSTED"
    APPLIED = "APPLIED"  # A bust that did its work.
    EXPIRED = "EXPIRED"


OPEN_STATES = [str(state) for state in (FillState.WAITING, FillState.UNMATCHED, FillState.PARTLY_SETTLED)]
