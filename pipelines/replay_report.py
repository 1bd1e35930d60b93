"""What `trine replay` tells people at a terminal. It compares nothing."""

from typing import Any

from rich.console import Console

from schemas.atoms import show

SHOWN = 20
Row = dict[str, Any]


def print_then(found: Row, console: Console) -> None:
    """Print the record of `pipelines.replay.replay_then`."""
    for cycle in found["cycles"]:
        if cycle["same"]:
            console.print(f"{cycle['batch_id']}: the same came out again, plan {cycle['plan_digest'][:16]}")
            continue
        console.print(f"{cycle['batch_id']}: [bold red]not the same[/] as recorded")
        for one in cycle["differences"]:
            what = "differs" if one["rows"] is None else f"{one['rows']:,} rows differ"
            console.print(f"  {one['what']}: {what}")
    _versions(found, console)


def print_now(found: Row, console: Console) -> None:
    """Print the record of `pipelines.replay.replay_now`: what was learned since, and what it would have changed."""
    console.print(
        f"{found['cycle_id']}: later cycles brought {len(found['late_fills']):,} reports and "
        f"{len(found['late_statements']):,} statements about it"
    )
    if found["same"]:
        console.print("  The same would have settled.")
    chains = [row for row in found["chains"] if _settled(row["then"], found) != _settled(row["now"], found)]
    for row in chains[:SHOWN]:
        console.print(f"  {row['key'][0]}", markup=False)
        for when in ("then", "now"):
            console.print(f"    {when:<5}{_settled(row[when], found)}", markup=False)
    nets = [row for row in found["positions"] if _atoms(row, "then") != _atoms(row, "now")]
    for row in nets[:SHOWN]:
        participant, instrument = row["key"]
        places = found["decimals"].get(instrument, 0)
        then, now = (show(_atoms(row, when), places) for when in ("then", "now"))
        console.print(f"  net {participant} {instrument}: {then} then, {now} now", markup=False)
    _versions(found, console)
    if len(chains) > SHOWN or len(nets) > SHOWN:
        console.print(f"  [dim]{len(chains):,} chains and {len(nets):,} nets differ; --json tells all[/]")


def _versions(found: Row, console: Console) -> None:
    """Another version of Trine or of its libraries explains a difference; the same one explains none."""
    if found["trine"] != found["replayed_by"]:
        then, now = found["trine"], found["replayed_by"]
        console.print(
            f"It was settled by Trine {then['version']} with libraries {then['lock_digest'][:12] or 'unknown'}, and replayed by "
            f"{now['version']} with {now['lock_digest'][:12] or 'unknown'}."
        )


def _atoms(row: Row, when: str) -> int:
    return int(row[when]["net_atoms"]) if row[when] else 0


def _settled(chain: Row | None, found: Row) -> str:
    """Return what settles of a chain, in words."""
    if chain is None:
        return "is no chain"
    amounts = {
        part: " for ".join(
            f"{show(int(chain[f'{part}{leg}_atoms']), found['decimals'].get(chain[leg], 0))} {chain[leg]}"
            for leg in ("base", "quote")
        )
        for part in ("", "settled_")
    }
    if not chain["settles"]:
        return f"{amounts['']} waits ({chain['reason']})"
    return f"{amounts['settled_']} settles"
