#!/usr/bin/env bash
# What `make test-web` needs beside the tests' own: a browser, and fonts to look at.
set -euo pipefail
missing=()
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
[ -d /usr/share/fonts/truetype/liberation ] || [ -d /usr/share/fonts/truetype/liberation2 ] || missing+=(fonts-liberation)
[ -d /usr/share/fonts/truetype/dejavu ] || missing+=(fonts-dejavu-core)
exec "${0%/*}/apt-install.sh" "${missing[@]}"
