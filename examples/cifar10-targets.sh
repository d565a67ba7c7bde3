#!/usr/bin/env bash
# {MAE, DeepMIM} x {pixels, HOG} and DeepMIM with hybrid targets on CIFAR-10: loss of reconstruction by decoder, similarity of
# each block to the last, and a linear probe of each block. Two seeds of the pixels, and of the others as many as SEEDS names.
#
#   [SEEDS="0 1"] examples/cifar10-targets.sh CIFAR OUT [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. OUT may be that of cifar10-deepmim.sh, whose runs are the pixels
# here. Stopped at any time, the same command goes on. Leaves the runs, OUT/inside-SEED/report.html and OUT/targets.md.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
out=$2
shift 2
here=$(dirname "$(realpath "$0")")
lacuna=${LACUNA:-$here/../build/lacuna}
mkdir -p "$out"
list=$out/train.csv
"$here/cifar10-list.sh" "$cifar" "$list"

runs=()
read -ra seeds <<<"${SEEDS:-0}"
for seed in 0 1; do
    methods=(mae deepmim)
    [[ " ${seeds[*]} " != *" $seed "* ]] || methods+=(mae-hog deepmim-hog deepmim-hybrid)
    for method in "${methods[@]}"; do
        run=$out/$method-$seed
        recipe=$method more=()
        if [ $method = deepmim-hybrid ]; then
            recipe=deepmim
            more=("target.hybrid={from: \"$out/mae-$seed\", table: [{tap: 6, alpha: 0.25}, {tap: 8, alpha: 0.5}, {tap: 10, alpha: 0.75}]}")
        fi
        "$lacuna" pretrain "$here/cifar10-$recipe.yaml" --data "$list" --val "$cifar/test" --out "$run" --resume --seed "$seed" "$@" "${more[@]}"
        runs+=("$run")
        mkdir -p "$run/probes"
        if [ ! -e "$run/probes/linear.txt" ]; then
            "$lacuna" probe linear --from "$run" --train "$list" --val "$cifar/test" --features mean --blocks all >"$run/probes/linear.part"
            mv "$run/probes/linear.part" "$run/probes/linear.txt"
        fi
    done
done

# The runs of a seed side by side.
for seed in 0 1; do
    of_seed=()
    for run in "${runs[@]}"; do
        [ "${run##*-}" != $seed ] || of_seed+=("$run")
    done
    "$lacuna" analyse "${of_seed[@]}" --data "$cifar/test" --out "$out/inside-$seed"
done

{
    echo '| run | held-out loss of the decoders |'
    echo '| --- | --- |'
    for run in "${runs[@]}"; do
        grep '"val_loss":' "$run/log.jsonl" | tail -n 1 | awk -v run="$(basename "$run")" '{
            for (k = 0; match($0, "\"val_loss\\." k "\":[-+.e0-9]+"); k++)
                losses = losses sprintf("%s%.4f", k ? ", " : "", substr($0, RSTART + length("\"val_loss." k "\":")) + 0)
            printf "| %s | %s |\n", run, losses }'
    done
    printf '\n| run | linear probe behind block 1, 2, .. in %% |\n| --- | --- |\n'
    for run in "${runs[@]}"; do
        awk -v run="$(basename "$run")" '$2 ~ /%$/ { row = row sprintf(" %.1f", $2) } END { print "| " run " |" row " |" }' "$run/probes/linear.txt"
    done
    printf '\n| run | CKA of block 1, 2, .. with the last |\n| --- | --- |\n'
    for run in "${runs[@]}"; do
        name=$(basename "$run")
        awk -F, -v run="$name" '
            $1 ~ ("(^|/)" run "$") && $3 == $1 && $2 > 0 { cka[$2, $4] = $5; if ($2 > last) last = $2 }
            END { for (l = 1; l <= last; l++) row = row sprintf(" %.3f", (l, last) in cka ? cka[l, last] : cka[last, l]); print "| " run " |" row " |" }' \
            "$out/inside-${name##*-}/cka.csv"
    done
} >"$out/targets.md"
echo "$out/targets.md"
