#!/usr/bin/env bash
# What is inside models of different methods, block by block: supervised and MoCo v3, which are trained here, beside runs that are there
# already, such as those of cifar10-deepmim.sh and each stage of a dBOT run (RUN/checkpoints/step-N).
#
#   [SET=blocks] examples/cifar10-inside.sh CIFAR OUT [RUN ..] [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. RUN: at most six, with a class token; other runs want another SET. Stopped at any time,
# the same command goes on. Leaves the runs, OUT/SET/inside/report.html, OUT/SET.csv and OUT/SET.md: attention distance, difference of
# heads, likeness of blocks, and linear probes of each block, by the mean of the patch tokens and by the class token, since a method
# that trains one of them says nothing of the other. KEY=VALUE goes to both that are trained, so `mask.*` and `target.*` have no place there.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
out=$2
set=${SET:-blocks}
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
[ -z "$same" ] || { echo "$0: more than one run is called" "$same" >&2; exit 2; }

inside=$out/$set/inside
if ! is_done "$inside" "${runs[@]}"; then
    rm -f "$inside/weights.txt"
    "$lacuna" analyse "${runs[@]}" --data "$cifar/test" --out "$inside"
    weights_of "${runs[@]}" >"$inside/weights.txt"
fi
for run in "${runs[@]}"; do
    probes=$out/probes/$(name_of "$run")
    if ! is_done "$probes" "$run"; then
        rm -f "$probes/weights.txt"
        for features in mean class_token; do
            "$lacuna" probe linear --from "$run" --train "$list" --val "$cifar/test" --blocks all --features $features --out "$probes"
        done
        weights_of "$run" >"$probes/weights.txt"
    fi
done

# run,block,mean|class_token,share,low,high
scores() {
    for run in "${runs[@]}"; do
        for features in mean class_token; do
            grep -o '"block": [0-9]*, "norm": [a-z]*, "best": {[^}]*' "$out/probes/$(name_of "$run")/linear-$features.json" |
                sed "s/^\"block\": \([0-9]*\),.*\"top1\": \([^,]*\), \"top1_low\": \([^,]*\), \"top1_high\": \([^,]*\),.*/\1,$features,\2,\3,\4/;s/^/$(name_of "$run"),/"
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
        m = model($1); keep(m, $2); heads[m, $2]++; sum[m, $2] += $4; free[m, $2] += $5; mass[m, $2] += $6
        if (heads[m, $2] == 1 || $5 < least[m, $2]) least[m, $2] = $5
        if (heads[m, $2] == 1 || $5 > most[m, $2]) most[m, $2] = $5
    }
    file == 2 && FNR > 1 { m = model($1); kl[m, $2] = $3; share[m, $2] = $6 }
    file == 3 && FNR > 1 && $1 == $3 {
        m = model($1)
        if ($4 == depth[m]) { cka[m, $2] = $5; class_cka[m, $2] = $7 }
        if ($2 > 0 && $2 < $4) {
            pairs[m]++; all[m] += $5
            if (pairs[m] == 1 || $5 < unlike[m]) unlike[m] = $5
        }
    }
    file == 4 { top[number[$1], $2, $3] = $4; low[number[$1], $2, $3] = $5; high[number[$1], $2, $3] = $6 }
    END {
        print "run,block,distance,distance_renormalised,distance_nearest_head,distance_farthest_head,class_mass,kl,share_1,cka_to_last," \
              "cka_to_last_class,linear_mean,linear_class_token"
        for (m = 1; m <= count; m++)
            for (b = 1; b <= depth[m]; b++)
                printf "%s,%d,%.6g,%.6g,%s,%s,%.6g,%s,%s,%s,%s,%s,%s\n", name[m], b, sum[m, b] / heads[m, b], free[m, b] / heads[m, b],
                    least[m, b], most[m, b], mass[m, b] / heads[m, b], kl[m, b], share[m, b], cka[m, b], class_cka[m, b],
                    top[m, b, "mean"], top[m, b, "class_token"]
        for (m = 1; m <= count; m++) {
            printf "%s,%.6g,%s", name[m], pairs[m] ? all[m] / pairs[m] : "nan", unlike[m] >summary
            for (f = 0; f < 2; f++) {
                kind = f ? "class_token" : "mean"
                best = 1
                for (b = 2; b <= depth[m]; b++) if (top[m, b, kind] > top[m, best, kind]) best = b
                printf ",%d,%s", best, top[m, best, kind] >summary
                for (less = 0; less <= 4; less++)
                    if (less != 3) printf ",%s", top[m, depth[m] - less, kind] >summary
                printf ",%.6g", (high[m, depth[m], kind] - low[m, depth[m], kind]) / 2 >summary
            }
            printf "\n" >summary
        }
    }' summary="$out/$set/summary.csv" "$inside/heads.csv" "$inside/layers.csv" "$inside/cka.csv" - >"$out/$set.csv"

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
        }' "$out/$set.csv"
}

# dropped WORD COLUMN: what is left without the last blocks, by a linear probe; COLUMN of the summary is the best block.
dropped() {
    printf '## Without the last blocks: linear probe on the %s (%%)\n\n' "$1"
    echo '| run | all blocks | 1 less | 2 less | 4 less | best block | there | +- |'
    echo '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |'
    awk -F, -v at="$2" '{ printf "| %s | %.1f | %.1f | %.1f | %.1f | %d | %.1f | %.1f |\n", $1, 100 * $(at + 2), 100 * $(at + 3), 100 * $(at + 4),
        100 * $(at + 5), $at, 100 * $(at + 1), 100 * $(at + 6) }' "$out/$set/summary.csv"
    echo
}
{
    table 'Attention distance, what the class token gets left out, mean of the heads (pixels)' distance_renormalised 1 2
    table 'The same of the head that looks nearest' distance_nearest_head 1 2
    table 'Attention distance, what the class token gets counted as 0, mean of the heads (pixels)' distance 1 2
    table 'Share of attention that the class token gets' class_mass 1 3
    table 'How the heads of a block differ: KL (nats)' kl 1 3
    table 'Share of the largest singular value of the patch tokens' share_1 1 3
    table 'Likeness to the last block: unbiased CKA of mean patch tokens' cka_to_last 1 3
    table 'Likeness to the last block: unbiased CKA of class tokens' cka_to_last_class 1 3
    printf '## Likeness of all pairs of blocks: unbiased CKA of mean patch tokens\n\n| run | mean | least |\n| --- | ---: | ---: |\n'
    awk -F, '{ printf "| %s | %.3f | %.3f |\n", $1, $2, $3 }' "$out/$set/summary.csv"
    echo
    table 'Linear probe on the mean of the patch tokens (%)' linear_mean 100 1
    table 'Linear probe on the class token (%)' linear_class_token 100 1
    dropped 'mean of the patch tokens' 4
    dropped 'class token' 11
} >"$out/$set.md"
echo "$out/$set.md, $out/$set.csv, $inside/report.html"
