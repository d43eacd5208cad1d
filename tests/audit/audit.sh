#!/usr/bin/env bash
# Check the workflows, every rendered overlay, the Dockerfile, the alert rules and all files for secrets; needs Go. Reports go to standard output.
#   audit.sh [CACHE]    CACHE: folder of the programs (default: that of the project), which are built once, in about 8 minutes
# tests/audit/exceptions names the findings that stay, with their reasons. A limit of CPU is not demanded: it would slow down a
# service on an idle node.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cache=${1:-${TINYUNET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tinyunet}}
checkov=checkov==3.3.30 schemas=kubernetes-validate==1.37.0 kubernetes=1.34.1
work=$(mktemp -d); trap 'rm -r "$work"' EXIT
failed=()
phase() { # title command… - run a check; a failed one does not end the others
  local title=$1 start=$SECONDS; shift
  if "$@"; then echo "audit: $title: clean ($((SECONDS - start)) s)"; else failed+=("$title"); echo "audit: $title: FAILED" >&2; fi
}
except() { sed -n "s/^$1 \([^ ]*\) .*/\1/p" tests/audit/exceptions; }

bin=$(GOFLAGS=-tags=remove_all_sd tests/cluster/programs/build.sh "$cache/audit" tests/audit/programs) # promtool without cloud clients
python=$cache/audit/venv-$(sha256sum <<<"$checkov $schemas" | cut -c1-12)/bin
[ -x "$python/checkov" ] || {
  echo "audit: installing $checkov and $schemas (300 MB, once)" >&2
  .venv/bin/uv venv --quiet --clear --python .venv/bin/python "${python%/bin}"
  .venv/bin/uv pip install --quiet --python "$python/python" "$checkov" "$schemas"
}
printf '#!/bin/sh\nshift; exec %q build "$@"\n' "$bin/kustomize" >"$work/kubectl"; chmod +x "$work/kubectl"
mkdir "$work/rendered"
render() { # name overlay setting… - what `make deploy` would apply
  env KUBECTL="$work/kubectl" SERVE= KEEP= STORE_KIND= TENANTS= REGISTRY= TAG= "${@:3}" k8s/deploy.sh "$2" --print >"$work/rendered/$1.yaml"
}
for overlay in local gpu production; do render $overlay $overlay; done
render seaweedfs local STORE_KIND=seaweedfs
render tenants local TENANTS=true
render serving local SERVE=part-7 KEEP=s3://review/part-7
cp k8s/mpijob.yaml k8s/mpijob-gpu.yaml "$work/rendered/"

scan_secrets() { # every file of git but lock files and recorded data; hashes and made-up credentials of tests are marked
  git ls-files -z -- ':!*.lock' ':!*/go.sum' ':!tests' ':!*.jpg' ':!*.svg' |
    xargs -0 .venv/bin/detect-secrets-hook --cores 2 --disable-plugin HexHighEntropyString --disable-plugin Base64HighEntropyString \
      --exclude-lines 'secretName|secretKeyRef|secretRef|existingSecret|secretKeyKey'
}
test_alerts() {
  .venv/bin/python -c 'import sys, yaml; yaml.safe_dump(yaml.safe_load(sys.stdin)["spec"], sys.stdout)' \
    <k8s/components/prometheus/alerts.yaml >"$work/rules.yaml"
  cp tests/audit/alerts.yaml "$work/"
  "$bin/promtool" check rules "$work/rules.yaml" && "$bin/promtool" test rules "$work/alerts.yaml"
}
score() {
  "$bin/kube-score" score --ignore-container-cpu-limit --output-format ci --exit-one-on-warning "${ignore[@]}" "$@" |
    { grep -v '^\[OK\]\|^\[SKIPPED\]' || true; }
}
ignored() { for check in $(except kube-score); do printf -- '--ignore-test\n%s\n' "$check"; done; }
mapfile -t ignore < <(ignored)
skipped=$(except checkov | paste -sd ,)
phase "workflows (actionlint)" "$bin/actionlint" -no-color .github/workflows/*.yml
phase "manifests (kube-score)" score "$work"/rendered/{local,gpu,production,seaweedfs,tenants,serving}.yaml
phase "manifests (schemas of Kubernetes $kubernetes)" "$python/kubernetes-validate" --strict --quiet -k $kubernetes \
  "$work"/rendered/{local,gpu,production,seaweedfs,tenants,serving}.yaml
phase "manifests (checkov)" "$python/checkov" --directory "$work/rendered" --framework kubernetes --skip-check "$skipped" --compact --quiet --skip-download
phase "Dockerfile (checkov)" "$python/checkov" --file docker/Dockerfile --framework dockerfile --skip-check "$skipped" --compact --quiet --skip-download
phase "alert rules (promtool)" test_alerts
phase "secrets (detect-secrets)" scan_secrets
[ ${#failed[@]} = 0 ] || { echo "audit: failed: ${failed[*]}; mend them, or add an exception with its reason to tests/audit/exceptions" >&2; exit 1; }
