#!/bin/bash
# One process for each GPU of a node, started by torchrun; several nodes with the same command on
# each:
#   docs/clusters/torchrun.sh --config my_run.yaml
#   NODES=4 HEAD=node0 docs/clusters/torchrun.sh --config my_run.yaml
set -euo pipefail
exec torchrun \
  --nnodes "${NODES:-1}" \
  --nproc-per-node "${PROCESSES:-gpu}" \
  --rdzv-backend c10d \
  --rdzv-endpoint "${HEAD:-localhost}:29400" \
  -m prag_lightning fit "$@"
