#!/usr/bin/env python3
"""Slices of the hostile images (tests/hostile), as a campaign program (tests/campaign/campaign.h).

    hostile_slice.py MILLRACE --seconds S --seed-start N

A seed is a slice of one in 80 images; 80 seeds in a row are all of them. Slices are run until the
time is over, one at least. Exit status 77: qemu-img is missing.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

TEST = pathlib.Path(__file__).resolve().parents[1] / 'hostile' / 'hostile_test.py'
SLICES = 80
SKIPPED = 77


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('tool')
    parser.add_argument('--seconds', type=int, required=True)
    parser.add_argument('--seed-start', type=int, required=True)
    options = parser.parse_args()
    end = time.monotonic() + options.seconds
    images = failures = 0
    seed = options.seed_start
    while True:
        done = subprocess.run(
            [sys.executable, '-B', str(TEST), '--tool', options.tool, '--every', str(SLICES),
             '--slice', str(seed)], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode == SKIPPED:
            return SKIPPED
        said = re.search(r'^(\d+) images, \d+ complaints$', done.stdout, re.MULTILINE)
        images += int(said[1]) if said else 0
        if done.returncode != 0 or not said:
            failures = 1
            print(f'slice {seed}:\n{done.stdout[-8000:]}', file=sys.stderr)
            break
        if time.monotonic() >= end:
            break
        seed += 1
    print(json.dumps({'seed_from': options.seed_start, 'seed_to': seed, 'failures': failures,
                      'counts': {'images': images}}))
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
