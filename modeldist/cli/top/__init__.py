"""`modeldist top`: what moves now, on this node or in the cluster.

picture.py   what is shown, and as lines: pure
local.py     a picture of this machine's agent
cluster.py   one of a control plane
screen.py    one after the other, until q is pressed
"""
