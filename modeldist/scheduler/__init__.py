"""Who fetches what from whom: phase 1 (control plane), phase 2 (agent), origin leases. Pure state machines.

`handle(event, now) -> instructions`; no I/O, no clock, no threads, randomness passed in. Imports `modeldist.artifact`,
`modeldist.uploads` and nothing else of the house. The same classes run in the control plane, in agents, in embedded
mode and in the simulator.

    pieces.py     how a shard is cut; sets of pieces
    messages.py   the events and instructions of phase 1, which are also what agents and control plane say
    phase1/       candidate parents and origin leases, for all tasks and nodes
    alone.py      origin leases where there is one node only
    phase2/       which piece from which parent, for one node
"""
