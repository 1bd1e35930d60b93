"""What can settle. Keyed by our own stable key, never by ticker: more than 100 DTIs are named USDC."""

import pandera.polars as pa
import polars as pl

from schemas.contract import Contract

BITCOIN_DTI = "4H95J0R2X"  # In the registry, though its check character does not compute (it would be T).
DTI_ALPHABET = "0123456789BCDFGHJKLMNPQRSTVWXZ"  # ISO 24165-1: no vowels, no Y.


class Instrument(Contract):
    """One row per instrument and network. Two networks are two instruments unless a fungible group joins them."""

    instrument: str = pa.Field(unique=True, description="'BTC', 'USDC.ETH', 'USD'.")
    name: str
    kind: str = pa.Field(isin=["CRYPTO", "FIAT", "SECURITY"])
    network: str = pa.Field(nullable=True, description="'ethereum'. Null for money at a bank.")
    decimals: pl.Int32 = pa.Field(ge=0, le=30, description="Digits after the point on that network.")
    dti: str = pa.Field(nullable=True, description="ISO 24165.")
    caip19: str = pa.Field(nullable=True)
    iso4217: str = pa.Field(nullable=True)
    status: str = pa.Field(isin=["ACTIVE", "SUSPENDED"])


class Price(Contract):
    """What one whole unit of an instrument is worth, in the policy's reference instrument."""

    instrument: str = pa.Field(unique=True)
    price_units: pl.Int128 = pa.Field(gt=0, description="The price without its point: 105433.60 is 1054336 ...")
    price_scale: pl.Int128 = pa.Field(gt=0, description="... over 10. No trailing zeros.")


def dti_is_valid(code: str) -> bool:
    """True if `code` is a well-formed ISO 24165 identifier: ISO 7064 hybrid MOD 31,30 over 30 characters.

    Bitcoin's own identifier breaks the rule and is registered all the same; it is accepted by name.
    """
    if code == BITCOIN_DTI:
        return True
    if len(code) != 9 or code[0] == "0" or any(character not in DTI_ALPHABET for character in code):
        return False
    product = 30
    for character in code[:-1]:
        total = (product + DTI_ALPHABET.index(character)) % 30 or 30
        product = total * 2 % 31
    return (product + DTI_ALPHABET.index(code[-1])) % 30 == 1
