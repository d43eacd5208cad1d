#!/usr/bin/env bash
# Configure a namespace of Kubeflow runs: the address of deploy.sh's MLflow, and the object store of the artifacts.
#   connect.sh NAMESPACE                               the object store is Kubeflow's own
#   connect.sh NAMESPACE https://host:port [REGION]    another object store (default region: that of deploy.sh)
# The script creates the ConfigMap tinyunet, the Secret tinyunet-s3 (a copy of the key of Kubeflow's store, or of that of
# deploy.sh's store), a copy of the ConfigMap tinyunet-ca if the namespace of deploy.sh has one, the Role and RoleBinding
# tinyunet-launcher, and, in the namespace of deploy.sh, the RoleBinding tinyunet-deployer-NAMESPACE. A second call updates them, but does not overwrite fields that another program manages.
# If MLflow asks for a login (make deploy TENANTS=true), the namespace becomes a team: it also gets the Secret tinyunet-mlflow
# and the NetworkPolicy tinyunet-team, its key of deploy.sh's store is one for its bucket only, and it has no RoleBinding there.
# Afterwards, a pod of the namespace checks that MLflow and the store answer.
# Environment: KUBECTL is the kubectl program (default: kubectl).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=${1:-} store=${2:-} ours=tinyunet
kubectl=${KUBECTL:-kubectl}
fail() { echo "connect: $*" >&2; exit 2; }
get() { "$kubectl" -n "$1" get "$2" "$3" --ignore-not-found -o "${4:-name}"; } # namespace kind name [format] - prints nothing if absent
apply() { "$kubectl" -n "$namespace" apply --server-side -f -; } # a client-side apply would copy the secret into an annotation

