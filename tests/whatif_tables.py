"""Tables of `trine select` as tests write them, and the answer to a small case by the judge that tries all sets."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from assets.funding.certify import Certificate
from assets.funding.whatif.case import Case
from tests import brute

CHAINS = "chain_id,priority,age,partial,payer,receiver,instrument,quantity_atoms"
BALANCES = "account,instrument,available_atoms"
LIMITS = "kind,account,other,instrument,limit_atoms"
PRICES = "instrument,reference_atoms,per_atoms"
LINKS = "kind,chain_id,other_id"
HEADERS = {"chains": CHAINS, "balances": BALANCES, "limits": LIMITS, "prices": PRICES, "links": LINKS}
# alpha owes beta, beta owes gamma, gamma owes alpha: nobody has anything, and nobody needs anything.
RING = ["r1,,,,alpha,beta,USD,5", "r2,,,,beta,gamma,USD,5", "r3,,,,gamma,alpha,USD,5"]


def write_tables(folder: Path, **tables: Sequence[str] | str | bytes) -> dict[str, Path]:
    """Write tables, each as rows below its usual header or as the whole text of a file, and return their paths."""
    paths = {}
    for name, rows in {"chains": [], "balances": [], **tables}.items():
        paths[name] = folder / f"{name}.csv"
        text = rows if isinstance(rows, str | bytes) else "".join(f"{row}\n" for row in (HEADERS[name], *rows))
        paths[name].write_bytes(text if isinstance(text, bytes) else text.encode())
    return paths


def answer_of(case: Case, units: Sequence[int] | None = None) -> Any:
    """What the engine would answer: the best set, proven by having tried them all."""
    problem = case.problem
    worths, best = brute.best(problem)
    units = best if units is None else units
    classes = sorted(set(problem.classes.tolist()))
    certificates = [
        Certificate(
            priority, worth, worth, 0, [0] * len(problem.rows), [0] * len(problem.groups), [0] * n, "ENUMERATION"
        )
        for n, (priority, worth) in enumerate(zip(classes, worths, strict=True))
    ]  # fmt: skip
    short = {row: -end for row, end in enumerate(brute._end(brute.plain(problem), units)) if end < 0}
    draws = {n: short[credit.row] for n, credit in enumerate(problem.credits) if credit.row in short}
    return SimpleNamespace(
        units=np.array(units, dtype=problem.lots.dtype), certificates=certificates, draws=draws, path="ENUMERATED",
        solver="none",
    )  # fmt: skip
