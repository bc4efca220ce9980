#!/usr/bin/env bash
# Table 1 at the paper's settings (MNIST, LeNet, PGD 40 x 0.01 at eps 76.5/255), on one GPU: two independently initialised runs of
# M-PGD and of ALP, each evaluated white box and black box from its twin, under the paper's eight attacks, and under PGD with 1 and with
# 50 restarts; each results.json tells the time. The weights of seed 0 are written in float16. The same command again resumes.
#
#   benchmarks/table1.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/table1.sh DATA_DIR [OUT]}
out=${2:-runs/table1}
for method in mpgd alp; do
    for seed in 0 1; do
        logitpair train "mnist-$method" --data-dir "$data" --seed "$seed" --out "$out/mnist-$method-$seed"
    done
    evaluate() { # RUN NAME options...
        [ -f "$1/evaluation/$2/results.json" ] || logitpair evaluate "$1" --name "$2" --data-dir "$data" "${@:3}"
    }
    evaluate "$out/mnist-$method-0" test --source "copy=$out/mnist-$method-1"
    evaluate "$out/mnist-$method-1" test --source "copy=$out/mnist-$method-0"
    evaluate "$out/mnist-$method-0" suite --attacks paper
    evaluate "$out/mnist-$method-0" restarts --attacks pgd_76.5_2.55_40,pgd_76.5_2.55_40x50
    python - "$out/mnist-$method-0" <<'PYTHON'
import sys
import safetensors.torch
import logitpair

run = sys.argv[1]
weights = {name: tensor.half().contiguous() for name, tensor in logitpair.load(run).state_dict().items()}
safetensors.torch.save_file(weights, f"{run}/weights-float16.safetensors")
PYTHON
done
logitpair report "$out"/mnist-{mpgd,alp}-{0,1} --out "$out/report.html"
