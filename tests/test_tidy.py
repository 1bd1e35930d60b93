"""The source itself: no sum that may wrap, no float near an amount, no drawer for odds and ends."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import (
    balance,
    credit_line,
    cycle,
    fill,
    instruction,
    instrument,
    journal,
    net_position,
    obligation,
    participant,
    selection,
)
from schemas.contract import Contract

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for part in ("schemas", "assets", "pipelines") for path in (ROOT / part).rglob("*.py"))
KERNEL = [path for path in SOURCES if path.relative_to(ROOT).parts[0] != "pipelines"]
DRAWERS = {"utils", "util", "helpers", "helper", "common", "core", "base", "manager", "managers", "misc", "shared"}
# Where a float is allowed, and why.
FLOATS = {
    "assets/funding/anneal.py": "proposes; what it finds is checked in integers",
    "assets/funding/board.py": "the search moves in floats; what it finds is checked in integers",
    "assets/funding/cuts.py": "chooses in floats where to round; the inequality itself is integers",
    "assets/funding/decide.py": "the solver's prices are floats; they become whole numbers, and those prove the bound",
    "assets/funding/exact.py": "the solver searches in floats; what it finds is checked in integers",
    "assets/funding/relax.py": "the relaxation is solved in floats; it only proposes",
    "assets/funding/search.py": "the search moves in floats; what it finds is checked in integers",
}
# Where the engine may add up or multiply amounts, and what proves that it does not wrap.
PROVEN = {
    "schemas/atoms.py": "counts the bits of the real numbers first",
    "assets/custody/balances.py": "adds five parts, each of which is refused beyond 10^37",
    "assets/fills/notional.py": "counts the digits of each row first, and goes to Python where they are too many",
}
# What adds up, in an expression or a frame, and wraps.
WRAPS = {"sum", "cum_sum", "sum_horizontal", "mean", "dot", "product", "cum_prod", "pivot", "rolling_sum"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def columns_in(node: ast.AST) -> Iterator[str]:
    """Every text in an expression: the columns that it may be about."""
    for child in ast.walk(node):
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def about_atoms(node: ast.AST) -> bool:
    return any(text == "atoms" or text.endswith("_atoms") for text in columns_in(node))


def sums_of_atoms(tree: ast.AST) -> Iterator[int]:
    """Lines where columns of atoms are aggregated or multiplied by the engine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WRAPS:
            if about_atoms(node):
                yield node.lineno
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Pow) and about_atoms(node):
            sides = (node.left, node.right)
            if any(isinstance(child, ast.Call) and about_atoms(child) for side in sides for child in ast.walk(side)):
                yield node.lineno


def floats(tree: ast.AST) -> Iterator[int]:
    """Lines that make a float: a literal, a call of float, or a float type of the engine."""
    for node in ast.walk(tree):
        literal = isinstance(node, ast.Constant) and type(node.value) is float
        made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
        typed = isinstance(node, ast.Attribute) and node.attr in ("Float64", "Float32", "float64", "float32")
        if literal or made or typed:
            yield node.lineno  # type: ignore[attr-defined]


def test_the_lint_sees_what_it_is_for() -> None:
    wrong = 'pl.col("net_atoms").sum()', 'df.pivot("a", values="net_atoms")', 'pl.col("x_atoms") * pl.col("y")'
    right = (
        'sum_atoms(df, ["k"], ["net_atoms"])',
        'pl.col("obligations").sum()',
        'pl.col("net_atoms") + 1',
        "10 * atoms",
    )
    assert all(list(sums_of_atoms(ast.parse(line))) for line in wrong)
    assert not any(list(sums_of_atoms(ast.parse(line))) for line in right)
    assert all(list(floats(ast.parse(line))) for line in ("x = 0.5", "float(x)", "pl.Float64"))
    assert not list(floats(ast.parse("x = 5 // 2")))


@pytest.mark.parametrize("path", [path for path in SOURCES if name_of(path) not in PROVEN], ids=name_of)
def test_columns_of_atoms_are_added_up_or_multiplied_only_where_that_is_proven(path: Path) -> None:
    assert list(sums_of_atoms(ast.parse(path.read_text()))) == []


@pytest.mark.parametrize("path", [path for path in KERNEL if name_of(path) not in FLOATS], ids=name_of)
def test_no_float_is_made_near_an_amount(path: Path) -> None:
    assert list(floats(ast.parse(path.read_text()))) == []


def test_the_exceptions_are_still_needed() -> None:
    assert all(list(floats(ast.parse((ROOT / name).read_text()))) for name in FLOATS)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    if path.name == "__init__.py" and not text.strip():
        return
    assert ast.get_docstring(ast.parse(text))


def test_no_drawer_for_odds_and_ends() -> None:
    found = {
        name_of(path) for path in SOURCES
        if {part.lower() for part in re.split(r"[/_.]", name_of(path))} & DRAWERS
    }  # fmt: skip
    assert found == set()


def contracts() -> Iterator[type[Contract]]:
    modules = (
        balance, credit_line, cycle, fill, instruction, instrument, journal, net_position, obligation, participant,
        selection,
    )  # fmt: skip
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Contract) and value is not Contract:
                yield value


@pytest.mark.parametrize("contract", list(contracts()), ids=lambda contract: contract.__name__)
def test_no_column_hides_a_method_of_its_contract(contract: type[Contract]) -> None:
    # A column named `hold` once took the place of the method that checks the frame.
    assert not set(contract.names()) & set(dir(Contract))
    assert contract.hold(contract.empty()).columns == contract.names()
