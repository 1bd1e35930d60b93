"""What a cycle tells of the chains that wait: how good the choice is, what would release each, and who must bring what."""

from pathlib import Path

import pytest

from tests.deployment import Deployment
from tests.input_folders import FIVE_TRADES, reports, write_folder

NO_ETHER = "A USD 442500\nC BTC 1"
FOUR = {"F1", "F2", "F3", "F4"}


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The worked example where B has no ether: nothing settles. Funds may come until two hours after the cut."""
    source: Path = write_folder(tmp_path_factory.mktemp("stuck") / "in", reports(FIVE_TRADES), NO_ETHER)
    with (source / "cycle.toml").open("a", encoding="utf-8") as stream:
        stream.write("\n[policy]\ntop_up_minutes = 120\n")
    deployment = Deployment(tmp_path_factory.mktemp("home"))
    deployment.settle(source)
    return deployment


def test_four_chains_wait_for_8000_dollars_of_b_and_the_fifth_for_ether(stuck: Deployment) -> None:
    record = stuck.trine("report", "--json").record
    told = {row["chain_id"].rsplit(":", 1)[1]: row for row in record["top_ups"]}
    eight = [{"participant": "B", "instrument": "USD", "quantity_atoms": "800000"}]
    for chain in FOUR:
        assert told[chain]["funds"] == eight
        assert (told[chain]["value_atoms"], told[chain]["exact"]) == ("800000", True)
    assert [part["instrument"] for part in told["F5"]["funds"]] == ["ETH"]


def test_for_everything_to_settle_b_brings_all_its_ether_by_the_time_that_the_policy_says(stuck: Deployment) -> None:
    record = stuck.trine("report", "--json").record
    assert record["cut_at"] == "2026-11-02T12:00:00+00:00"
    assert record["pay_ins"] == {
        "bring_by": "2026-11-02T14:00:00+00:00",
        "accounts": [
            {"participant": "B", "instrument": "ETH", "pays_atoms": "0", "has_atoms": "0", "draws_atoms": "0",
             "must_bring_atoms": str(100 * 10**18)},
        ],
    }  # fmt: skip


def test_the_report_for_people_says_the_same(stuck: Deployment) -> None:
    said = " ".join(stuck.trine("report", "--waiting").out.split())
    assert "F1 would settle with 8,000.00 USD for B" in said
    assert "to bring by 2026-11-02T14:00:00+00:00, so that every chain settles B 100.000000000000000000 ETH" in said
    assert "class 4: none better, by enumeration" in said


def test_each_class_has_its_ratio_cut_to_twelve_digits(worked: Deployment) -> None:
    (told,) = worked.trine("report", "--json").record["selection"]["classes"]
    assert told == {
        "priority": 4, "weight_atoms": "531900000", "bound_atoms": "531900000", "ratio": "1.000000000000",
        "proof": "PRICES",
    }  # fmt: skip
