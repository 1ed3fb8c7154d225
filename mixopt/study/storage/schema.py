"""The tables of a study's storage, in SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

# The newest of the migrations, whose file it names.
SCHEMA_VERSION = 4

metadata = MetaData()

# Read by every release, also by those that knew no migrations, to refuse what is newer.
schema_table = Table(
    "mixopt_schema",
    metadata,
    Column("version", Integer, primary_key=True),
)

# Alembic's own, declared so that a new database is made without loading Alembic.
alembic_table = Table(
    "alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)

study_table = Table(
    "study",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("config", Text, nullable=False),
    Column("config_hash", String(64), nullable=False),
    Column("settings", Text, nullable=False),
    Column("created", Float, nullable=False),
    # The lease on proposing the next round.
    Column("token", String(64)),
    Column("worker", String(300)),
    Column("expires", Float),
    # When it was put away; null for a study in use.
    Column("archived", Float),
)

trial_table = Table(
    "trial",
    metadata,
    Column("study_id", Integer, ForeignKey("study.id"), primary_key=True),
    Column("id", String(100), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", String(20), nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("attempts", Integer, nullable=False, default=0),
    Column("crashes", Integer, nullable=False, default=0),
    Column("started", Float),
    Column("ended", Float),
    # The lease of a running trial; a trial that has ended keeps the name of its worker.
    Column("token", String(64)),
    Column("worker", String(300)),
    Column("expires", Float),
    Index("trial_position", "study_id", "position", unique=True),
    Index("trial_state", "study_id", "state", "position"),
)

observation_table = Table(
    "observation",
    metadata,
    Column("study_id", Integer, primary_key=True),
    Column("trial", String(100), primary_key=True),
    Column("tokens", BigInteger, primary_key=True),
    Column("metric", String(200), primary_key=True),
    Column("split", String(20), primary_key=True),
    Column("value", Float(53), nullable=False),
    ForeignKeyConstraint(["study_id", "trial"], ["trial.study_id", "trial.id"]),
)

event_table = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("study_id", Integer, ForeignKey("study.id"), nullable=False),
    Column("time", Float, nullable=False),
    Column("kind", String(40), nullable=False),
    Column("payload", Text, nullable=False),
    # Null: no event is named any more.
    Column("once", String(200)),
    Index("event_kind", "study_id", "kind"),
    Index("event_once", "study_id", "once", unique=True),
)

# Who may use a service on this storage. Of a token only its digest is kept.
token_table = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scope", String(20), nullable=False),
    # Null for every study.
    Column("study", String(200)),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)

# What a service wrote, and for whom; it outlives the studies and tokens that it names.
audit_table = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("time", Float, nullable=False),
    Column("who", String(200), nullable=False),
    Column("action", String(40), nullable=False),
    Column("study", String(200)),
    Column("trial", String(100)),
)
