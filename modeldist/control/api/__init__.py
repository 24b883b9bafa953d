"""What crosses the network: agent sessions over WebSocket and REST under /api/v1, every route behind a token.

One file a resource. Imports FastAPI, `control.plane` and `control.views`; nothing imports this but `control.app`.
"""
