"""Makes the views from the state."""

from __future__ import annotations

from collections.abc import Iterable

from modeldist.scheduler.phase1.lease_book import Lease
from modeldist.scheduler.phase1.nodes import Node
from modeldist.scheduler.phase1.swarm import Member, Swarm
from modeldist.scheduler.phase1.views import (
    LeaseView,
    MembershipView,
    MemberView,
    NodeView,
    TaskBrief,
    TaskView,
)
from modeldist.scheduler.pieces import PieceSet


def task_view(swarm: Swarm, leases: Iterable[Lease], now: float) -> TaskView:
    members = tuple(_member_view(swarm, member) for member in swarm.members.values())
    return TaskView(
        task=swarm.task,
        origin=swarm.origin,
        size=swarm.layout.size,
        piece_size=swarm.layout.piece_size,
        pieces=swarm.layout.count,
        digests_known=swarm.known.bit_count(),
        held=PieceSet(swarm.held),
        holders=sum(member.have == swarm.all for member in swarm.members.values()),
        origin_bytes=swarm.origin_bytes,
        resets=swarm.resets,
        askers=swarm.askers,
        members=members,
        leases=tuple(_lease_view(lease, now) for lease in leases),
    )


def task_brief(swarm: Swarm, leases: int) -> TaskBrief:
    return TaskBrief(
        task=swarm.task,
        origin=swarm.origin,
        size=swarm.layout.size,
        piece_size=swarm.layout.piece_size,
        pieces=swarm.layout.count,
        held=PieceSet(swarm.held),
        holders=sum(member.have == swarm.all for member in swarm.members.values()),
        origin_bytes=swarm.origin_bytes,
        nodes=len(swarm.members),
        leases=leases,
    )


def membership_view(swarm: Swarm, member: Member) -> MembershipView:
    return MembershipView(swarm.task, swarm.layout.size, _member_view(swarm, member))


def _member_view(swarm: Swarm, member: Member) -> MemberView:
    have = PieceSet(member.have)
    return MemberView(
        node=member.node,
        have=have,
        complete=member.complete,
        wants=member.wants,
        priority=member.priority,
        bytes_here=swarm.layout.bytes_of(have),
        bytes_origin=member.read,
        parents=member.parents,
        children=len(member.children),
    )


def _lease_view(lease: Lease, now: float) -> LeaseView:
    return LeaseView(
        lease=lease.id,
        node=lease.node,
        start=lease.start,
        count=lease.count,
        unread=PieceSet(lease.unread),
        bytes=max(lease.bytes, lease.counted),
        age=now - lease.granted,
        idle=now - lease.progressed,
        after=lease.after,
    )


def node_view(node: Node, now: float) -> NodeView:
    sends, receives = node.link
    return NodeView(
        node=node.name,
        address=node.address,
        location=node.location,
        tasks=len(node.tasks),
        load=node.load.at(now),
        load_age=node.load.age(now),
        goodput=node.service.goodput,
        failures=node.service.failures(now),
        children=node.service.children,
        utilisation=node.service.utilisation(node.capacity(now)),
        link_sends=sends.rate if sends else None,
        link_receives=receives.rate if receives else None,
        link_age=max((now - each.when for each in node.link if each), default=None),
    )
