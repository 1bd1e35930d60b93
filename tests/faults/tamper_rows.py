"""Every edit of a row, a leaf or a checkpoint, made from SQLAlchemy's metadata: a new column is in it by itself."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from sqlalchemy import Column, Table

from assets.ledger.canonical import canonical
from assets.ledger.database import key_of, record_of
from assets.ledger.merkle import leaf_hash
from schemas.errors import BrokenInvariant
from schemas.records import FACTS, LOG, AtomsType, metadata
from tests.faults.tamper_trial import Edit, Records


def _where(table: Table, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    names = [column.name for column in table.primary_key.columns]
    return " AND ".join(f'"{name}" = ?' for name in names), tuple(row[name] for name in names)


def set_values(table: Table, row: dict[str, Any], **values: Any) -> tuple[str, tuple[Any, ...]]:
    where, keys = _where(table, row)
    names = ", ".join(f'"{name}" = ?' for name in values)
    return f'UPDATE "{table.name}" SET {names} WHERE {where}', (*values.values(), *keys)


def delete(table: Table, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    where, keys = _where(table, row)
    return f'DELETE FROM "{table.name}" WHERE {where}', keys


def stored(table: Table, row: dict[str, Any], sqlite: bool) -> dict[str, Any]:
    """Return a row as the database holds it: amounts are texts on SQLite."""
    return {
        column.name: str(row[column.name])
        if sqlite and isinstance(column.type, AtomsType) and row[column.name] is not None
        else row[column.name]
        for column in table.columns
    }


def other_character(value: str, at: int, random: Random) -> str:
    other = chr(random.choice([code for code in range(0x20, 0x7F) if chr(code) != value[at]]))
    return value[:at] + other + value[at + 1 :]


def other_values(
    column: Column[Any], value: Any, others: Sequence[Any], sqlite: bool, random: Random
) -> Iterator[tuple[str, Any]]:
    """Yield what a value may be changed into, by kind of edit, as the database would hold it."""
    if isinstance(column.type, AtomsType):
        kind, number = "amount", 0 if value is None else int(value)
        found = {"one more": number + 1, "other sign": -number, "digits swapped": int(str(abs(number))[::-1]),
                 "very large": 10**37}  # fmt: skip
        if sqlite:
            found |= {name: str(one) for name, one in found.items()}
            found |= {"leading zero": f"0{number}", "plus": f"+{number}", "space": f"{number} ", "no number": "x"}
    elif type(column.type).__name__ == "Text":
        kind, words = "text", value or ""
        found = {"appended space": f"{words} ", "other case": words.swapcase(), "emptied": ""}
        if words:
            found["one character"] = other_character(words, random.randrange(len(words)), random)
    else:
        kind, number = "integer", value or 0
        found = {
            "one more": number + 1,
            "one less": number - 1,
            "zero": 0,
            "very large": 2**63 - 1 if sqlite else 2**31 - 1,
        }
    if others:
        found["another row's"] = random.choice(others)
    if column.nullable:
        found["null"] = None
    yield from ((f"{kind}: {name}", one) for name, one in found.items() if one != value)


def column_edits(records: Records, random: Random) -> Iterator[Edit]:
    """Each column of each row, by each kind of edit."""
    for table in (*FACTS, *LOG):
        keys = [column.name for column in table.primary_key.columns]
        held = [stored(table, row, records.sqlite) for row in records.rows[table.name]]
        for row in held:
            key = key_of(table, row)
            for column in table.columns:
                others = [one[column.name] for one in held if one[column.name] != row[column.name]]
                for kind, value in other_values(column, row[column.name], others, records.sqlite, random):
                    statement = set_values(table, row, **{column.name: value})
                    changed = key_of(table, {**row, column.name: value})
                    if table in LOG:
                        rows, word = ((table.name, changed),), column.name
                        if column.name == "position":
                            rows = (("", None),)  # What stands at the gap may be a leaf, or a frame's.
                        apart = f"{table.name} {column.name in keys}"
                        place = ("", "") if column.name in keys else (table.name, key)
                    elif column.name in keys:
                        rows, word = ((table.name, key), (table.name, changed)), ""
                        # Batches and transitions say what other rows must be, so nothing else is changed with them.
                        alone = table.name in ("batches", "transitions")
                        apart, place = f"key of {table.name}" if alone else "keys", (table.name, "")
                    else:
                        rows, word, place = ((table.name, key),), column.name, (table.name, key)
                        apart = "derived" if column.info.get("derived") else "columns"
                    yield Edit(f"column, {kind}", (statement,), rows, word, apart, place)


def row_edits(records: Records) -> Iterator[Edit]:
    """Each row removed, copied under another key, and exchanged with the next one, column by column."""
    entries = metadata.tables["log_entries"]
    for table in FACTS:
        held = [stored(table, row, records.sqlite) for row in records.rows[table.name]]
        for row, following in zip(held, [*held[1:], held[0]], strict=True):
            key = key_of(table, row)
            mine, place = ((table.name, key),), (table.name, key)
            yield Edit("row removed", (delete(table, row),), mine, "", f"removed from {table.name}", place)
            last = list(table.primary_key.columns)[-1].name
            copy = {**row, last: row[last] + (100 if isinstance(row[last], int) else "~")}
            names, marks = ", ".join(f'"{name}"' for name in copy), ", ".join("?" * len(copy))
            added = (f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})', tuple(copy.values()))
            yield Edit("row added", (added,), ((table.name, key_of(table, copy)),), "", "added", place)
            for column in table.columns:
                if not column.primary_key and row[column.name] != following[column.name]:
                    pair = (
                        set_values(table, row, **{column.name: following[column.name]}),
                        set_values(table, following, **{column.name: row[column.name]}),
                    )
                    both = (*mine, (table.name, key_of(table, following)))
                    yield Edit("two rows exchanged", pair, both, column.name, "exchanged", (table.name, ""))
    last_position = max(row["position"] for row in records.rows["log_entries"])
    for row in records.rows["log_entries"]:
        mine = ((row["source"], row["row_key"]),)
        yield Edit("leaf removed", (delete(entries, row),), mine, "leaf", "leaves removed", mine[0])
        fact = metadata.tables[row["source"]]
        said = json.loads(row["body"])
        both = (delete(entries, row), delete(fact, {column.name: said.get(column.name) for column in fact.columns}))
        word = "position" if row["position"] < last_position else "shorter"
        yield Edit("row and leaf removed", both, (("", None),), word, "alone", ("", ""))
    for row in records.rows["log_frames"]:
        gone = (delete(metadata.tables["log_frames"], row),)
        yield Edit("frame's leaves removed", gone, (("log_entries", None),), "position", "alone", ("", ""))
    for row in records.rows["checkpoints"]:
        gone = (delete(metadata.tables["checkpoints"], row),)
        copy_of = (("checkpoints", f"{row['size']:012d}.checkpoint"),)
        yield Edit("checkpoint removed", gone, copy_of, "", "alone", ("", ""))


def leaf_edits(records: Records, random: Random) -> Iterator[Edit]:
    """Leaves rewritten without and with the rows that they are of: then only files and signatures are left to tell."""
    entries = metadata.tables["log_entries"]
    by_key = {(row["source"], row["row_key"]): row for row in records.rows["log_entries"]}
    leaves = list(by_key.values())
    for place, row in by_key.items():
        body = other_character(row["body"], random.randrange(len(row["body"])), random)
        both = (set_values(entries, row, body=body, leaf_hash=leaf_hash(body.encode()).hex()),)
        yield Edit("body and leaf_hash", both, (place,), "leaf", "bodies", place)
        other = random.choice(leaves)
        if other is not row:
            moved = (set_values(entries, row, position=-1), set_values(entries, other, position=row["position"]),
                     set_values(entries, {"position": -1}, position=other["position"]))  # fmt: skip
            rows = (place, (other["source"], other["row_key"]))
            yield Edit("two leaves exchanged", moved, rows, "leaf", "alone", ("", ""))
    for table in FACTS:
        for row in records.rows[table.name]:
            held = stored(table, row, records.sqlite)
            place = (table.name, key_of(table, row))
            for column in table.columns:
                if column.primary_key or column.info.get("derived"):
                    continue
                kinds = dict(other_values(column, held[column.name], [], records.sqlite, random))
                value = random.choice(list(kinds.values()))
                try:
                    body = canonical(record_of(table, {**held, column.name: value}))
                except BrokenInvariant:
                    continue  # A value that no leaf can hold.
                statements = (
                    set_values(table, held, **{column.name: value}),
                    set_values(entries, by_key[place], body=body.decode(), leaf_hash=leaf_hash(body).hex()),
                )
                yield Edit("row, body and leaf_hash", statements, (place,), "leaf", "leaves", place)


def cut_edits(records: Records) -> Iterator[Edit]:
    """The last transition of each batch cut off with its leaf, and the batch set back to what the rest says."""
    entries, transitions, batches = (metadata.tables[name] for name in ("log_entries", "transitions", "batches"))
    by_key = {(row["source"], row["row_key"]): row for row in records.rows["log_entries"]}
    for batch in records.rows["batches"]:
        told = sorted(
            (row for row in records.rows["transitions"] if row["batch_id"] == batch["batch_id"]),
            key=lambda row: row["number"],
        )
        if len(told) < 2:
            continue
        place = ("transitions", key_of(transitions, told[-1]))
        before = told[-2]
        back = set_values(batches, batch, state=before["state_after"], reason=before["reason"], fence=before["fence"])
        cut = (delete(transitions, told[-1]), back)
        yield Edit("transition cut, batch set back", cut, (place,), "", "alone", ("", ""))
        cut = (*cut, delete(entries, by_key[place]))
        yield Edit("transition and leaf cut, batch set back", cut, (("checkpoints", None),), "", "alone", ("", ""))


def character_edits(records: Records, random: Random) -> Iterator[Edit]:
    """Each character of each body, leaf hash and note, in an order of chance."""
    found = []
    for table, column in (("log_entries", "body"), ("log_entries", "leaf_hash"), ("checkpoints", "note")):
        for row in records.rows[table]:
            found += [(metadata.tables[table], column, row, at) for at in range(len(row[column]))]
    random.shuffle(found)
    for table, column, row, at in found:
        key = key_of(table, row)
        statement = set_values(table, row, **{column: other_character(row[column], at, random)})
        apart = f"characters of {table.name}"
        yield Edit(f"each character of {column}", (statement,), ((table.name, key),), column, apart, (table.name, key))
