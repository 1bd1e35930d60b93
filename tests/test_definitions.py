"""What Dagster is given, as one picture: a change of it is seen in review."""

import re
import subprocess
import sys

import dagster as dg
import pytest

from assets.partitions import cycles
from pipelines.definitions import build_definitions
from pipelines.resources import CHECKOUT
from schemas.atoms import plain, show
from tests.deployment import Deployment

ASSETS = """
    asset           group        kinds                        reads
    cycle_inputs    cycle        files                        -
    reference_data  cycle        csv,toml                     cycle_inputs
    fills           execution    csv,fix,json,parquet,polars  cycle_inputs,reference_data
    balances        custody      csv,polars,xml               cycle_inputs,reference_data
    credit_lines    credit       csv,polars                   cycle_inputs,reference_data
    trades          obligations  polars                       credit_lines,cycle_inputs,fills,reference_data
    obligations     obligations  polars                       trades
    selection       funding      highs,polars                 balances,credit_lines,cycle_inputs,obligations,reference_data,trades
    net_positions   netting      polars                       cycle_inputs,obligations,reference_data,selection,trades
    instructions    settlement   polars,sql                   {everything}
    quality_report  quality      greatexpectations,sql        cycle_inputs,instructions
    journal         ledger       sql                          balances,cycle_inputs,instructions,quality_report,reference_data
"""
EVERYTHING = "balances,credit_lines,cycle_inputs,fills,net_positions,obligations,reference_data,selection,trades"
CHECKS = {
    "balances:book_equals_statement", "fills:every_record_is_accounted_for", "fills:nothing_is_quarantined",
    "journal:postings_balance", "net_positions:positions_sum_to_zero", "selection:everything_settles",
}  # fmt: skip


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def graph(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_the_asset_graph_is_this(graph: dict[str, dg.AssetSpec]) -> None:
    header, *expected = (line.split() for line in ASSETS.format(everything=EVERYTHING).strip().splitlines())
    found = [
        [
            name,
            spec.group_name,
            ",".join(sorted(spec.kinds)),
            ",".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or "-",
        ]
        for name, spec in graph.items()
    ]
    assert header == ["asset", "group", "kinds", "reads"]
    assert sorted(found) == sorted(expected)


def test_every_asset_says_what_it_is_whose_it_is_and_which_version_of_the_code_makes_it(
    graph: dict[str, dg.AssetSpec],
) -> None:
    for name, spec in graph.items():
        assert spec.description and spec.description.strip().endswith("."), name  # noqa: PT018
        assert list(spec.owners) == ["team:compliance" if name == "quality_report" else "team:settlement"], name
        assert spec.code_version, name
        assert spec.partitions_def == cycles, name


def test_the_checks_are_statements_that_are_true_when_they_pass(definitions: dg.Definitions) -> None:
    keys = definitions.resolve_asset_graph().asset_check_keys
    assert {f"{key.asset_key.to_user_string()}:{key.name}" for key in keys} == CHECKS


def test_one_job_settles_a_cycle_and_one_schedule_that_is_off_starts_it(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert [job.name for job in repository.get_all_jobs() if not job.name.startswith("__")] == ["settle_cycle"]
    [schedule] = repository.schedule_defs
    assert (schedule.name, schedule.job_name, schedule.cron_schedule) == (
        "settle_every_cycle", "settle_cycle", "0 */4 * * *",
    )  # fmt: skip
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert repository.sensor_defs == []


def test_dagster_loads_the_workspace() -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT, check=False)
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location trine" in done.stdout + done.stderr


def test_no_amount_of_a_client_reaches_dagster(worked: Deployment) -> None:
    [batch] = worked.store.settled()
    decimals = dict(worked.home.frame(batch["batch_id"], "instruments").select("instrument", "decimals").rows())
    texts = set()
    for row in worked.store.rows("positions", batch["batch_id"]).iter_rows(named=True):
        for name, value in row.items():
            if name.endswith("_atoms") and abs(value) > 10**6:
                size, places = abs(value), decimals[row["instrument"]]
                texts |= {str(size), f"{size:,}", plain(size, places), show(size, places)}
    assert {"44250000", "442,500.00", "442500.00"} <= texts
    with dg.DagsterInstance.get() as instance:
        events = [entry.to_json() for run in instance.get_runs() for entry in instance.all_logs(run.run_id)]
    said = "\n".join(events)
    assert "positions rows" in said, "counts do reach it"
    assert not [text for text in texts if re.search(rf"(?<![\w.,]){re.escape(text)}(?![\w])", said)]
