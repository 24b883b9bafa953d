"""`python -m rdma bench` between two Soft-RoCE devices, in the machine of `make test-rdma`."""

from __future__ import annotations

from rdma import bench
from tests.verbs.links import two_hosts

if __name__ == "__main__":
    with two_hosts() as hosts:
        bench.main(hosts[0].device, hosts[1].device, size=64 << 20, repeat=3)
