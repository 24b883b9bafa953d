from __future__ import annotations

import ipaddress

from rdma import Device, Gid, Port, rail_at, rails

V4 = "::ffff:10.0.0.7"


def gid(index: int, address: str, kind: str = "RoCE v2") -> Gid:
    return Gid(index, ipaddress.IPv6Address(address), kind, "eth0")


def port(*gids: Gid, state: str = "ACTIVE", link: str = "Ethernet", rate: float = 1.0, number: int = 1) -> Port:
    return Port(number, state, link, rate, gids)


def test_a_routable_gid_is_chosen() -> None:
    local, sixth, fourth = gid(0, "fe80::1"), gid(1, "fd00::7"), gid(3, V4)
    (rail,) = rails([Device("mlx5_0", 1, (port(local, sixth, gid(2, V4, "IB/RoCE v1"), fourth),))])
    assert rail.gid == fourth
    assert rail.numa_node == 1
    (rail,) = rails([Device("mlx5_0", 1, (port(local, sixth),))])
    assert rail.gid == sixth


def test_what_cannot_be_used_is_no_rail() -> None:
    assert rails([Device("none", None, ())]) == ()
    assert rails([Device("down", None, (port(gid(0, V4), state="DOWN"),))]) == ()
    assert rails([Device("local", None, (port(gid(0, "fe80::1")),))]) == ()
    assert rails([Device("old", None, (port(gid(0, V4, "IB/RoCE v1")),))]) == ()


def test_several_rails_the_fastest_first() -> None:
    slow, fast = Device("a", 0, (port(gid(0, V4), rate=1.0),)), Device("b", 0, (port(gid(0, V4), rate=2.0),))
    both = Device("c", 0, (port(gid(0, V4), state="DOWN"), port(gid(0, V4), number=2)))
    assert [(rail.device, rail.port) for rail in rails([slow, fast, both])] == [("b", 1), ("a", 1), ("c", 2)]


def test_infiniband_has_a_gid_of_its_own() -> None:
    own = gid(0, "fe80::1", "IB/RoCE v1")
    (rail,) = rails([Device("ib", None, (port(own, link="InfiniBand"),))])
    assert rail.gid == own


def test_the_rail_at_an_address() -> None:
    devices = [
        Device("down", None, (port(gid(0, V4), state="DOWN"),)),
        Device("other", None, (port(gid(0, "::ffff:10.0.0.8")),)),
        Device("it", None, (port(gid(0, "fe80::1"), gid(1, V4)),)),
    ]
    found = rail_at(devices, ipaddress.IPv4Address("10.0.0.7"))
    assert found is not None
    assert (found.device, found.gid.index) == ("it", 1)
    assert rail_at(devices, ipaddress.IPv4Address("10.0.0.9")) is None
