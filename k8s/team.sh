# shellcheck shell=bash disable=SC2154 # the variables of connect.sh, which reads this file if MLflow asks for a login
# Create the team of a namespace: its Secrets, and with a Job its workspace and user of MLflow, its bucket and key of MinIO.
#   bucket     name of the bucket, or empty if the team has a store of its own
random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }

# The values are in no argument and no file. The Secret of the services' namespace stays; the team's namespace gets copies.
[ -n "$(get "$ours" secret "$team")" ] || "$kubectl" -n "$ours" create -f - <<YAML
apiVersion: v1
kind: Secret
metadata: {name: $team}
stringData:
  MLFLOW_WORKSPACE: $team
  MLFLOW_TRACKING_USERNAME: $team
  MLFLOW_TRACKING_PASSWORD: $(random)
  AWS_ACCESS_KEY_ID: $team
  AWS_SECRET_ACCESS_KEY: $(random)
YAML
"$kubectl" -n "$ours" get secret "$team" -o go-template='apiVersion: v1
kind: Secret
metadata: {name: tinyunet-mlflow}
data: {MLFLOW_WORKSPACE: {{.data.MLFLOW_WORKSPACE}}, MLFLOW_TRACKING_USERNAME: {{.data.MLFLOW_TRACKING_USERNAME}}, MLFLOW_TRACKING_PASSWORD: {{.data.MLFLOW_TRACKING_PASSWORD}}}' | apply

# Pods of other teams do not reach those of this one. In kubeflow, all namespaces use the services of Kubeflow itself.
[ "$namespace" = kubeflow ] || apply <<YAML
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: tinyunet-team}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector: {}
        - namespaceSelector:
            matchExpressions:
              - {key: kubernetes.io/metadata.name, operator: In, values: [kubeflow, istio-system, knative-serving, monitoring]}
YAML

folder=$(mktemp -d) # kustomize reads no file outside of its folder
cp "$here"/components/tenant/{job.yaml,tenant.py} "$here/components/review/key.py" "$folder"
cat >"$folder/kustomization.yaml" <<YAML
kind: Kustomization
apiVersion: kustomize.config.k8s.io/v1beta1
namespace: $ours
nameSuffix: -$namespace
resources: [job.yaml]
configMapGenerator: # a changed script changes the Job, as in components/buckets
  - name: tenant
    files: [tenant.py, key.py]
patches:
  - target: {kind: Job}
    patch: |
      - {op: replace, path: /spec/template/spec/containers/0/envFrom/2/secretRef/name, value: $team}
YAML
[ -z "$bucket" ] || cat >>"$folder/kustomization.yaml" <<YAML
      - {op: add, path: /spec/template/spec/containers/0/command/-, value: $bucket}
YAML
image=$(get "$ours" deployment mlflow 'jsonpath={.spec.template.spec.containers[0].image}')
job=$("$kubectl" kustomize "$folder" | sed "s|image: tinyunet/serving:.*|image: ${image/tinyunet\/mlflow:/tinyunet\/serving:}|")
rm -r "$folder"
create() { "$kubectl" apply "$@" -f - <<<"$job"; }
create --dry-run=server >/dev/null 2>&1 || "$kubectl" -n "$ours" delete job "tenant-$namespace" # its pod template is immutable
create
"$kubectl" -n "$ours" wait --for=condition=complete "job/tenant-$namespace" --timeout="${TIMEOUT:-120}s" >/dev/null ||
  fail "the team $team could not be made: $("$kubectl" -n "$ours" logs "job/tenant-$namespace" --tail=1 2>&1); correct this, then make connect again"
