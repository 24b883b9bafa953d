"""Preheat jobs that Harbor asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "preheat_jobs",
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("pull", sa.String(40), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_preheat_jobs"),
        sa.ForeignKeyConstraint(["pull"], ["pulls.id"], name="fk_preheat_jobs_pull", ondelete="CASCADE"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("preheat_jobs")
