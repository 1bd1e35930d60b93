"""Where this deployment keeps its things: from the environment, else beside the checkout."""

import os
from pathlib import Path

from assets.home import Home

CHECKOUT = Path(__file__).resolve().parent.parent


def home_folder() -> Path:
    """Return TRINE_HOME, or `var` in the checkout."""
    return Path(os.environ.get("TRINE_HOME") or CHECKOUT / "var").absolute()


def home_resource(
    folder: str | None = None, *, inbox: str | None = None, input_folder: str = "", records_url: str = "",
    late_fills: str = "", signs: bool = True,
) -> Home:  # fmt: skip
    """Return the home of this deployment. TRINE_INBOX, TRINE_RECORDS and TRINE_SECOND_PLACE name inbox, database and copies."""
    home = Path(folder).absolute() if folder else home_folder()
    return Home(
        folder=str(home),
        inbox=inbox or os.environ.get("TRINE_INBOX") or str(home / "inbox"),
        input_folder=str(Path(input_folder).absolute()) if input_folder else "",
        records_url=records_url or os.environ.get("TRINE_RECORDS", ""),
        late_fills=late_fills,
        second_place=os.environ.get("TRINE_SECOND_PLACE", ""),
        signs=signs and os.environ.get("TRINE_SIGNS", "yes") != "no",
    )
