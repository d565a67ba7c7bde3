#!/usr/bin/env bash
# The scripts of examples/, shortened, on pictures that the program draws.
set -euo pipefail
lacuna=$1
source=$2
rm -rf evidence_test.tmp
mkdir evidence_test.tmp
cd evidence_test.tmp
export XDG_CACHE_HOME=$PWD/cache LACUNA=$lacuna
"$lacuna" data world --out world --count 16 --val 4 --size 32 >/dev/null 2>&1
mkdir CIFAR
ln -s ../world/train CIFAR/train
ln -s ../world/val CIFAR/test
# Of each class the first 2,000 names, which is more than a pipe holds.
mkdir -p many/train/{a,b}
(cd many/train/a && seq -f 'a-picture-with-a-rather-long-name-%05g.png' 3000 | xargs touch)
touch many/train/b/{2,1}.png
"$source/examples/cifar10-list.sh" many list.csv
[ "$(wc -l <list.csv)" = 2002 ]
[ "$(sed -n 2000p list.csv)" = "$PWD/many/train/a/a-picture-with-a-rather-long-name-02000.png,a" ]
[ "$(tail -n 1 list.csv)" = "$PWD/many/train/b/2.png,b" ]
more=(encoder.width=16 encoder.heads=2 schedule.batch_size=8 schedule.epochs=2 schedule.warmup_epochs=0.5 data.val_every=1 run.threads=1)
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" --max-steps 3 >/dev/null 2>&1
[ -e out/report.html ]
[ -e out/deepmim-1/checkpoints/latest ]
# Gone on with, it comes to its end and has a line for each validation.
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -c '^| mae-0 ' out/table.md)" = 2 ]
grep -Eq '^\| deepmim-1 \| 2 \| [0-9.]+ \| [0-9.]+, [0-9.]+, [0-9.]+, [0-9.]+ \|$' out/table.md
# Targets and stages take the runs that are there, and fill their tables.
timeout 250 "$source/examples/cifar10-targets.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -Ec '^\| (mae|deepmim)(-hog|-hybrid)?-[01] \| [0-9.]+(, [0-9.]+, [0-9.]+, [0-9.]+)? \|$' out/targets.md)" = 7 ]
[ "$(grep -Ec '^\| [a-z-]+-[01] \|( [0-9.]+){12} \|$' out/targets.md)" = 14 ]
[ -e out/inside-1/report.html ]
STAGE_EPOCHS=1 timeout 250 "$source/examples/cifar10-dbot.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -Ec '^\| (random-[01]|mae|hog) \| (linear|knn)( \| [0-9.]+){4} \|$' out/dbot.md)" = 8 ]
[ "$(grep -Ec '^\| the four .* \| -?[0-9.]+ \| -?[0-9.]+( \| [0-9.]+(, [0-9.]+){3}){2} \|$' out/dbot.md)" = 4 ]
[ "$(grep -Ec '^\| two seeds .* \| -?[0-9.]+ \| -( \| [0-9.]+, [0-9.]+){2} \|$' out/dbot.md)" = 1 ]

# What is inside: two models that are trained there beside two of these, one a checkpoint.
inside() {
    timeout 200 "$source/examples/cifar10-inside.sh" CIFAR out out/mae-0 out/deepmim-1/checkpoints/latest "${more[@]}" "$@" >log 2>&1 ||
        { cat log; exit 1; }
}
inside --max-steps 3
[ -e out/blocks/inside/report.html ]
[ -e out/mocov3-0/checkpoints/latest ]
# Gone on with, weights that are others are looked at anew, the same ones are not.
touch -d 2001-01-01 out/probes/mae-0/linear-mean.json out/probes/supervised-0/linear-mean.json out/blocks/inside/numbers.json
inside
[ "$(stat -c %Y out/probes/mae-0/linear-mean.json)" = "$(date -d 2001-01-01 +%s)" ]
[ out/probes/supervised-0/linear-mean.json -nt CIFAR ]
[ out/blocks/inside/numbers.json -nt CIFAR ]
touch -d 2001-01-01 out/blocks/inside/numbers.json
inside
[ "$(stat -c %Y out/blocks/inside/numbers.json)" = "$(date -d 2001-01-01 +%s)" ]
# A row a block of each run; every number is there, and each block is like itself.
[ "$(wc -l <out/blocks.csv)" = 49 ]
[ "$(grep -c '^deepmim-1-latest,' out/blocks.csv)" = 12 ]
[ "$(grep -Ec '^[a-z0-9-]+,[0-9]+(,-?[0-9.]+(e-?[0-9]+)?){11}$' out/blocks.csv)" = 48 ]
[ "$(grep -Ec '^[a-z0-9-]+,12,([^,]+,){7}1,1,' out/blocks.csv)" = 4 ]
# They are those of the analysis and the probes.
[ "$(awk -F, '$1 == "mae-0" && $2 == 7 { print $8 }' out/blocks.csv)" = "$(awk -F, '$1 == "mae-0" && $2 == 7 { print $3 }' out/blocks/inside/layers.csv)" ]
linear=$(awk -F, '$1 == "mocov3-0" && $2 == 12 { print $12 }' out/blocks.csv)
grep -q "\"block\": 12, \"norm\": false, \"best\": {\"lr\": [0-9.]*, \"top1\": $linear," out/probes/mocov3-0/linear-mean.json
[ "$(grep -c '^## ' out/blocks.md)" = 13 ]
[ "$(grep -c '^| 12 |' out/blocks.md)" = 10 ]
[ "$(grep -Ec '^\| (supervised|mocov3|mae)-0 (\| -?[0-9.]+ ){2}\|$' out/blocks.md)" = 3 ]
[ "$(grep -Ec '^\| (supervised|mocov3|mae)-0 (\| [0-9.]+ ){7}\|$' out/blocks.md)" = 6 ]
! "$source/examples/cifar10-inside.sh" CIFAR out out/mae-0 out/mae-0 "${more[@]}" >log 2>&1
grep -q 'more than one run is called mae-0' log
cd ..
rm -rf evidence_test.tmp
