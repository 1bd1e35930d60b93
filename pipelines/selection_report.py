"""What `trine select` tells: one JSON object, a summary for people, a folder for other tools. It decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
from rich.console import Console

from assets.funding.explain import explain, pay_in_schedule
from assets.funding.gap import gap_of
from assets.funding.problem import ends
from assets.funding.whatif.case import Case
from pipelines.summary import gap_lines
from schemas.errors import BrokenInvariant, RefusedInput
from schemas.printing import printable
from schemas.reasons import MEANING

SHOWN = 20
RATIO_DIGITS = 12


def digits(number: int) -> str:
    """Return all digits of a whole number; `str` gives up beyond 4,300."""
    return str(Decimal(number))


def ratio(value: int, bound: int) -> float:
    """Return value / bound cut (never rounded up) to 12 digits. 1.0 is said only when they are equal."""
    return 1.0 if value >= bound else value * 10**RATIO_DIGITS // bound / 10**RATIO_DIGITS


def select_case(case: Case, effort: str) -> tuple[Any, dict[str, Any]]:
    """Decide and explain the case: the engine's answer, and the result of it."""
    from assets.funding.decide import decide

    answer = decide(case.problem, effort=effort)
    return answer, result_of(case, answer, explain(case.problem, answer, case.prices.worth()))


