"""Several processes of one control plane on one PostgreSQL: one leads, the others stand by (docs/adr/0033-replicas.md).

    lock.py      the advisory lock that makes a leader, on a connection of its own
    held.py      one term of this replica, and how long it may believe in it
    campaign.py  competing for the lock and keeping it, in a thread of its own
    replica.py   leading and standing by, with what a term opens and closes

May import what `control.plane` may.
"""
