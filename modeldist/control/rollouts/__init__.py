"""Agents, and the control plane itself, updated in waves: who is told when, what counts as failed, and what follows.

`rollout` is the state machine, `book` carries it out and keeps it in the store, `blame` says which pulls speak against
a version, `own` updates this process. May import the control plane's other rooms and `modeldist.upgrade`.
"""
