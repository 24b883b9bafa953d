"""Who a node is, proven: an authority of the cluster's own, certificates that name a node and no address, and what each
end of a connection between nodes asks of the other. No sockets here. May import transfer.base and cryptography.

What moves pieces over such a connection is in `transfer.tcp`. docs/adr/0038-enrolment-and-tls-between-nodes.md.
"""
