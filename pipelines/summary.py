"""What a cycle did, for people at a terminal."""

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from schemas.atoms import show
from schemas.printing import printable
from schemas.reasons import MEANING

SHOWN = 5
GAP_SHOWN = 3


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the record of `assets.ledger.report.summarise`."""
    unit = summary["reference_instrument"]
    places = summary["decimals"][unit]

    def money(atoms: str) -> str:
        return f"{show(int(atoms), places)} {unit}"

    state = "degraded" if summary["degraded"] else "clean"
    console.print(
        f"\n[bold]{summary['batch_id']}[/]  {summary['state'].lower()}, inputs {state}, cut {summary['cut_at']}"
    )
    fills, files = summary["fills"], summary["files"]
    read = sum(file["records"] for file in files if file["stage"] == "fills")
    kept_out = sum(file["quarantined"] for file in files)
    console.print(
        f"  fills    {fills['new']:,} new of {read:,} records, {fills['carried']:,} carried over; "
        f"{kept_out:,} rows and {sum(file['flaw'] is not None for file in files)} files quarantined"
    )
    console.print(
        f"  settled  {summary['settled']:,} of {summary['chains']:,} chains, {money(summary['settled_value_atoms'])}"
    )
    if summary["waiting"]:
        waits = summary["chains"] - summary["settled"]
        console.print(f"  waiting  {waits:,} chains, {money(summary['waiting_value_atoms'])}")
    for row in summary["waiting"]:
        console.print(
            f"           {row['reason']:<9}{row['chains']:>6,}  {money(row['value']):>24}  [dim]{row['meaning']}[/]"
        )
    for row in summary["top_ups"][:SHOWN]:
        funds = " and ".join(
            f"{_amount(part, 'quantity_atoms', summary)} for {part['participant']}" for part in row["funds"]
        )
        how = "would settle with" if row["exact"] else "would settle with at most"
        console.print(f"  top-up   {row['chain_id']} {how} {funds}", markup=False)
    for row in fills["states"]:
        if row["state"] not in ("WAITING",):
            why = MEANING.get(row["reason"], row["reason"])
            console.print(
                f"  other    {row['fills']:,} fills {row['state'].lower()}" + (f": [dim]{why}[/]" if why else "")
            )
    _netting(summary, console)
    _pay_ins(summary, console)
    for draw in summary["draws"]:
        amount = show(int(draw["drawn_atoms"]), summary["decimals"][draw["instrument"]])
        console.print(f"  credit   {draw['client']} draws {amount} {draw['instrument']} on {draw['prime_broker']}")
    for row in summary["selection"]["classes"]:
        best = "none better" if row["weight_atoms"] == row["bound_atoms"] else f"at least {row['ratio']} of the best"
        console.print(f"  best     class {row['priority']}: {best}, by {row['proof'].lower()}")
    for line in gap_lines(summary["selection"]["gap"], money):
        console.print(f"  gap      {printable(line)}", markup=False)
    verdict = summary["verdict"]
    blocked = [row["rule"] for row in verdict["failed"] if row["severity"] == "BLOCK"]
    warned = [row["rule"] for row in verdict["failed"] if row["severity"] != "BLOCK"]
    said = f"blocked by {', '.join(blocked)}" if blocked else "none blocks"
    console.print(
        f"  quality  {verdict['rules']} rules, {said}" + (f"; worth knowing: {', '.join(warned)}" if warned else "")
    )
    console.print(f"  proof    plan {summary['plan_digest'][:16]}  inputs {summary['inputs_digest'][:16]}")


def print_life(summary: dict[str, Any], console: Console) -> None:
    """Print each state that the batch went through, when, and by whose decision; and what its custodians still owe."""
    console.print()
    for step in summary["life"]:
        who = "" if step["decided_by"] == "trine" else f"  by {step['decided_by']}"
        why = f"  {step['reason']}" if step["reason"] else ""
        state = step["state_after"].lower()
        console.print(f"  {step['recorded_at']}  {state:<18}{printable(who + why)}".rstrip(), markup=False)
    rows = summary["open_instructions"]
    for row in rows[:SHOWN]:
        said = (row["outcome"] or "no answer").lower()
        console.print(f"  open     {printable(row['instruction_id'])}: {said}", markup=False)
    if len(rows) > SHOWN:
        console.print(f"           [dim]and {len(rows) - SHOWN:,} more instructions; --json tells all[/]")


def gap_lines(gap: dict[str, list[dict[str, Any]]], money: Callable[[str], str]) -> list[str]:
    """Return where the gap between value and bound comes from: the few accounts and chains that make most of it."""
    idle = [
        f"{money(row['atoms'])} lies idle at {' '.join(filter(None, (row['party'], row['instrument'])))}"
        + {"ACCOUNT": "", "CUT": ", in whole chains"}.get(row["kind"], f" ({row['kind']})")
        for row in gap["idle"]
        if row["kind"] != "FLOOR" and row["atoms"] != "0"
    ]
    regret = [f"{money(row['atoms'])} regret of {row['chain_id']}" for row in gap["regret"] if row["atoms"] != "0"]
    return [*idle[:GAP_SHOWN], *regret[:GAP_SHOWN]]


def _amount(row: dict[str, Any], column: str, summary: dict[str, Any]) -> str:
    return f"{show(int(row[column]), summary['decimals'][row['instrument']])} {row['instrument']}"


def _pay_ins(summary: dict[str, Any], console: Console) -> None:
    """What is lacking, of the first few accounts; all of them, and what they pay in now, are in `--json`."""
    told = summary["pay_ins"]["accounts"]
    short = [row for row in told if int(row["must_bring_atoms"])]
    if not short:
        return
    console.print(f"  to bring by {summary['pay_ins']['bring_by']}, so that every chain settles")
    for row in short[:SHOWN]:
        console.print(
            f"           {row['participant']:<12}{_amount(row, 'must_bring_atoms', summary):>32}", markup=False
        )
    if len(short) > SHOWN:
        console.print(f"           [dim]and {len(short) - SHOWN:,} more accounts; --json tells all[/]")


def _netting(summary: dict[str, Any], console: Console) -> None:
    """Values, because they can be added up and compared; the amounts are in `--json`."""
    unit = summary["reference_instrument"]
    names = ("gross", "prefunded", "bilateral", "multilateral")
    value = {name: int(summary["value"][name]) for name in names}
    if not value["gross"]:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in (f"  to move, {unit}", "gross", "pre-funded", "bilateral", "multilateral"):
        table.add_column(name, justify="left" if name.startswith(" ") else "right", header_style="dim", no_wrap=True)
    for row in summary["netting"]:
        cells = [show(int(row[f"{name}_value_atoms"]), summary["decimals"][unit]) for name in names]
        table.add_row(f"  {row['instrument']}", *cells)
    table.add_row("  all", *(show(value[name], summary["decimals"][unit]) for name in names), style="bold")
    console.print(table)
    console.print(
        f"  saved    {_percent(value['gross'] - value['multilateral'], value['gross'])} of gross, "
        f"{_percent(value['prefunded'] - value['multilateral'], value['prefunded'])} of pre-funding every venue"
    )


def _percent(part: int, whole: int) -> str:
    """Return part / whole in percent to two places, by integers, rounded down."""
    return f"{show(part * 10_000 // whole, 2)} %" if whole else "0.00 %"


def print_rows(name: str, rows: list[dict[str, Any]], summary: dict[str, Any], console: Console) -> None:
    """Print rows as a table. Amounts are in units of the row's instrument, values in the reference instrument."""
    console.print(f"\n[bold]{name.replace('_', ' ')}[/] ({len(rows):,})")
    if not rows:
        return

    def cell(row: dict[str, Any], column: str) -> str:
        if row[column] is None:
            return ""
        if not column.endswith("_atoms"):
            return printable(str(row[column]))
        unit = summary["reference_instrument"] if column.endswith("value_atoms") else row["instrument"]
        return show(int(row[column]), summary["decimals"][unit])

    names = list(rows[0])
    lines = [[name.removesuffix("_atoms") for name in names], *([cell(row, name) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    # Plain columns and no table, which would cut what is wider than the terminal: an amount that is cut is wrong.
    for number, line in enumerate(lines):
        cells = [
            text.rjust(width) if name.endswith("_atoms") else text.ljust(width)
            for name, text, width in zip(names, line, widths, strict=True)
        ]
        console.print("  ".join(cells).rstrip(), style="dim" if number == 0 else None, markup=False, soft_wrap=True)


def print_trace(found: dict[str, Any], decimals: dict[str, int], console: Console) -> None:
    """Print a settled amount and the fills behind it."""
    places = decimals[found["instrument"]]
    console.print(f"\n[bold]{found['participant']} {found['instrument']}[/] in {found['batch_id']}")
    for part in found["contributions"]:
        console.print(f"  {show(int(part['atoms']), places):>28}  {part['chain_id']}", markup=False)
        for fill in part["fills"]:
            console.print(f"  {'':>28}    [dim]{_place(fill)}[/]")
    console.print(
        f"  {show(int(found['net_atoms']), places):>28}  [bold]settled[/], the sum of {len(found['contributions'])} chains"
    )


def print_fill_trace(found: dict[str, Any], decimals: dict[str, int], console: Console) -> None:
    """Print where a fill was read and what became of it."""
    console.print(f"\n[bold]{found['fill']['fill_id']}[/]")
    console.print(f"  read from {_place(found['fill'])}")
    for step in found["cycles"]:
        why = f" ({step['reason']})" if step["reason"] else ""
        console.print(
            f"  {step['batch_id']}  {step['state'].lower()}{why}, chain {step['chain_id']}, age {step['age']}"
        )
        for owed in step.get("obligations", []):
            amount = show(int(owed["quantity_atoms"]), decimals[owed["instrument"]])
            console.print(f"    {owed['payer']} paid {owed['receiver']} {amount} {owed['instrument']}")


def _place(fill: dict[str, Any]) -> str:
    span = f", bytes {fill['offset']} to {fill['offset'] + fill['length']}" if fill["length"] else ""
    return f"{printable(fill['file'])} record {fill['record']}{span}"
