#!/usr/bin/env bash
# Install the Debian packages that the demo and the tests use for real, as far as that is possible here.
set -euo pipefail

declare -A needed=(
  [docker-registry]=docker-registry   # a real registry
  [skopeo]=skopeo                     # another tool's reading of what we push
  [containerd]=containerd             # a container runtime that pulls through the mirror
  [nginx]=nginx-light                 # a real web server
  [promtool]=prometheus               # what scrapes, and what tests its rules
  [curl]=curl                         # what docs/platforms.md is written for
  [openssl]=openssl                   # and how it checks a webhook
  [fusermount3]=fuse3                 # what mounts and unmounts for users who are not root
  [pkg-config]=pkg-config             # by which pyfuse3's build finds libfuse3
  [gcc]=gcc
)
missing=()
for command in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1 || missing+=("${needed[$command]}")
done
# Debian's Python makes no virtual environment with pip in it until this package is there.
"${PYTHON:-python3}" -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
# The control plane's other database. Its programs are not on the PATH, and no cluster of its own is wanted.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
# pyfuse3 is built here: against Python, and libfuse3.
"${PYTHON:-python3}" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' || missing+=(python3-dev)
compgen -G '/usr/include/fuse3/fuse_lowlevel.h' >/dev/null || missing+=(libfuse3-dev)
exec "${0%/*}/apt-install.sh" "${missing[@]}"
