#!/usr/bin/env bash
# Table 1 at the paper's settings (MNIST, LeNet, PGD 40 x 0.01 at eps 76.5/255), on one GPU: two independently initialised runs of
# M-PGD and of ALP, each evaluated white box and black box from its twin. The same command again resumes.
#
#   benchmarks/table1.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/table1.sh DATA_DIR [OUT]}
out=${2:-runs/table1}
for method in mpgd alp; do
    for seed in 0 1; do
        logitpair train "mnist-$method" --data-dir "$data" --seed "$seed" --out "$out/mnist-$method-$seed"
    done
    logitpair evaluate "$out/mnist-$method-0" --data-dir "$data" --source "copy=$out/mnist-$method-1"
    logitpair evaluate "$out/mnist-$method-1" --data-dir "$data" --source "copy=$out/mnist-$method-0"
done
logitpair report "$out"/mnist-{mpgd,alp}-{0,1} --out "$out/report.html"
