#!/usr/bin/env bash
# The audit beside standard AutoAttack on all 10,000 MNIST test images, on one GPU, for networks trained at the paper's settings: plain,
# M-PGD, ALP, clean logit pairing and logit squeezing. Runs of benchmarks/table1.sh in OUT are taken as they are. The same command again
# resumes.
#
#   benchmarks/audit.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/audit.sh DATA_DIR [OUT]}
out=${2:-runs/table1}
for method in plain mpgd alp clp squeezing; do
    logitpair train "mnist-$method" --data-dir "$data" --seed 0 --out "$out/mnist-$method-0"
done
python "$(dirname "$0")/audit.py" "$out"/mnist-{plain,mpgd,alp,clp,squeezing}-0 --data-dir "$data" --examples 10000 \
    --out results/benchmarks/audit-gpu.json
