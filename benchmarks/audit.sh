#!/usr/bin/env bash
# The audit beside standard AutoAttack on all 10,000 MNIST test images, on one GPU, for networks trained at the paper's settings: plain,
# M-PGD, ALP, clean logit pairing and logit squeezing. What `logitpair reproduce table1` has trained is taken as it is. The same command
# again resumes.
#
#   benchmarks/audit.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/audit.sh DATA_DIR [OUT]}
out=${2:-reproduce/runs}
for method in plain mpgd alp clp squeezing; do
    logitpair train "mnist-$method" --data-dir "$data" --seed 0 --out "$out/mnist-$method/paper/seed-0"
done
python "$(dirname "$0")/audit.py" "$out"/mnist-{plain,mpgd,alp,clp,squeezing}/paper/seed-0 --data-dir "$data" --examples 10000 \
    --out results/benchmarks/audit_paper.json
