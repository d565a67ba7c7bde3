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
more=(encoder.width=16 encoder.heads=2 schedule.batch_size=8 schedule.epochs=2 schedule.warmup_epochs=0.5 data.val_every=1 run.threads=1)
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" --max-steps 3 >/dev/null 2>&1
[ -e out/report.html ] && [ -e out/deepmim-1/checkpoints/latest ]
# Gone on with, it comes to its end and has a line for each validation.
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -c '^| mae-0 ' out/table.md)" = 2 ]
grep -Eq '^\| deepmim-1 \| 2 \| [0-9.]+ \| [0-9.]+, [0-9.]+, [0-9.]+, [0-9.]+ \|$' out/table.md
# Targets and stages take the runs that are there, and fill their tables.
timeout 250 "$source/examples/cifar10-targets.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -Ec '^\| (mae|deepmim)(-hog|-hybrid)?-[01] \| [0-9.]+(, [0-9.]+, [0-9.]+, [0-9.]+)? \|$' out/targets.md)" = 10 ]
[ "$(grep -Ec '^\| [a-z-]+-[01] \|( [0-9.]+){12} \|$' out/targets.md)" = 20 ]
[ -e out/inside-1/report.html ]
STAGE_EPOCHS=1 timeout 250 "$source/examples/cifar10-dbot.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -Ec '^\| (random-[01] \| (linear|knn) \| -|(mae|hog) \| (linear|knn) \| [0-9.]+)( \| [0-9.]+){3} \|$' out/dbot.md)" = 8 ]
cd ..
rm -rf evidence_test.tmp
