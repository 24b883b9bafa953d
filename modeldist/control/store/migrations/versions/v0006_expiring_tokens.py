"""Tokens that expire."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tokens", sa.Column("expires_at", sa.Double(), nullable=True))


def downgrade() -> None:
    # The version before would take them for tokens that never expire.
    op.execute(sa.text("DELETE FROM tokens WHERE expires_at IS NOT NULL"))
    op.drop_column("tokens", "expires_at")
