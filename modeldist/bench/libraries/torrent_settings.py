"""libtorrent's settings wherever it is measured: plain TCP between peers that are given by address, nobody choked.

What depends on the links is set beside each use: how far a peer requests ahead and how much it buffers follow from
bytes per round trip, threads from the cores that a peer has for itself.
"""

PLAIN: dict[str, object] = {
    # TCP without encryption (2: none), as ours is
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "out_enc_policy": 2,
    "in_enc_policy": 2,
    # no look-ups: peers are told of each other
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # no caps
    "unchoke_slots_limit": -1,
    "allow_multiple_connections_per_ip": True,
}
