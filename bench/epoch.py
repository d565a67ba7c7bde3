#!/usr/bin/env python3
"""Compare whole training, pictures' files included: `lacuna pretrain mae-cifar10` with torch_epoch.py, in turn, on the same folder.

  LACUNA_PEER_PYTHON=PYTHON epoch.py --data CIFAR/train [--rounds N] [--steps N] [--precision f32|bf16] [--theirs '--compile'] [--json]

Each round runs ours, theirs, and `lacuna bench train --config cifar_p4`, the step alone. Ours is measured from outside: each line of
its log as it comes. A first run of one step makes the caches of the pictures' list and statistics, which people make once.
Prints for each round pictures a second, the ratios (ours / theirs, and ours / the step alone), the share of our time spent waiting for
pictures, and the seconds from our start to the beginning of the first step. Without LACUNA_PEER_PYTHON theirs is left out.
Exits 1 when a command fails, 2 on wrong usage.
"""
import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import pair

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BATCH = 256


def our_command(options, steps):
    words = [options.program, "pretrain", "mae-cifar10", "--data", options.data, "--max-steps", str(steps), "--quiet", "--json"]
    return words + [f"run.precision={options.precision}"] + shlex.split(options.ours)


def run_ours(options, steps):
    """Pictures a second from the beginning of the first step to the end of the last, by this clock."""
    folder = tempfile.mkdtemp(prefix="lacuna-epoch-")
    command = our_command(options, steps) + ["--out", os.path.join(folder, "run")]
    try:
        start, lines = time.perf_counter(), []
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                lines.append((time.perf_counter(), json.loads(line)))
        if process.returncode or not lines:
            raise pair.BadCommand(f"{shlex.join(command)}: exit status {process.returncode}, {len(lines)} steps")
    except (OSError, ValueError) as error:
        raise pair.BadCommand(f"{shlex.join(command)}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    began = lines[0][0] - lines[0][1]["seconds"]
    seconds = lines[-1][0] - began
    return {"steps": len(lines), "pictures": BATCH * len(lines), "seconds": seconds, "pictures_per_second": BATCH * len(lines) / seconds,
            "step_seconds_median": statistics.median(line["seconds"] for _, line in lines),
            "data_wait": sum(line["data_wait"] for _, line in lines), "start_seconds": began - start}


def one_round(options, steps):
    precision = options.precision
    result = {"ours": run_ours(options, steps)}
    if options.peer:
        their_precision = "" if "--precision" in options.theirs else f" --precision {precision}"
        result["theirs"] = pair.measure(f"{shlex.quote(options.peer)} {shlex.quote(ROOT)}/bench/torch_epoch.py --data {shlex.quote(options.data)} "
                                        f"--steps {steps}{their_precision} {options.theirs}", None, ("pictures_per_second",))
    result["alone"] = pair.measure(f"{shlex.quote(options.program)} bench train --config cifar_p4 --precision {precision} --steps 5 "
                                   "--warmup 2 --json", None, ("images_per_second",))
    return result


def summary(options, steps, rounds):
    ours = [r["ours"] for r in rounds]
    out = {"processor": pair.processor_name(), "cores": len(os.sched_getaffinity(0)), "steps": steps,
           "ours": shlex.join(our_command(options, steps)),
           "rounds": [{"ours": r["ours"]["pictures_per_second"], "alone": r["alone"]["images_per_second"],
                       "theirs": r["theirs"]["pictures_per_second"] if "theirs" in r else None,
                       "wait_share": r["ours"]["data_wait"] / r["ours"]["seconds"], "start_seconds": r["ours"]["start_seconds"]}
                      for r in rounds],
           "wait_share_median": statistics.median(o["data_wait"] / o["seconds"] for o in ours),
           "start_seconds_median": statistics.median(o["start_seconds"] for o in ours)}
    for name, other, key in (("alone", "alone", "images_per_second"), ("theirs", "theirs", "pictures_per_second")):
        ratios = [r["ours"]["pictures_per_second"] / r[other][key] for r in rounds if other in r]
        if ratios:
            out[f"ratio_{name}_median"], out[f"ratio_{name}_min"], out[f"ratio_{name}_max"] = statistics.median(ratios), min(ratios), max(ratios)
    return out


def print_table(out):
    print(f"processor  {out['processor']}, {out['cores']} cores; {out['steps']} steps of {BATCH} pictures")
    print(f"ours       {out['ours']}\n")
    print("round  ours, pictures/s  theirs  ours/theirs  step alone  ours/alone  waiting  first step after, s")
    for number, r in enumerate(out["rounds"], 1):
        theirs = f"{r['theirs']:7.1f} {r['ours'] / r['theirs']:12.3f}" if r["theirs"] else f"{'-':>7} {'-':>12}"
        print(f"{number:5d} {r['ours']:17.1f} {theirs} {r['alone']:11.1f} {r['ours'] / r['alone']:11.3f} {100 * r['wait_share']:7.2f}% "
              f"{r['start_seconds']:20.2f}")
    for name, what in (("theirs", "ours / theirs"), ("alone", "ours / the step alone")):
        if f"ratio_{name}_median" in out:
            print(f"{what}: median {out[f'ratio_{name}_median']:.3f}, smallest {out[f'ratio_{name}_min']:.3f}, largest {out[f'ratio_{name}_max']:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="CIFAR-10 as a folder of pictures for each class")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, help="of a run (default: an epoch of 50,000 pictures)")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32",
                        help="of ours (default f32), and of theirs unless --theirs names another")
    parser.add_argument("--ours", default="", help="more words for lacuna pretrain")
    parser.add_argument("--theirs", default="", help="more words for torch_epoch.py: --compile, --precision, --workers")
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "lacuna"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.peer = os.environ.get("LACUNA_PEER_PYTHON", "")
    if options.rounds < 1 or (options.steps is not None and options.steps < 1):
        parser.error("--rounds and --steps must be at least 1")
    steps, rounds = options.steps or 50000 // BATCH, []
    try:
        run_ours(options, 1)
        for number in range(1, options.rounds + 1):
            rounds.append(one_round(options, steps))
            r = rounds[-1]
            print(f"round {number} of {options.rounds}: ours {r['ours']['pictures_per_second']:.1f}" +
                  (f", theirs {r['theirs']['pictures_per_second']:.1f}" if "theirs" in r else "") +
                  f", the step alone {r['alone']['images_per_second']:.1f} pictures/s", file=sys.stderr)
    except pair.BadCommand as error:
        sys.exit(f"epoch.py: {error}")
    out = summary(options, steps, rounds)
    if options.json:
        print(json.dumps(out))
    else:
        print_table(out)


if __name__ == "__main__":
    main()
