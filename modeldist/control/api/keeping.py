"""/pin, /unpin, /evict: which models nodes keep. Asked of the nodes themselves, which answer one by one."""

from __future__ import annotations

from fastapi import APIRouter, Request

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Plane, needs_admin
from modeldist.control.api.description import answers
from modeldist.control.api.requests import KeepingRequest
from modeldist.control.plane import ControlPlane
from modeldist.control.resolver import check_reference
from modeldist.control.views import ErrorView, KeepingNodeView, KeepingView
from modeldist.errors import NotFound
from modeldist.session.messages import StoreAction, StoreAnswer

router = APIRouter(tags=["keeping"])


@router.post("/pin", dependencies=[needs_admin], summary="Keep a model on nodes", responses=answers(404))
async def pin(asked: KeepingRequest, plane: Plane, request: Request) -> KeepingView:
    """Their garbage collectors leave it alone, and it cannot be evicted. Nodes that do not have it are `absent`."""
    return await _ask(plane, "pin", asked, request)


@router.post("/unpin", dependencies=[needs_admin], summary="Keep it no longer", responses=answers(404))
async def unpin(asked: KeepingRequest, plane: Plane, request: Request) -> KeepingView:
    """Their garbage collectors may have it again."""
    return await _ask(plane, "unpin", asked, request)


@router.post("/evict", dependencies=[needs_admin], summary="Remove a model from nodes", responses=answers(404))
async def evict(asked: KeepingRequest, plane: Plane, request: Request) -> KeepingView:
    """Files that other models or running pulls use stay. Where it is pinned it stays: `failed`, `pinned`."""
    return await _ask(plane, "evict", asked, request)


async def _ask(plane: ControlPlane, action: StoreAction, asked: KeepingRequest, request: Request) -> KeepingView:
    acts_on(request, asked.reference)
    reference = check_reference(asked.selected())
    if (selector := asked.selector()).everyone:
        await plane.book.all_back()
    nodes = await plane.book.meant(selector)
    answered = await plane.core.store_commands.ask(nodes, action, reference)
    return KeepingView(action, reference, [_node(node, answer) for node, answer in answered.items()])


def _node(node: str, answer: StoreAnswer) -> KeepingNodeView:
    if answer.error is None:
        return KeepingNodeView(node, "done", answer.bytes_freed)
    state = "absent" if answer.error.code == NotFound.code else "failed"
    return KeepingNodeView(node, state, 0, ErrorView.of(answer.error))
