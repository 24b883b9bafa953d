"""modeldist puts AI model weights onto the machines that serve them.

    cli, ray, gateway ─▶ agent, control ─▶ session ─▶ scheduler, transfer, origins ─▶ artifact, errors
        ─▶ modelpack, rdma

ARCHITECTURE.md follows one pull through these rooms.
"""

__version__ = "0.1.0"
