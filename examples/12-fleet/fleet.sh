#!/usr/bin/env bash
# Prints the manifests of a fleet of N worker nodes, each with a root volume and a protected data volume: ./fleet.sh N
set -euo pipefail

# From standard input, paths are relative to the working directory.
cat <<'YAML'
apiVersion: kiln/v1
kind: Stack
metadata: {name: fleet}
spec:
  id: c6k9l3w7xq
  defaults: {backend: disk}
---
apiVersion: kiln/v1
kind: Backend
metadata: {name: disk}
spec:
  driver: local
  local: {path: pool, create: true}
  maxFill: 100%   # so that the example also works on a nearly full disk
YAML

for node in $(seq -w 1 "$1"); do
  cat <<YAML
---
apiVersion: kiln/v1
kind: Volume
metadata: {name: worker-$node-root, labels: {node: worker-$node}}
spec: {size: 64Mi}
---
apiVersion: kiln/v1
kind: Volume
metadata: {name: worker-$node-data, labels: {node: worker-$node}}
spec: {size: 128Mi, protected: true}
YAML
done
