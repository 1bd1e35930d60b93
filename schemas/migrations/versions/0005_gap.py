"""What each account and limit adds to the gap between value and bound"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "prices",
        sa.Column(
            "idle",
            sa.Text(),
            nullable=True,
            comment="What it adds to the gap, a whole number like the price. NULL: before this was told.",
        ),
    )
