#!/usr/bin/env bash
# Photos on one GPU: training throughput of the paper's two ImageNet networks, as they are and compiled, on random images, and a short
# real run of tiny-imagenet-alp-scratch (three epochs from random weights, a check of the pipeline and no result to compare) on the images in
# DATA_DIR, evaluated under the paper's eight attacks. DATA_DIR is what tiny-imagenet-200.zip unpacks to. The same command again resumes.
#
#   benchmarks/imagenet.sh DATA_DIR [OUT]
set -euo pipefail
data=${1:?usage: benchmarks/imagenet.sh DATA_DIR [OUT]}
out=${2:-runs/imagenet}
results=results/benchmarks
measure() { # NAME options...
    [ -f "$results/$1.json" ] || python "$(dirname "$0")/throughput.py" --out "$results/$1.json" "${@:2}"
}
measure throughput
measure throughput-compiled --compile true
run=$out/tiny-imagenet-alp-scratch
logitpair train tiny-imagenet-alp-scratch --data-dir "$data" --epochs 3 --objective.warmup 0.5 --validation.every 1 --validation.examples 500 --out "$run"
[ -f "$run/evaluation/suite/results.json" ] || logitpair evaluate "$run" --name suite --attacks paper --examples 2000
logitpair report "$run" --out "$out/report.html"
