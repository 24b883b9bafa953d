"""Webhooks of pulls, and what became of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pulls", sa.Column("webhook", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "deliveries",
        sa.Column("pull", sa.String(40), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pull", name="pk_deliveries"),
        sa.ForeignKeyConstraint(["pull"], ["pulls.id"], name="fk_deliveries_pull", ondelete="CASCADE"),
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state"])


def downgrade() -> None:
    op.drop_table("deliveries")
    op.drop_column("pulls", "webhook")