[ -n "$namespace" ] || fail "no namespace; expected the namespace of the runs: make connect NAMESPACE=kubeflow, or your profile"
[ "$namespace" != $ours ] || fail "Kubeflow's pods cannot run in $ours (Pod Security restricted); give kubeflow or a profile"
[[ -z $store || $store =~ ^https?://[][A-Za-z0-9.:/_-]+$ ]] || fail "STORE is ${store@Q}; expected a URL like http://host:9000, or no value for Kubeflow's own store"
[[ ${3:-} =~ ^[A-Za-z0-9_-]*$ ]] || fail "REGION is ${3@Q}; expected letters, digits and _ -, such as us-east-1"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG"
present=$(get "$namespace" namespace "$namespace")
[ -n "$present" ] || fail "namespace $namespace does not exist; kubectl get namespaces lists all"
mlflow=$(get $ours configmap tinyunet 'jsonpath={.data.MLFLOW_TRACKING_URI}')
[ -n "$mlflow" ] || fail "MLflow is not deployed; first run: make deploy"
region=${3:-$(get $ours configmap tinyunet 'jsonpath={.data.AWS_DEFAULT_REGION}')}

for service in seaweedfs minio-service; do
  present=$(get kubeflow service $service)
  [ -n "$store" ] || [ -z "$present" ] || store=http://$service.kubeflow.svc.cluster.local:9000
done
[ -n "$store" ] || fail "no service seaweedfs or minio-service in namespace kubeflow; give the object store: STORE=http://host:port"
tenants=$(get $ours secret tinyunet-mlflow-admin) team=team-$namespace
[[ -z $tenants || ${#namespace} -le 56 ]] || fail "namespace $namespace is longer than 56 characters; expected a shorter one for the names of its team"
[[ $store =~ ^https?://(minio|seaweedfs)\.$ours(\.svc(\.cluster\.local)?)?(:[0-9]+)?/?$ ]] && bucket=$team || bucket=
own=$(get "$namespace" secret tinyunet-s3)
copied=$(get "$namespace" secret tinyunet-s3 "jsonpath={.metadata.labels.tinyunet/copied}")
copy() { # namespace secret key-of-the-id key-of-the-secret - the values are in no argument and no file
  "$kubectl" -n "$1" get secret "$2" -o go-template="apiVersion: v1
kind: Secret
metadata: {name: tinyunet-s3, labels: {tinyunet/copied: \"true\"}}
data: {AWS_ACCESS_KEY_ID: {{.data.$3}}, AWS_SECRET_ACCESS_KEY: {{.data.$4}}}" | apply
}
# shellcheck source=k8s/team.sh
[ -z "$tenants" ] || . "$here/team.sh"
if [[ -n ${2:-} && -n $own && -z $copied ]]; then
  : # the user's own key of the user's own store
elif [[ -n $tenants && -n $bucket ]]; then
  copy $ours "$team" AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
elif [ -n "$bucket" ]; then
  copy $ours tinyunet-s3 AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY
elif [ -n "$(get "$namespace" secret mlpipeline-minio-artifact)" ]; then
  copy "$namespace" mlpipeline-minio-artifact accesskey secretkey
elif [ -z "$own" ]; then
  fail "secret $namespace/mlpipeline-minio-artifact is missing; create tinyunet-s3 with the keys of your store: kubectl -n $namespace create secret generic tinyunet-s3 --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
fi
certificates=$("$kubectl" -n $ours get configmap tinyunet-ca --ignore-not-found -o go-template='apiVersion: v1
kind: ConfigMap
metadata: {name: tinyunet-ca}
data: {ca.crt: {{printf "%q" (index .data "ca.crt")}}}')
[ -z "$certificates" ] || apply <<<"$certificates"
apply <"$here/base/role.yaml"
apply <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: tinyunet}
data:
  MLFLOW_TRACKING_URI: $mlflow
  S3_ENDPOINT_URL: $store
  AWS_DEFAULT_REGION: ${region:-us-east-1}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tinyunet-launcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tinyunet-launcher}
subjects: # accounts of the runs: in a standalone Kubeflow Pipelines, and in a profile
  - {kind: ServiceAccount, namespace: $namespace, name: pipeline-runner}
  - {kind: ServiceAccount, namespace: $namespace, name: default-editor}
YAML
if [ -n "$tenants" ]; then # a patch of a Deployment in $ours could read the keys of all teams
  "$kubectl" -n $ours delete rolebinding "tinyunet-deployer-$namespace" --ignore-not-found
else
  "$kubectl" -n $ours apply --server-side -f - <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tinyunet-deployer-$namespace}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tinyunet-deployer}
subjects: # the same accounts may replace the servers of a model (parameter deploy of the pipeline)
  - {kind: ServiceAccount, namespace: $namespace, name: pipeline-runner}
  - {kind: ServiceAccount, namespace: $namespace, name: default-editor}
YAML
fi
part=$(get "$namespace" namespace "$namespace" 'jsonpath={.metadata.labels.app\.kubernetes\.io/part-of}')
[ "$namespace" = kubeflow ] || [ "$part" = kubeflow-profile ] ||
  fail "MLflow refuses pods of $namespace; run: kubectl label namespace $namespace app.kubernetes.io/part-of=kubeflow-profile, then make connect again"

pod=tinyunet-connect
pod() { "$kubectl" -n "$namespace" "$1" pod $pod "${@:2}"; }
image=$(get $ours deployment mlflow 'jsonpath={.spec.template.spec.containers[0].image}')
pod delete --ignore-not-found --wait >/dev/null
trap 'pod delete --ignore-not-found --wait=false >/dev/null' EXIT
apply >/dev/null <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $pod, annotations: {sidecar.istio.io/inject: "false"}, labels: {sidecar.istio.io/inject: "false"}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext: {runAsNonRoot: true, runAsUser: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: main
      image: $image
      envFrom: [configMapRef: {name: tinyunet}, secretRef: {name: tinyunet-s3}, secretRef: {name: tinyunet-mlflow, optional: true}]
      volumeMounts: [{name: tinyunet-ca, mountPath: /etc/tinyunet-ca, readOnly: true}]
      resources: {requests: {cpu: 20m, memory: 96Mi}, limits: {memory: 256Mi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
      command:
        - python3
        - -c
        - |
$(sed 's/^/          /' "$here/reach.py")
  volumes: [{name: tinyunet-ca, configMap: {name: tinyunet-ca, optional: true}}]
YAML
for ((waited = 0; waited < ${TIMEOUT:-120}; waited += 2)); do
  phase=$(pod get -o 'jsonpath={.status.phase}')
  [[ $phase != Succeeded && $phase != Failed ]] || break
  sleep 2
done
case $phase in
  Succeeded) echo "connect: pipelines in $namespace use MLflow of $ours and the object store $store; a pod there reached both" ;;
  Failed) fail "$("$kubectl" -n "$namespace" logs $pod | paste -sd ';'); the settings are written, but runs would fail: correct STORE, or delete the secret $namespace/tinyunet-s3, then make connect again" ;;
  *) fail "the settings are written, but not checked: pod $pod did not run within ${TIMEOUT:-120} s ($(pod get -o 'jsonpath={.status.conditions[?(@.status=="False")].message} {.status.containerStatuses[*].state.waiting.reason}'))" ;;
esac
