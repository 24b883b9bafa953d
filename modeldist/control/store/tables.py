"""The tables. Times are seconds since the epoch, sizes bytes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )


class MetaRow(Base):
    """The control plane's identity: cluster id, capability key."""

    __tablename__ = "meta"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class TokenRow(Base):
    """`id` is the public half of a token; `hash` the sha256 of its secret half. One without `expires_at` stays good."""

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    scope: Mapped[str] = mapped_column(String(16))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    created_at: Mapped[float] = mapped_column(Double)
    expires_at: Mapped[float | None] = mapped_column(Double)


class ArtifactRow(Base):
    """`document` is the whole Artifact as msgpack."""

    __tablename__ = "artifacts"

    digest: Mapped[str] = mapped_column(String(80), primary_key=True)
    reference: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(16))
    size: Mapped[int] = mapped_column(BigInteger)
    files: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[bytes] = mapped_column(LargeBinary)
    resolved_at: Mapped[float] = mapped_column(Double)


class ReferenceRow(Base):
    """What a reference meant when it was last resolved."""

    __tablename__ = "artifact_references"

    reference: Mapped[str] = mapped_column(String(2048), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("artifacts.digest", ondelete="CASCADE"), index=True)
    resolved_at: Mapped[float] = mapped_column(Double)


class NodeRow(Base):
    """A node that connected once."""

    __tablename__ = "nodes"

    node: Mapped[str] = mapped_column(String(256), primary_key=True)
    name: Mapped[str] = mapped_column(String(256))
    version: Mapped[str] = mapped_column(String(256))
    address: Mapped[str] = mapped_column(String(256))
    rack: Mapped[str] = mapped_column(String(256))
    zone: Mapped[str] = mapped_column(String(256))
    labels: Mapped[dict[str, Any]] = mapped_column(JSON)
    first_seen: Mapped[float] = mapped_column(Double)
    last_seen: Mapped[float] = mapped_column(Double)


class PullRow(Base):
    """A pull started over REST. `id` sorts by creation time. `selector` says which nodes were meant."""

    __tablename__ = "pulls"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    reference: Mapped[str] = mapped_column(String(2048))
    selector: Mapped[dict[str, Any]] = mapped_column(JSON)
    priority: Mapped[int] = mapped_column()
    state: Mapped[str] = mapped_column(String(16), index=True)
    created_at: Mapped[float] = mapped_column(Double)
    finished_at: Mapped[float | None] = mapped_column(Double)
    idempotency_key: Mapped[str | None] = mapped_column(String(128), unique=True)
    deadline: Mapped[float | None] = mapped_column(Double)
    webhook: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class PullNodeRow(Base):
    """How far one node of a pull is."""

    __tablename__ = "pull_nodes"
    __table_args__ = (Index("ix_pull_nodes_node", "node"),)

    pull: Mapped[str] = mapped_column(ForeignKey("pulls.id", ondelete="CASCADE"), primary_key=True)
    node: Mapped[str] = mapped_column(String(256), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    bytes_total: Mapped[int] = mapped_column(BigInteger)
    bytes_origin: Mapped[int] = mapped_column(BigInteger)
    bytes_peers: Mapped[int] = mapped_column(BigInteger)
    bytes_local: Mapped[int] = mapped_column(BigInteger)
    path: Mapped[str] = mapped_column(Text)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    updated_at: Mapped[float] = mapped_column(Double)


class PreheatJobRow(Base):
    """A preheat job that Harbor asked for: its number, never used again, and the pull that carries it out."""

    __tablename__ = "preheat_jobs"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy reads it as it is

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    pull: Mapped[str] = mapped_column(ForeignKey("pulls.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(Text)


class DeliveryRow(Base):
    """What became of a pull's webhook; see `control.webhooks.deliveries`."""

    __tablename__ = "deliveries"

    pull: Mapped[str] = mapped_column(ForeignKey("pulls.id", ondelete="CASCADE"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    attempts: Mapped[int] = mapped_column()
    due: Mapped[float] = mapped_column(Double)
    error: Mapped[str] = mapped_column(Text)


class RolloutRow(Base):
    """An update of nodes in waves; `document` is all of it, as JSON. `id` sorts by creation time."""

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), index=True)
    document: Mapped[bytes] = mapped_column(LargeBinary)


class AuditRow(Base):
    """Who did what; `id` sorts by the cluster's time. See `control.audit_trail`."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_kind_id", "kind", "id"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[float] = mapped_column(Double)
    kind: Mapped[str] = mapped_column(String(8))
    token: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    asked: Mapped[str] = mapped_column(Text)
    object: Mapped[str] = mapped_column(Text)
    outcome: Mapped[int] = mapped_column()
    client: Mapped[str] = mapped_column(Text)
