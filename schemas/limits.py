"""Limits on everything, and what they prove."""

from schemas.atoms import BITS_SAFE

ATOMS_DIGITS_MAX = 38  # What Decimal(38, 0) carries on disk and between tools.
FILL_ATOMS_MAX = 10**34  # 1.2e33 is all NEAR there is, at 24 decimals.
FILLS_PER_CYCLE_MAX = 10**8
BALANCE_ATOMS_MAX = 10**37

# A trade of two fills makes six obligations, each seen from two sides, and no sum in a cycle can leave 128 bits.
# Polars wraps there without a word, so `schemas.atoms` proves it again on the real numbers.
assert (6 * FILLS_PER_CYCLE_MAX).bit_length() + 96 <= BITS_SAFE

# A statement's total and its five parts, or one balance and the largest book, add up within 128 bits.
assert 6 * BALANCE_ATOMS_MAX < 2**127
assert BALANCE_ATOMS_MAX + 10**ATOMS_DIGITS_MAX < 2**127

DECIMALS_MAX = 30  # Digits after the point, in any file.
FILE_BYTES_MAX = 2 * 2**30
RECORD_BYTES_MAX = 65_536
RECORDS_PER_FILE_MAX = 20_000_000
SLICE_RECORDS = 1_000_000  # The unit of ingest.
IDENTIFIER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/#-]{0,63}$"  # ASCII only: no look-alike letters in a key.

FILL_AGE_DAYS_MAX = 60  # An older fill needs a person.
FILL_AHEAD_HOURS_MAX = 24  # A trade time further after the cut than this is a wrong clock.
POLICY_NUMBER_MAX = 1_000_000  # Hours, minutes or cycles: more than a century, and within what a clock can add.

SOLVER_NODES_MAX = 50  # Nodes, not seconds: the same inputs give the same set on any machine.
SOLVER_CHAINS_MAX = 1_000  # Beyond this an exact search takes too long; its relaxation, rounded, decides.
SOLVER_ROUNDS_MAX = 25
STATES_MAX = 65_536  # Sets that are tried one by one: sixteen chains that settle whole.
SEARCH_TRIALS = 60_000
SEARCH_TRIALS_QUICK = 3_000
SEARCH_TRIALS_PER_CHAIN = 50
ACTIVE_CHAINS = 40_000  # Nearly indifferent chains that the second relaxation looks at one by one.
CUT_ROUNDS = 2  # Each solves the relaxation once more.
CUT_CHAINS_MAX = 200_000  # Beyond this the rounding of single chains hardly shows.
SECOND_OPINION_CHAINS_MAX = 20_000  # So many chains are also decided without a solver, in a second or two.
