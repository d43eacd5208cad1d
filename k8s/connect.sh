#!/usr/bin/env bash
# Let pipelines that Kubeflow runs in a namespace use what deploy.sh made; doing it again takes over what has changed.
#   connect.sh NAMESPACE                      artifacts stay in Kubeflow's own object store
#   connect.sh NAMESPACE https://host:port    the same, where it is another one
#   connect.sh NAMESPACE tinyunet             artifacts land in our MinIO: the namespace's kfp-launcher says so
# Made there: ConfigMap and Role tinyunet…, Secret tinyunet-s3 (a copy, through a pipe). KUBECTL names another kubectl.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=${1:-} store=${2:-} ours=tinyunet
kubectl=${KUBECTL:-kubectl}
fail() { echo "connect: $*" >&2; exit 2; }
has() { "$kubectl" -n "$1" get "$2" "$3" >/dev/null 2>&1; } # namespace kind name
value() { "$kubectl" -n "$1" get configmap "$2" -o "go-template={{index .data \"$3\"}}"; } # namespace name key
apply() { "$kubectl" -n "$namespace" apply --server-side --force-conflicts -f -; } # which annotates no copy of a secret

copy_secret() { # namespace name key-of-id key-of-secret
  local template='apiVersion: v1
kind: Secret
metadata: {name: tinyunet-s3}
data: {AWS_ACCESS_KEY_ID: {{.data.ID}}, AWS_SECRET_ACCESS_KEY: {{.data.KEY}}}'
  template=${template/.ID/.$3} template=${template/.KEY/.$4}
  "$kubectl" -n "$1" get secret "$2" -o "go-template=$template" | apply
}

use_kubeflows_store() {
  s3=$store
  for service in seaweedfs minio-service; do
    [ -n "$s3" ] || ! has kubeflow service $service || s3=http://$service.kubeflow.svc.cluster.local:9000
  done
  [ -n "$s3" ] || fail "no service seaweedfs or minio-service in namespace kubeflow; name its object store: STORE=http://host:port"
  if has "$namespace" secret mlpipeline-minio-artifact; then
    copy_secret "$namespace" mlpipeline-minio-artifact accesskey secretkey
  elif ! has "$namespace" secret tinyunet-s3; then
    fail "secret $namespace/mlpipeline-minio-artifact is missing; make one with your store's keys: kubectl -n $namespace create secret generic tinyunet-s3 --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
  fi
}

use_our_store() {
  s3=$(value $ours tinyunet S3_ENDPOINT_URL)
  local providers; providers=$(value $ours kfp-launcher providers)
  if has "$namespace" configmap kfp-launcher && [ "$(value "$namespace" kfp-launcher providers)" != "$providers" ]; then
    fail "$namespace has a kfp-launcher of its own, which is left alone; leave STORE out, or merge k8s/base/configmap.yaml into it"
  fi
  copy_secret $ours tinyunet-s3 AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
  apply <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: kfp-launcher}
data:
  defaultPipelineRoot: $(value $ours kfp-launcher defaultPipelineRoot)
  providers: |
$(sed 's/^/    /' <<<"$providers")
YAML
}

[ -n "$namespace" ] || fail "no namespace; name that of the runs: make connect NAMESPACE=kubeflow, or your profile"
[ "$namespace" != $ours ] || fail "Kubeflow's pods do not run in $ours (Pod Security restricted); name kubeflow or a profile"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG"
has "$namespace" namespace "$namespace" || fail "there is no namespace $namespace; kubectl get namespaces lists them"
has $ours configmap tinyunet || fail "nothing is deployed yet; first: make deploy"
case $store in
  "" | http://* | https://*) use_kubeflows_store ;;
  tinyunet) use_our_store ;;
  *) fail "STORE is $store; expected nothing (Kubeflow's own store), its URL where it is another, or tinyunet" ;;
esac
apply <"$here/base/role.yaml"
apply <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: tinyunet}
data:
  MLFLOW_TRACKING_URI: $(value $ours tinyunet MLFLOW_TRACKING_URI)
  S3_ENDPOINT_URL: $s3
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tinyunet-launcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tinyunet-launcher}
subjects: # the accounts of runs: in a standalone Kubeflow Pipelines, and in a profile
  - {kind: ServiceAccount, namespace: $namespace, name: pipeline-runner}
  - {kind: ServiceAccount, namespace: $namespace, name: default-editor}
YAML
part=$("$kubectl" get namespace "$namespace" -o jsonpath='{.metadata.labels.app\.kubernetes\.io/part-of}')
if [ "$namespace" != kubeflow ] && [ "$part" != kubeflow-profile ]; then
  echo "connect: no pod of $namespace gets through to MLflow yet: kubectl label namespace $namespace app.kubernetes.io/part-of=kubeflow-profile"
fi
echo "connect: pipelines in $namespace use MLflow of $ours and the object store $s3"
