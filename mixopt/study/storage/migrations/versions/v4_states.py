"""Trials that wait are found without reading those that are over."""

from __future__ import annotations

from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add an index."""
    op.create_index("trial_state", "trial", ["study_id", "state", "position"])
