#!/usr/bin/env bash
# MAE and DeepMIM on CIFAR-10 in equal settings, two seeds each, and what the held-out loss of every decoder comes to.
#
#   examples/cifar10-deepmim.sh CIFAR OUT [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. 2,000 training pictures a class are taken. Stopped at any time, the
# same command goes on. Leaves the runs, OUT/report.html and OUT/table.md.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
out=$2
shift 2
here=$(dirname "$(realpath "$0")")
lacuna=${LACUNA:-$here/../build/lacuna}
mkdir -p "$out"

list=$out/train.csv
"$here/cifar10-list.sh" "$cifar" "$list"

runs=()
for seed in 0 1; do
    for method in mae deepmim; do
        "$lacuna" pretrain "$here/cifar10-$method.yaml" --data "$list" --val "$cifar/test" --out "$out/$method-$seed" --resume \
            --seed "$seed" "$@"
        runs+=("$out/$method-$seed")
    done
done
"$lacuna" report "${runs[@]}" --out "$out/report.html"

# The held-out loss of each decoder, with the processor hours of all threads together that training had taken by then.
{
    echo '| run | epoch | CPU-hours | held-out loss of the decoders |'
    echo '| --- | --- | --- | --- |'
    for run in "${runs[@]}"; do
        awk -v run="$(basename "$run")" '
            function number(key,   at) { at = match($0, "\"" key "\":[-+.e0-9]+"); return at ? substr($0, at + length(key) + 3, RLENGTH - length(key) - 3) : "" }
            { hours += number("cpu_seconds") / 3600 }
            /"val_loss":/ {
                losses = ""
                for (k = 0; number("val_loss\\." k) != ""; k++) losses = losses sprintf("%s%.4f", k ? ", " : "", substr($0, match($0, "\"val_loss\\." k "\":[-+.e0-9]+") + length("\"val_loss." k "\":")) + 0)
                printf "| %s | %d | %.2f | %s |\n", run, number("epoch") + 0.5, hours, losses
            }' "$run/log.jsonl"
    done
} >"$out/table.md"
echo "$out/table.md, $out/report.html"
