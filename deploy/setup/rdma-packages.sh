#!/usr/bin/env bash
# What `make test-rdma` needs beside the tests' own: a virtual machine, a kernel with Soft-RoCE, the verbs library.
set -euo pipefail
missing=()
needs() { PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || missing+=("$2"); }
needs qemu-system-x86_64 qemu-system-x86
needs rdma iproute2
needs file file  # virtme-ng asks it for the version of a kernel
needs setpriv util-linux
needs modprobe kmod
needs busybox busybox-static
needs ib_read_bw perftest
needs ibv_devinfo ibverbs-utils
[ -d /usr/lib/python3/dist-packages/pyverbs ] || missing+=(python3-pyverbs)
compgen -G '/lib/modules/*/kernel/drivers/infiniband/sw/rxe/rdma_rxe.ko*' >/dev/null || missing+=(linux-image-amd64)
exec "${0%/*}/apt-install.sh" "${missing[@]}"
