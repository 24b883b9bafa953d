"""`modeldist doctor`: is this machine fit to be a node? Each check looks at one thing, and needs no agent.

finding.py   what a check found
checks.py    which there are, run beside each other
disk.py      the store's disk, measured
machine.py   limits, FUSE, RDMA, links
reach.py     origins, the control plane and its clock
"""
