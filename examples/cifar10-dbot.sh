#!/usr/bin/env bash
# dBOT on CIFAR-10: does the first teacher matter when students become teachers? Three stages from each of: two random networks, the MAE
# of cifar10-deepmim.sh, and an MAE with HOG as its target. The encoders of all teachers and of the student of every stage are probed.
#
#   [STAGE_EPOCHS=20] examples/cifar10-dbot.sh CIFAR OUT [KEY=VALUE ..]
#
# CIFAR has the folders train and test, a folder of pictures a class. OUT may be that of cifar10-deepmim.sh: what is there is not made
# again. Stopped at any time, the same command goes on. Leaves the runs and OUT/dbot.md.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 2; }
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

# probe WEIGHTS NAME: linear and kNN on the last block, into OUT/probes/NAME.
probe() {
    local kind folder=$out/probes/$2
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
for chain in "${chains[@]}"; do
    case $chain in
    random-*) teacher=random seed=${chain#random-} ;;
    mae) teacher=$out/mae-0 seed=2 ;;
    hog) teacher=$out/mae-hog-0 seed=3 ;;
    esac
    pretrain "dbot-$chain" cifar10-dbot "$seed" "$@" "target.teacher=$teacher" \
        "stages=[{epochs: $epochs}, {epochs: $epochs}, {epochs: $epochs}]" "schedule.epochs=$((3 * epochs))"
    [ "$teacher" = random ] || probe "$teacher" "$chain-teacher"
    # Checkpoints at the end of a stage are kept and marked.
    stage=0
    for meta in $(grep -l '"stage_ends": true' "$out/dbot-$chain"/checkpoints/step-*/meta.json); do
        probe "$(dirname "$meta")" "$chain-$((++stage))"
    done
done

share() { awk '$2 ~ /%$/ { print $2 + 0; exit }' "$out/probes/$1.txt"; }
{
    echo '| first teacher | probe | of the teacher | stage 1 | stage 2 | stage 3 |'
    echo '| --- | --- | --- | --- | --- | --- |'
    for chain in "${chains[@]}"; do
        for kind in linear knn; do
            teacher=-
            [ -e "$out/probes/$chain-teacher/$kind.txt" ] && teacher=$(share "$chain-teacher/$kind")
            echo "| $chain | $kind | $teacher | $(share "$chain-1/$kind") | $(share "$chain-2/$kind") | $(share "$chain-3/$kind") |"
        done
    done
} >"$out/dbot.md"
echo "$out/dbot.md"
