#!/usr/bin/env bash
# Figure 1 and Table 7 at the paper's settings (MNIST, full LeNet), and VAT in both KL directions beside M-PGD and ALP, on one GPU:
# three seeds of each, white box and black box from another seed of the same method. The same command again resumes.
#
#   benchmarks/table7.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/table7.sh DATA_DIR [OUT]}
out=${2:-runs/table7}
train() { # NAME RECIPE [OPTION VALUE ...]
    for seed in 0 1 2; do
        logitpair train "$2" --data-dir "$data" --seed "$seed" --out "$out/$1-$seed" "${@:3}"
    done
}
train mnist-mpgd mnist-mpgd
train mnist-alp mnist-alp
train mnist-squeezing mnist-squeezing
train mnist-vat mnist-vat
train mnist-vat-reverse mnist-vat --objective.divergence logitpair.losses.kl_to_clean
for method in mnist-mpgd mnist-alp mnist-squeezing mnist-vat mnist-vat-reverse; do
    for seed in 0 1 2; do
        logitpair evaluate "$out/$method-$seed" --data-dir "$data" --source "copy=$out/$method-$(((seed + 1) % 3))"
    done
done
logitpair report "$out"/mnist-{mpgd,alp,squeezing,vat,vat-reverse}-{0,1,2} --out "$out/report.html"
logitpair reproduce figure1 --data-dir "$data" --out "$out/figure1"
