#!/bin/sh
# Run a command against a kind cluster and an OpenBao of their own:
#
#     lab/kind/setup.sh .venv/bin/python -m pytest -m lab
#
# It makes both, exports KUBECONFIG, BAO_ADDR, BAO_CACERT and BAO_TOKEN, runs the command with `--kubeconfig FILE` added,
# and ends OpenBao. The cluster stays for the next time; `kind delete cluster --name elile` removes it.
#
# Needs Docker on this machine (OpenBao listens on the gateway of Docker's network `kind`, where pods reach it), kind,
# a static /bin/busybox, and .venv. The project's CI machine has no Docker engine and cannot run this: there the lab is
# what is tested. Tests that look at the node's files or at audit logs are skipped here.
set -eu

[ $# -gt 0 ] || { echo "usage: lab/kind/setup.sh COMMAND [ARGUMENT...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=$root/.venv/bin
port=${ELILE_KIND_BAO_PORT:-18200}
work=$(mktemp -d)
bao_pid=
cleanup() {
    [ -z "$bao_pid" ] || kill "$bao_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

kind get clusters 2>/dev/null | grep -qx elile || kind create cluster --config "$here/cluster.yaml" --wait 120s
export KUBECONFIG="$work/kubeconfig"
(umask 077 && kind get kubeconfig --name elile >"$KUBECONFIG")
PYTHONPATH=$root "$bin/python" -c 'import sys; from lab import images, tools
sys.stdout.buffer.write(images.of_busybox(tools.BUSYBOX))' >"$work/images.tar"
kind load image-archive "$work/images.tar" --name elile

gateway=$(docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' | grep -m1 -F .)
PYTHONPATH=$root "$bin/python" -c 'import sys; from pathlib import Path; from lab import pki
folder = Path(sys.argv[1])
pki.create_authority(folder, "elile kind")
pki.issue(folder, "openbao", hosts=["127.0.0.1", sys.argv[2]])' "$work" "$gateway"
cat >"$work/openbao.hcl" <<HCL
listener "tcp" {
  address       = "$gateway:$port"
  tls_cert_file = "$work/openbao.crt"
  tls_key_file  = "$work/openbao.key"
}
HCL

export BAO_ADDR="https://$gateway:$port" BAO_CACERT="$work/ca.crt"
BAO_TOKEN=$("$bin/python" -c 'import secrets; print(secrets.token_hex(16))')
export BAO_TOKEN
# Development mode mounts KV v2 at secret/ and is unsealed; its own plain listener is kept on loopback, on a spare port.
BAO_DEV_ROOT_TOKEN_ID=$BAO_TOKEN "$bin/bao" server -dev -dev-no-store-token -dev-listen-address="127.0.0.1:$((port + 1))" \
    -config="$work/openbao.hcl" >"$work/openbao.log" 2>&1 &
bao_pid=$!
tries=0
until "$bin/bao" status >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] && kill -0 "$bao_pid" 2>/dev/null || { tail -n 20 "$work/openbao.log" >&2; exit 1; }
    sleep 0.2
done

kubectl="$bin/kubectl --kubeconfig $KUBECONFIG"
$kubectl -n kube-system create serviceaccount lab-openbao-reviewer --dry-run=client -o yaml | $kubectl apply -f - >/dev/null
$kubectl create clusterrolebinding lab-openbao-reviewer --clusterrole=system:auth-delegator \
    --serviceaccount=kube-system:lab-openbao-reviewer --dry-run=client -o yaml | $kubectl apply -f - >/dev/null
$kubectl config view --raw --minify -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$work/kind-ca.crt"
"$bin/bao" auth enable kubernetes >/dev/null
# A token for another audience cannot review itself, hence a reviewer of the server's own.
"$bin/bao" write auth/kubernetes/config \
    kubernetes_host="$($kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')" \
    kubernetes_ca_cert=@"$work/kind-ca.crt" disable_local_ca_jwt=true \
    token_reviewer_jwt="$($kubectl -n kube-system create token lab-openbao-reviewer --duration=24h)" >/dev/null

"$@" --kubeconfig "$KUBECONFIG"