def result_of(case: Case, answer: Any, explanations: Iterable[Any]) -> dict[str, Any]:
    """Return what was decided as one JSON object; amounts and values are strings of digits.

    `answer` is that of `assets.funding.decide`, `explanations` those of `assets.funding.explain`.
    """
    problem = case.problem
    units = [int(settled) for settled in answer.units]
    worth = sum(
        int(weight) * settled // int(lots)
        for weight, settled, lots in zip(problem.weights, units, problem.lots, strict=True)
        if settled
    )
    value = sum(certificate.value for certificate in answer.certificates)
    bound = sum(certificate.bound for certificate in answer.certificates)
    if worth != value or value > bound:
        raise BrokenInvariant(
            "the value of the chosen chains is not the one that the certificate is about. Nothing was written. "
            "Please report it."
        )
    chosen = [chain for k, settled in enumerate(units) if settled for chain in _ids(case, k)]
    return {
        "chosen": sorted(chosen),
        # Half, because a chain counts for value x (2 + age).
        "value": digits(value // 2),
        "bound": digits(-(-bound // 2)),
        "ratio": ratio(value, bound),
        "waiting": _waiting(case, explanations),
        "balances": [
            {"account": account, "instrument": instrument, "available_atoms": digits(atoms)}
            for (account, instrument), atoms in closing(case, answer).items()
        ],
        "partly": [
            {"chain_id": problem.chains[k], "quantity_atoms": digits(settled * int(case.lot_atoms[k]))}
            for k, settled in enumerate(units)
            if 0 < settled < problem.lots[k]
        ],
        "all_or_nothing": [{"chain_id": chain, "reason": why} for chain, why in sorted(case.made_whole.items())],
        "classes": [
            {
                "priority": certificate.priority,
                "value": digits(certificate.value // 2),
                "bound": digits(-(-certificate.bound // 2)),
                "ratio": ratio(certificate.value, certificate.bound),
            }
            for certificate in answer.certificates
        ],
        "gap": _gap(case, answer),
        "path": answer.path,
        "solver": answer.solver,
        "draws": [
            {"account": account, "instrument": instrument, "quantity_atoms": digits(atoms)}
            for (account, instrument), atoms in sorted(_drawn(case, answer).items())
        ],
    }


def _ids(case: Case, chain: int) -> list[str]:
    return case.members.get(chain) or [case.problem.chains[chain]]


def _gap(case: Case, answer: Any) -> dict[str, list[dict[str, Any]]]:
    """Return whose funds and which chains make the gap, the greatest first: in value, cut to whole atoms."""
    problem, idle, regret = case.problem, list[dict[str, Any]](), list[dict[str, Any]]()
    floors: list[tuple[int, int]] = []
    for one in answer.certificates:
        gap = gap_of(problem, answer.units, answer.draws, one, floors)
        floors.append((one.priority, one.value))
        names = [
            *((*name, "") for name in problem.rows),
            *((group.kind, group.name, "", "") for group in problem.groups),
            *(("CUT", *problem.rows[cut.row][1:], digits(cut.divisor)) for cut in one.cuts),
        ]
        for (kind, party, instrument, divisor), atoms in zip(names, (*gap.rows, *gap.groups, *gap.cuts), strict=True):
            if atoms:
                told = {"priority": one.priority, "kind": kind, "party": party, "instrument": instrument}
                idle.append({**told, "divisor": divisor, "atoms": atoms >> one.scale_bits + 1})
        # By the prices of one class, chains of another count too: they free funds for it, or take them.
        regret += [
            {"priority": one.priority, "chain_id": _ids(case, k)[0], "atoms": atoms >> one.scale_bits + 1}
            for k, atoms in enumerate(gap.chains)
            if atoms
        ]
    return {
        name: [{**row, "atoms": digits(row["atoms"])} for row in sorted(rows, key=lambda row: -row["atoms"])]
        for name, rows in (("idle", idle), ("regret", regret))
    }


def _waiting(case: Case, explanations: Iterable[Any]) -> list[dict[str, Any]]:
    waiting: list[dict[str, Any]] = [
        {"chain_id": chain, "reason": reason, "top_up": None, "top_up_exact": True}
        for chain, reason in case.held.items()
    ]
    for found in explanations:
        top_up = None if found.top_up is None else [_top_up(case, row, atoms) for row, atoms in found.top_up]
        waiting += [
            {"chain_id": chain, "reason": str(found.reason), "top_up": top_up, "top_up_exact": bool(found.exact)}
            for chain in _ids(case, found.chain)
        ]
    return sorted(waiting, key=lambda row: row["chain_id"])


def _top_up(case: Case, row: int, atoms: int) -> dict[str, str]:
    name = case.problem.rows[row]
    return {"account": name.party, "instrument": name.instrument, "quantity_atoms": digits(int(atoms))}


def _moves(case: Case, units: Any) -> dict[tuple[str, str], int]:
    """Return what each account of the problem gets net (negative: pays)."""
    end = ends(case.problem, units).tolist()
    return {
        (name.party, name.instrument): after - before
        for name, after, before in zip(case.problem.rows, end, case.problem.funds.tolist(), strict=True)
        if name.kind == "ACCOUNT"
    }


def closing(case: Case, answer: Any) -> dict[tuple[str, str], int]:
    """Return what every account holds after settlement, with what is held back or must stay."""
    moves = _moves(case, answer.units)
    return {key: atoms + moves.get(key, 0) for key, atoms in case.opening.items()}


def _drawn(case: Case, answer: Any) -> dict[tuple[str, str], int]:
    """Return how far each account goes below its funds."""
    drawn: dict[tuple[str, str], int] = {}
    for credit, atoms in answer.draws.items():
        name = case.problem.rows[case.problem.credits[credit].row]
        if name.kind == "ACCOUNT" and atoms:
            drawn[name.party, name.instrument] = drawn.get((name.party, name.instrument), 0) + int(atoms)
    return drawn


def _pay_in(case: Case, answer: Any) -> list[tuple[str, ...]]:
    schedule = sorted(pay_in_schedule(case.problem, answer))
    amounts = ((row.pays_net_atoms, row.draws_atoms, row.must_bring_atoms) for row in schedule)
    return [
        (row.party, row.instrument, *(digits(int(atoms)) for atoms in paid))
        for row, paid in zip(schedule, amounts, strict=True)
    ]


def _decisions(case: Case, result: dict[str, Any]) -> list[tuple[str, str, str | None, str | None]]:
    parts = {row["chain_id"]: row["quantity_atoms"] for row in result["partly"]}
    chosen = [(chain, "PARTLY" if chain in parts else "SETTLES", parts.get(chain), None) for chain in result["chosen"]]
    return sorted([*chosen, *((row["chain_id"], "WAITS", None, row["reason"]) for row in result["waiting"])])


def _certificate(case: Case, answer: Any) -> dict[str, Any]:
    """Return what proves the bound, for a verifier that has the same tables: prices of rows, groups and classes.

    Values and bounds here are the problem's own weights, value x (2 + age).
    """
    problem = case.problem
    return {
        "rows": [list(name) for name in problem.rows],
        "groups": [{"kind": g.kind, "name": g.name, "limit_atoms": digits(g.limit_atoms)} for g in problem.groups],
        "classes": [
            {
                "priority": certificate.priority,
                "value": digits(certificate.value),
                "bound": digits(certificate.bound),
                "scale_bits": certificate.scale_bits,
                **{
                    name: [digits(int(price)) for price in getattr(certificate, name)]
                    for name in ("row_prices", "group_prices", "floor_prices")
                },
                "proof": certificate.proof,
                "cuts": [
                    {"row": cut.row, "divisor": digits(cut.divisor), "price": digits(cut.price)}
                    for cut in certificate.cuts
                ],
            }
            for certificate in answer.certificates
        ],
        "path": answer.path,
        "solver": answer.solver,
    }


def require_free(folder: Path) -> None:
    """Raise RefusedInput unless `folder` is not there yet, or is empty."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise RefusedInput(f"{folder} exists and is not empty. Nothing was written. Name another folder with --out.")


def write_folder(folder: Path, case: Case, answer: Any, result: dict[str, Any]) -> None:
    """Write what was decided into `folder`, all of it or nothing."""
    tables = {
        "decisions.csv": (("chain_id", "decision", "part_atoms", "reason"), _decisions(case, result)),
        "balances.csv": (
            ("account", "instrument", "available_atoms"),
            [tuple(row.values()) for row in result["balances"]],
        ),
        "pay_in.csv": (
            ("account", "instrument", "pays_net_atoms", "draws_atoms", "must_bring_atoms"),
            _pay_in(case, answer),
        ),
    }
    require_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place, so that one rename puts it there: no reader ever sees half of it.
    with TemporaryDirectory(dir=folder.parent, prefix=".trine-") as beside:
        made = Path(beside) / "made"
        made.mkdir()
        for name, (columns, rows) in tables.items():
            pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row").write_csv(made / name)
        (made / "certificate.json").write_text(json.dumps(_certificate(case, answer), indent=1) + "\n", "utf-8")
        (made / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        made.replace(folder)


def print_result(case: Case, result: dict[str, Any], console: Console) -> None:
    """Print the result for people: amounts in atoms, the first rows of each list."""
    chains = len(result["chosen"]) + len(result["waiting"])
    unit = f" {case.prices.reference}" if case.prices.reference else ""
    console.print(
        f"\n  chosen   {len(result['chosen']):,} of {chains:,} chains, {len(result['partly']):,} of them in part"
    )
    console.print(f"  value    {_grouped(result['value'])} atoms{unit}", markup=False)
    console.print(f"  bound    {_grouped(result['bound'])}; no lawful set is worth more (ratio {result['ratio']})")
    console.print(f"  found by {result['path']}, solver {result['solver']}", markup=False)
    if len(result["classes"]) > 1:
        for row in result["classes"]:
            told = f"{_grouped(row['value'])} of at most {_grouped(row['bound'])} (ratio {row['ratio']})"
            console.print(f"  class    {row['priority']}: {told}")
    for line in gap_lines(result["gap"], lambda atoms: f"{_grouped(atoms)}{unit}"):
        console.print(f"  gap      {printable(line)}", markup=False)
    for row in result["draws"]:
        amount = f"{_grouped(row['quantity_atoms'])} {row['instrument']}"
        console.print(f"  credit   {row['account']} draws {amount}", markup=False)
    if result["all_or_nothing"]:
        console.print(
            f"  whole    {len(result['all_or_nothing']):,} chains are all or nothing, not divisible (PATD, LINK)"
        )
    _list("waiting", [_why(row) for row in result["waiting"]], console)
    ending = [
        f"{_grouped(r['available_atoms']):>28}  {r['instrument']:<12}  {r['account']}" for r in result["balances"]
    ]
    _list("balances after", ending, console)


def _why(row: dict[str, Any]) -> str:
    if row["top_up"] is None:
        release = "money cannot release it" if row["top_up_exact"] else "no top-up was found"
    elif not row["top_up"]:
        release = "no top-up is needed"
    else:
        parts = [f"{_grouped(t['quantity_atoms'])} {t['instrument']} for {t['account']}" for t in row["top_up"]]
        release = f"{'cheapest top-up' if row['top_up_exact'] else 'enough'}: {' and '.join(parts)}"
    meaning = MEANING.get(row["reason"])
    return f"{row['chain_id']}  {row['reason']}{f' ({meaning})' if meaning else ''}; {release}"


def _list(name: str, lines: list[str], console: Console) -> None:
    if not lines:
        return
    console.print(f"\n[bold]{name}[/] ({len(lines):,})")
    for line in lines[:SHOWN]:
        console.print(f"  {printable(line)}", markup=False)
    if len(lines) > SHOWN:
        console.print(f"  [dim]and {len(lines) - SHOWN:,} more; --json or --out tell all[/]")


def _grouped(text: str) -> str:
    """Return digits with thousands separators."""
    return f"{Decimal(text):,}"
