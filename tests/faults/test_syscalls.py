"""A system call that fails, or the process that dies in it, takes nothing that was acknowledged."""

from pathlib import Path

from tests.faults.calls import Call, require_strace
from tests.faults.judge import Kind
from tests.faults.power_loss import Recording
from tests.faults.syscalls import FAULTS, cases_of, fail_calls

CASES = 60


def test_every_kind_of_call_may_fail_in_every_way_and_nothing_acknowledged_is_lost() -> None:
    require_strace()
    tried = fail_calls(CASES)
    assert tried.flaws == []
    assert tried.cases == CASES
    # Polars writes a frame in whichever of its threads is free: a thread may have one call fewer this time.
    assert tried.met >= CASES * 9 // 10


def test_a_process_that_acknowledges_before_it_has_done_is_found_out() -> None:
    require_strace()
    tried = fail_calls(CASES // 4, weaker=("patience",))
    assert Kind.LOST in {flaw.kind for flaw in tried.flaws}


def test_cases_are_spread_over_names_calls_and_faults() -> None:
    calls = [Call("1", name, 0, (), 0) for name in ["write"] * 100 + ["fsync"] * 40 + ["mkdir"]]
    recording = Recording(Path("/nowhere"), 1, [], calls)
    chosen = cases_of(recording, 43)
    assert {name: sum(case.name == name for case in chosen) for name in ("write", "fsync", "mkdir")} == {
        "write": 14, "fsync": 15, "mkdir": 3,
    }  # fmt: skip
    writes = [case for case in chosen if case.name == "write"]
    assert (writes[0].number, writes[-1].number) == (1, 100)
    assert {case.fault for case in writes} == set(FAULTS)
    assert len(cases_of(recording, 0)) == 141 * len(FAULTS)
