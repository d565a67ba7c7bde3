#!/usr/bin/env python3
"""Compare two commands by running them in turn: ours, theirs, ours, theirs ...

  pair.py [--rounds N] [--json] [--timeout SECONDS] -- 'OUR COMMAND' 'THEIR COMMAND'

The last line that a command writes to standard output must be a JSON object with `peak_rss_bytes` and `step_seconds_median` or, of a
loader, `pictures_per_second`; then a picture counts as a step.
Prints for each round the ratio of times, theirs / ours (above 1: ours is faster), then median, smallest and largest ratio, the
ratio of memory, ours / theirs (below 1: ours needs less), and the processor. --json prints one object instead.
Exits 1 when a command fails or does not print what is expected, 2 on wrong usage.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys

KEYS = ("step_seconds_median", "peak_rss_bytes")


class BadCommand(Exception):
    """A command that failed or printed something else; the message names it."""


def processor_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                key, _, value = line.partition(":")
                if key.strip() in ("model name", "Model", "Hardware"):
                    return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def positive(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def measure(command, timeout, keys=KEYS):
    """Runs a command and returns its measurements: the JSON object on the last line of its output, in which `keys` are positive
    numbers."""
    try:
        done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, timeout=timeout, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise BadCommand(f"{command}: {error}") from error
    if done.returncode:
        raise BadCommand(f"{command}: exit status {done.returncode}")
    lines = done.stdout.decode("utf-8", "replace").strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        raise BadCommand(f"{command}: its last line is no JSON object: {lines[-1:]}") from None
    if isinstance(result, dict) and "step_seconds_median" not in result and positive(result.get("pictures_per_second")):
        result["step_seconds_median"] = 1 / result["pictures_per_second"]
    for key in keys:
        if not isinstance(result, dict) or not positive(result.get(key)):
            raise BadCommand(f"{command}: its last line has no positive number {key}")
    return result


def summary(rounds, commands):
    """What is reported about a list of pairs (ours, theirs)."""
    ratios = [theirs["step_seconds_median"] / ours["step_seconds_median"] for ours, theirs in rounds]
    memory = [ours["peak_rss_bytes"] / theirs["peak_rss_bytes"] for ours, theirs in rounds]
    return {
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "ours": commands[0],
        "theirs": commands[1],
        "rounds": [{"ours_seconds": ours["step_seconds_median"], "theirs_seconds": theirs["step_seconds_median"],
                    "ratio": ratio, "ours_rss_bytes": ours["peak_rss_bytes"], "theirs_rss_bytes": theirs["peak_rss_bytes"],
                    "memory_ratio": share}
                   for (ours, theirs), ratio, share in zip(rounds, ratios, memory)],
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "memory_ratio_median": statistics.median(memory),
    }


def print_table(result):
    print(f"processor  {result['processor']}, {result['cores']} cores")
    print(f"ours       {result['ours']}")
    print(f"theirs     {result['theirs']}\n")
    print("round    ours s  theirs s  theirs/ours   ours MB  theirs MB  ours/theirs")
    for number, r in enumerate(result["rounds"], 1):
        print(f"{number:5d} {r['ours_seconds']:9.4f} {r['theirs_seconds']:9.4f} {r['ratio']:12.3f} "
              f"{r['ours_rss_bytes'] / 1e6:9.0f} {r['theirs_rss_bytes'] / 1e6:10.0f} {r['memory_ratio']:12.3f}")
    print(f"\ntime theirs/ours: median {result['ratio_median']:.3f}, "
          f"smallest {result['ratio_min']:.3f}, largest {result['ratio_max']:.3f}")
    print(f"memory ours/theirs: median {result['memory_ratio_median']:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timeout", type=float, help="seconds that one command may take (default: no limit)")
    parser.add_argument("commands", nargs=2, metavar="COMMAND", help="ours, then theirs, each as one argument")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    rounds = []
    try:
        for number in range(1, options.rounds + 1):
            pair = tuple(measure(command, options.timeout) for command in options.commands)
            rounds.append(pair)
            ratio = pair[1]["step_seconds_median"] / pair[0]["step_seconds_median"]
            print(f"round {number} of {options.rounds}: {ratio:.3f}", file=sys.stderr)
    except BadCommand as error:
        sys.exit(f"pair.py: {error}")
    result = summary(rounds, options.commands)
    if options.json:
        print(json.dumps(result))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
