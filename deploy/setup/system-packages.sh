#!/usr/bin/env bash
# Install the Debian packages that the demo and the tests use for real. Without root or sudo (or without apt) say what
# is left out, and succeed: everything that can run, runs.
set -euo pipefail

declare -A needed=(
  [docker-registry]=docker-registry   # a real registry
  [skopeo]=skopeo                     # another tool's reading of what we push
  [nginx]=nginx-light                 # a real web server
)
missing=()
for command in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1 || missing+=("${needed[$command]}")
done
# Debian's Python makes no virtual environment with pip in it until this package is there.
"${PYTHON:-python3}" -c 'import ensurepip' >/dev/null 2>&1 || missing+=(python3-venv)
# The control plane's other database. Its programs are not on the PATH, and no cluster of its own is wanted.
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
[ "${#missing[@]}" -eq 0 ] && exit 0

left_out() {
  echo "modeldist: left out ($1): ${missing[*]}. What needs them is skipped and says so." >&2
  exit 0
}

command -v apt-get >/dev/null 2>&1 || left_out "no apt-get here"
run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null || left_out "neither root nor password-less sudo"
  run=(sudo -n)
fi

echo "modeldist: installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
# A package's service must not start here: the tests start their own on free ports. Nor shall PostgreSQL's package lay
# out a cluster of its own, so for the length of the install it is told not to.
no_cluster=/etc/postgresql-common/createcluster.d/modeldist.conf
install() {
  "${run[@]}" env RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1
}
if [[ " ${missing[*]} " == *" postgresql "* ]]; then
  "${run[@]}" mkdir -p "${no_cluster%/*}"
  echo "create_main_cluster = false" | "${run[@]}" tee "$no_cluster" >/dev/null
  trap 'rm -f "$log"; "${run[@]}" rm -f "$no_cluster"' EXIT
fi
if ! install; then
  "${run[@]}" apt-get update >>"$log" 2>&1 || { tail -5 "$log" >&2; left_out "apt-get update failed"; }
  install || { tail -5 "$log" >&2; left_out "apt-get install failed"; }
fi
