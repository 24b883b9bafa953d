"""/enrol and /certificate: machines become nodes, and nodes get new certificates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from modeldist.control.api.audit import acts_on
from modeldist.control.api.authentication import Needs, Plane
from modeldist.control.api.requests import CertificateRequest, EnrolRequest
from modeldist.control.store.tokens import Token
from modeldist.control.views import CertificateView, EnrolmentView

router = APIRouter(tags=["enrolment"])


@router.post("/enrol", summary="Become a node, with a join token")
async def enrol(
    asked: EnrolRequest, plane: Plane, request: Request, token: Annotated[Token, Depends(Needs("join"))]
) -> EnrolmentView:
    """The join token is used up. What the answer has is for this node alone, and told this once."""
    acts_on(request, asked.node)
    own, certified = await plane.enrolment.enrol(token, asked.node, asked.csr)
    return EnrolmentView(asked.node, own, certified.certificate.decode(), certified.authority.decode())


@router.post("/certificate", summary="A new certificate for this node")
async def certificate(
    asked: CertificateRequest, plane: Plane, request: Request, token: Annotated[Token, Depends(Needs("node"))]
) -> CertificateView:
    """For the node whose token is shown, and for no other, whatever the request for it names."""
    acts_on(request, token.name)
    certified = await plane.enrolment.renew(token, asked.csr)
    return CertificateView(certified.certificate.decode(), certified.authority.decode())
