"""The control plane's REST API from Python: `Client`, `AsyncClient`, and `verify_webhook` for what it sends.

    calls.py         what is asked, as plain data: one function an operation, the same for both clients
    answers.py       what is answered: a view, or the error that a problem stands for
    asynchronous.py  AsyncClient, which the command line uses
    synchronous.py   Client
    pull_events.py   events of a pull, and how long to put up with a stream that breaks
    webhooks.py      signatures, checked

Answers are the frozen dataclasses of `control.views`, failures classes of `modeldist.errors`, each with its `code`.
Imports control.views, session, errors; of the control plane nothing that serves.
"""

from __future__ import annotations

from modeldist.client.asynchronous import AsyncClient
from modeldist.client.calls import Nodes, PriorityName, SomeNodes
from modeldist.client.pull_events import PullEvent
from modeldist.client.synchronous import Client
from modeldist.client.webhooks import verify_webhook

__all__ = ["AsyncClient", "Client", "Nodes", "PriorityName", "PullEvent", "SomeNodes", "verify_webhook"]
