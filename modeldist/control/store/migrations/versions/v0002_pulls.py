"""Pulls started over REST and how far each node of them is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pulls",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("reference", sa.String(2048), nullable=False),
        sa.Column("selector", sa.JSON(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("idempotency_key", sa.String(128), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_pulls"),
        sa.UniqueConstraint("idempotency_key", name="uq_pulls_idempotency_key"),
    )
    op.create_index("ix_pulls_state", "pulls", ["state"])
    op.create_table(
        "pull_nodes",
        sa.Column("pull", sa.String(40), nullable=False),
        sa.Column("node", sa.String(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_origin", sa.BigInteger(), nullable=False),
        sa.Column("bytes_peers", sa.BigInteger(), nullable=False),
        sa.Column("bytes_local", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("pull", "node", name="pk_pull_nodes"),
        sa.ForeignKeyConstraint(["pull"], ["pulls.id"], name="fk_pull_nodes_pull", ondelete="CASCADE"),
    )
    op.create_index("ix_pull_nodes_node", "pull_nodes", ["node"])


def downgrade() -> None:
    op.drop_table("pull_nodes")
    op.drop_table("pulls")
