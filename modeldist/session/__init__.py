"""The session: what an agent and the control plane say to each other over one WebSocket.

Messages and codec only. Phase 1's own events and instructions come from `modeldist.scheduler.messages`; this adds
greeting, resolution and pulls started by the control plane. May import scheduler, artifact, errors.
"""
