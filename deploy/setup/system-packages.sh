#!/usr/bin/env bash
# Install the Debian packages that the demo and the tests use for real. Without root or sudo (or without apt) say what
# is left out, and succeed: everything that can run, runs.
set -euo pipefail

declare -A needed=(
  [docker-registry]=docker-registry   # a real registry
  [skopeo]=skopeo                     # another tool's reading of what we push
  [nginx]=nginx-light                 # a real web server
  [python3]=python3-venv
)
missing=()
for command in "${!needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$command" >/dev/null 2>&1 || missing+=("${needed[$command]}")
done
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
# A package's service must not start here: the tests start their own on free ports.
install() {
  "${run[@]}" env RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1
}
if ! install; then
  "${run[@]}" apt-get update >>"$log" 2>&1 || { tail -5 "$log" >&2; left_out "apt-get update failed"; }
  install || { tail -5 "$log" >&2; left_out "apt-get install failed"; }
fi
