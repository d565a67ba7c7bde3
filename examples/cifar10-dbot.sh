#!/usr/bin/env bash
# dBOT on CIFAR-10: does the first teacher matter when students become teachers? Three stages from each of: two random networks, the MAE
# of cifar10-deepmim.sh, and an MAE with HOG as its target. The encoders of all teachers and of the student of every stage are probed,
# and looked into: how alike are those of one stage?
#
#   [STAGE_EPOCHS=20] examples/cifar10-dbot.sh CIFAR OUT [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. OUT may be that of cifar10-deepmim.sh: what is there is not made
# again. Stopped at any time, the same command goes on. Leaves the runs, OUT/alike/STAGE/report.html and OUT/dbot.md.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
out=$2
shift 2
here=$(dirname "$(realpath "$0")")
lacuna=${LACUNA:-$here/../build/lacuna}
epochs=${STAGE_EPOCHS:-20}
mkdir -p "$out"
list=$out/train.csv
"$here/cifar10-list.sh" "$cifar" "$list"

# pretrain RUN RECIPE SEED [KEY=VALUE ..]
pretrain() {
    local run=$1 recipe=$2 seed=$3
    shift 3
    "$lacuna" pretrain "$here/$recipe.yaml" --data "$list" --val "$cifar/test" --out "$out/$run" --resume --seed "$seed" "$@"
}

# probe WEIGHTS NAME: linear and kNN on the last block, into OUT/dbot-probes/NAME.
probe() {
    local kind folder=$out/dbot-probes/$2
    mkdir -p "$folder"
    for kind in linear knn; do
        [ -e "$folder/$kind.txt" ] && continue
        "$lacuna" probe $kind --from "$1" --train "$list" --val "$cifar/test" --features mean --out "$folder" >"$folder/$kind.part"
        mv "$folder/$kind.part" "$folder/$kind.txt"
    done
}

pretrain mae-0 cifar10-mae 0 "$@"
pretrain mae-hog-0 cifar10-mae-hog 0 "$@"
# Each chain has a seed of its own, so that students are not alike because they begin with the same weights.
chains=(random-0 random-1 mae hog)
models=('' '' '' '') # a line each: teachers, then the students of each stage
for chain in "${chains[@]}"; do
    case $chain in
    random-*) teacher=random seed=${chain#random-} ;;
    mae) teacher=$out/mae-0 seed=2 ;;
    hog) teacher=$out/mae-hog-0 seed=3 ;;
    esac
    pretrain "dbot-$chain" cifar10-dbot "$seed" "$@" "target.teacher=$teacher" \
        "stages=[{epochs: $epochs}, {epochs: $epochs}, {epochs: $epochs}]" "schedule.epochs=$((3 * epochs))"
    # Checkpoints at the end of a stage are kept and marked. The first one holds a random teacher.
    stage=0
    first=$teacher
    [ "$first" != random ] ||
        first=$(dirname "$(grep -l '"stage_ends": true' "$out/dbot-$chain"/checkpoints/step-*/meta.json | head -n 1)")#teacher
    probe "$first" "$chain-0"
    models[0]+=$first$'\n'
    while read -r meta; do
        probe "$(dirname "$meta")" "$chain-$((++stage))"
        models[stage]+=$(dirname "$meta")$'\n'
    done < <(grep -l '"stage_ends": true' "$out/dbot-$chain"/checkpoints/step-*/meta.json)
done

look() {
    [ -e "$out/alike/$1/report.html" ] || "$lacuna" analyse "${@:2}" --data "$cifar/test" --out "$out/alike/$1"
}
for stage in 0 1 2 3; do
    mapfile -t of_stage <<<"${models[stage]%$'\n'}"
    look $stage "${of_stage[@]}"
done
[ ! -e "$out/mae-1" ] || look seeds "$out/mae-0" "$out/mae-1"

# alike STAGE TITLE: a row of how alike the models of an analysis are: CKA of the same block, of pairs, and what each model has in
# the mean of its blocks.
alike() {
    awk -F, -v title="$2" '
        FNR == 1 { file++; next }
        file == 1 { if (!($1 in blocks)) order[++models] = $1; heads[$1, $2]++; sum[$1, $2] += $5; if ($2 > blocks[$1]) blocks[$1] = $2 }
        file == 2 && $2 > 0 { share[$1] += $6 }
        file == 3 && $1 != $3 && $2 == $4 && $2 > 0 {
            pairs++; cka += $5
            if ($1 ~ /random-/ && $3 ~ /random-/) { two++; of_two += $5 }
        }
        END {
            for (m = 1; m <= models; m++) {
                distance = 0
                for (b = 1; b <= blocks[order[m]]; b++) distance += sum[order[m], b] / heads[order[m], b] / blocks[order[m]]
                distances = distances sprintf("%s%.1f", m > 1 ? ", " : "", distance)
                shares = shares sprintf("%s%.3f", m > 1 ? ", " : "", share[order[m]] / blocks[order[m]])
            }
            printf "| %s | %.3f | %s | %s | %s |\n", title, cka / pairs, two ? sprintf("%.3f", of_two / two) : "-", distances, shares
        }' "$out/alike/$1/heads.csv" "$out/alike/$1/layers.csv" "$out/alike/$1/cka.csv"
}

share() { awk '$2 ~ /%$/ { print $2 + 0; exit }' "$out/dbot-probes/$1.txt"; }
{
    echo '| first teacher | probe | of the teacher | stage 1 | stage 2 | stage 3 |'
    echo '| --- | --- | --- | --- | --- | --- |'
    for chain in "${chains[@]}"; do
        for kind in linear knn; do
            echo "| $chain | $kind | $(share "$chain-0/$kind") | $(share "$chain-1/$kind") | $(share "$chain-2/$kind") | $(share "$chain-3/$kind") |"
        done
    done
    printf '\n| models, in the order of above | CKA of pairs, same block | of the two from random | mean attention distance of each, pixels | largest share of each |\n'
    echo '| --- | --- | --- | --- | --- |'
    alike 0 'the four teachers'
    for stage in 1 2 3; do
        alike $stage "the four students of stage $stage"
    done
    [ ! -e "$out/alike/seeds" ] || alike seeds 'two seeds of MAE'
} >"$out/dbot.md"
echo "$out/dbot.md"
