"""Leases of trials and of proposing in place of a study's owner; trials that ended early."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

# A trainer counts whole batches and may stop a little below the tokens of its trial. Runs that a
# scheduler stopped early end at half of them or less.
WHOLE = 0.98


def upgrade() -> None:
    """Change the tables; running trials wait again, because nobody holds a lease of them."""
    for column in ("owner", "owner_host", "owner_pid", "owner_born"):
        op.drop_column("study", column)
    op.drop_column("trial", "owner")
    for table in ("study", "trial"):
        op.add_column(table, sa.Column("token", sa.String(64)))
        op.add_column(table, sa.Column("worker", sa.String(300)))
        op.add_column(table, sa.Column("expires", sa.Float))
    op.add_column("event", sa.Column("once", sa.String(200)))
    op.create_index("event_once", "event", ["study_id", "once"], unique=True)
    c = op.get_bind()
    c.execute(sa.text("UPDATE trial SET state = 'waiting' WHERE state = 'running'"))
    for study, trial in _ended_early(c):
        c.execute(
            sa.text("UPDATE trial SET state = 'ended_early' WHERE study_id = :s AND id = :t"),
            {"s": study, "t": trial},
        )


def _ended_early(c: sa.Connection) -> list[tuple[int, str]]:
    """Trials stored as finished whose last rung lies below their tokens."""
    rows = c.execute(
        sa.text(
            "SELECT trial.study_id, trial.id, trial.spec, max(observation.tokens) AS reached "
            "FROM trial JOIN observation ON observation.study_id = trial.study_id "
            "AND observation.trial = trial.id WHERE trial.state = 'finished' "
            "GROUP BY trial.study_id, trial.id, trial.spec"
        )
    )
    return [
        (row.study_id, row.id)
        for row in rows
        if row.reached < WHOLE * json.loads(row.spec)["fidelity"]["tokens"]
    ]
