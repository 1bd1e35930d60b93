"""The one object that Dagster loads."""

from collections.abc import Mapping

import dagster as dg

from assets import checks, inputs
from assets.attempts import FrameIOManager
from assets.credit import assets as credit
from assets.custody import assets as custody
from assets.fills import assets as fills
from assets.funding import assets as funding
from assets.ledger import assets as ledger
from assets.netting import assets as netting
from assets.obligations import assets as obligations
from assets.quality import assets as quality
from assets.settlement import assets as settlement
from pipelines.jobs import settle_cycle
from pipelines.resources import home_resource
from pipelines.schedules import settle_every_cycle

STAGES = (inputs, fills, custody, credit, obligations, funding, netting, settlement, quality, ledger)


def build_definitions(
    folder: str | None = None,
    *,
    inbox: str | None = None,
    input_folder: str = "",
    records_url: str = "",
    late_fills: str = "",
    signs: bool = True,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Return all of Trine for a home folder, an inbox of input folders (or the one to settle) and a database."""
    home = home_resource(
        folder, inbox=inbox, input_folder=input_folder, records_url=records_url, late_fills=late_fills, signs=signs
    )
    return dg.Definitions(
        assets=dg.load_assets_from_modules(STAGES),
        asset_checks=dg.load_asset_checks_from_modules([checks]),
        jobs=[settle_cycle],
        schedules=[settle_every_cycle],
        resources={"home": home, "io_manager": FrameIOManager(home=home.folder)},
        executor=dg.in_process_executor,
        loggers=loggers,
    )


defs = build_definitions()
