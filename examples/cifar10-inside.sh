#!/usr/bin/env bash
# What is inside models of different methods, block by block: supervised and MoCo v3, which are trained here, beside runs that are there
# already, such as those of cifar10-deepmim.sh and each stage of a dBOT run (RUN/checkpoints/step-N).
#
#   examples/cifar10-inside.sh CIFAR OUT [RUN ..] [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. RUN: at most six. Stopped at any time, the same command goes on.
# Leaves the runs, OUT/blocks/inside/report.html, OUT/blocks.csv and OUT/blocks.md: attention distance, difference of heads, likeness
# to the last block, and probes of each block. KEY=VALUE goes to both that are trained, so `mask.*` and `target.*` have no place there.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
out=$2
shift 2
given=()
while [ $# -gt 0 ] && [[ $1 != *=* && $1 != -* ]]; do
    [ -e "$1" ] || { echo "$0: there is no run $1" >&2; exit 2; }
    given+=("${1%/}")
    shift
done
[ ${#given[@]} -le 6 ] || { echo "$0: six runs at most stand beside the two that are trained here, not ${#given[@]}" >&2; exit 2; }
here=$(dirname "$(realpath "$0")")
lacuna=${LACUNA:-$here/../build/lacuna}
mkdir -p "$out"

list=$out/train.csv
"$here/cifar10-list.sh" "$cifar" "$list"

"$lacuna" pretrain "$here/cifar10-supervised.yaml" --data "$list" --val "$cifar/test" --out "$out/supervised-0" --resume --seed 0 "$@"
# It has no validation, whatever the others are told.
"$lacuna" pretrain "$here/cifar10-mocov3.yaml" --data "$list" --out "$out/mocov3-0" --resume --seed 0 "$@" data.val_every=0
runs=("$out/supervised-0" "$out/mocov3-0" ${given[@]+"${given[@]}"})

# A checkpoint of a run is called RUN-step-N.
name_of() {
    case $1 in
    */checkpoints/*) echo "$(basename "${1%/checkpoints/*}")-$(basename "$1")" ;;
    *) basename "$1" ;;
    esac
}

# What a result is of: the weights that the names mean now.
weights_of() {
    for run; do
        [ ! -e "$run/checkpoints/latest" ] || run=$run/checkpoints/latest
        stat -c '%n %s %Y' "$(realpath "$run")"
    done
}

# is_done FOLDER RUN ..: whether the results there are of these weights.
is_done() {
    [ -e "$1/weights.txt" ] && [ "$(cat "$1/weights.txt")" = "$(weights_of "${@:2}")" ]
}

same=$(for run in "${runs[@]}"; do name_of "$run"; done | LC_ALL=C sort | uniq -d)
[ -z "$same" ] || { echo "$0: more than one run is called" $same >&2; exit 2; }

inside=$out/blocks/inside
if ! is_done "$inside" "${runs[@]}"; then
    rm -f "$inside/weights.txt"
    "$lacuna" analyse "${runs[@]}" --data "$cifar/test" --out "$inside"
    weights_of "${runs[@]}" >"$inside/weights.txt"
fi
for run in "${runs[@]}"; do
    probes=$out/blocks/probes/$(name_of "$run")
    if ! is_done "$probes" "$run"; then
        rm -f "$probes/weights.txt"
        for kind in knn linear; do
            "$lacuna" probe $kind --from "$run" --train "$list" --val "$cifar/test" --blocks all --features mean --out "$probes"
        done
        weights_of "$run" >"$probes/weights.txt"
    fi
done

# run,block,knn|linear,share
scores() {
    for run in "${runs[@]}"; do
        for kind in knn linear; do
            grep -o '"block": [0-9]*, "norm": [a-z]*, "best": {[^}]*' "$out/blocks/probes/$(name_of "$run")/$kind.json" |
                sed "s/^\"block\": \([0-9]*\),.*\"top1\": \([^,]*\),.*/\1,$kind,\2/;s/^/$(name_of "$run"),/"
        done
    done
}

# The models of the analysis stand in the order of the runs. Numbers that there are none of are left blank.
names=$(for run in "${runs[@]}"; do name_of "$run"; done)
scores | awk -F, -v names="$names" '
    BEGIN { count = split(names, name, "\n"); for (m = 1; m <= count; m++) number[name[m]] = m }
    function model(word) { if (!(word in place)) place[word] = ++models; return place[word] }
    function keep(m, b) { if (b > depth[m]) depth[m] = b }
    FNR == 1 { file++ }
    file == 1 && FNR > 1 {
        m = model($1); keep(m, $2); heads[m, $2]++; sum[m, $2] += $4
        if (heads[m, $2] == 1 || $4 < least[m, $2]) least[m, $2] = $4
        if (heads[m, $2] == 1 || $4 > most[m, $2]) most[m, $2] = $4
    }
    file == 2 && FNR > 1 { kl[model($1), $2] = $3 }
    file == 3 && FNR > 1 && $1 == $3 && $4 == depth[model($1)] { cka[model($1), $2] = $5 }
    file == 4 { share[number[$1], $2, $3] = $4 }
    END {
        print "run,block,distance,distance_nearest_head,distance_farthest_head,kl,cka_to_last,linear_top1,knn_top1"
        for (m = 1; m <= count; m++)
            for (b = 1; b <= depth[m]; b++)
                printf "%s,%d,%.6g,%s,%s,%s,%s,%s,%s\n", name[m], b, sum[m, b] / heads[m, b], least[m, b], most[m, b], kl[m, b],
                    cka[m, b], share[m, b, "linear"], share[m, b, "knn"]
    }' "$inside/heads.csv" "$inside/layers.csv" "$inside/cka.csv" - >"$out/blocks.csv"

# table TITLE COLUMN FACTOR DIGITS: a row a block, a column a run.
table() {
    awk -F, -v title="$1" -v column="$2" -v factor="$3" -v digits="$4" '
        NR == 1 { for (i = 1; i <= NF; i++) if ($i == column) at = i; next }
        !($1 in seen) { seen[$1]; name[++count] = $1 }
        { value[$1, $2] = $at; if ($2 > depth) depth = $2 }
        END {
            printf "## %s\n\n| block |", title
            for (m = 1; m <= count; m++) printf " %s |", name[m]
            printf "\n| ---: |"
            for (m = 1; m <= count; m++) printf " ---: |"
            for (b = 1; b <= depth; b++) {
                printf "\n| %d |", b
                for (m = 1; m <= count; m++)
                    printf value[name[m], b] == "" ? "%s |" : " %." digits "f |", value[name[m], b] == "" ? "" : factor * value[name[m], b]
            }
            printf "\n\n"
        }' "$out/blocks.csv"
}
{
    table 'Attention distance, mean of the heads (pixels)' distance 1 2
    table 'Attention distance of the head that looks nearest (pixels)' distance_nearest_head 1 2
    table 'How the heads of a block differ: KL (nats)' kl 1 3
    table 'Likeness to the last block: unbiased CKA' cka_to_last 1 3
    table 'Linear probe on the mean of the patch tokens (%)' linear_top1 100 1
    table 'k-NN on the mean of the patch tokens (%)' knn_top1 100 1
} >"$out/blocks.md"
echo "$out/blocks.md, $out/blocks.csv, $inside/report.html"
