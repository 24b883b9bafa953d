#!/usr/bin/env bash
# apt-install.sh PACKAGE...: install Debian packages. Without root or sudo (or without apt) say what is left out, and
# succeed: everything that can run, runs.
set -euo pipefail
[ "$#" -eq 0 ] && exit 0

left_out() {
  echo "modeldist: left out ($1): ${packages[*]}. What needs them is skipped and says so." >&2
  exit 0
}

packages=("$@")
command -v apt-get >/dev/null 2>&1 || left_out "no apt-get here"
run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || left_out "neither root nor password-less sudo"
  run=(sudo -n)
fi

echo "modeldist: installing ${packages[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A package's service must not start here: the tests start their own on free ports. Nor shall PostgreSQL's package lay
# out a cluster of its own, so for the length of the install it is told not to.
no_cluster=/etc/postgresql-common/createcluster.d/modeldist.conf
install() {
  "${run[@]}" env RUNLEVEL=1 apt-get install -y --no-install-recommends "${packages[@]}" >>"$log" 2>&1
}
if [[ " ${packages[*]} " == *" postgresql "* ]]; then
  "${run[@]}" mkdir -p "${no_cluster%/*}"
  echo "create_main_cluster = false" | "${run[@]}" tee "$no_cluster" >/dev/null
  trap 'rm -f "$log"; "${run[@]}" rm -f "$no_cluster"' EXIT
fi
if ! install; then
  "${run[@]}" apt-get update >>"$log" 2>&1 || { tail -5 "$log" >&2; left_out "apt-get update failed"; }
  install || { tail -5 "$log" >&2; left_out "apt-get install failed"; }
fi
