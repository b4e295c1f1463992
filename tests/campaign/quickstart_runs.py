#!/usr/bin/env python3
"""The quickstart again and again, and the ledger's line about it.

    quickstart_runs.py --times N [--small] [--io auto|io_uring|threads] [--ledger] --program PATH

Every time has a seed of its own, and goes on where the ledger ends. The campaign is called
quickstart; what was special about the run is in the names of its counts. A time passes if the
program says that every byte was verified, and exits with 0. Exit status: 0 all of them passed.
"""

import argparse
import datetime
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import ledger  # noqa: E402
import nightly  # noqa: E402

CAMPAIGN = 'quickstart'
DEADLINE = 900  # of one time, in seconds


def passes(options, seed):
    """Whether the quickstart did what it has to with this seed."""
    words = [options.program, f'--io={options.io}', f'--seed={seed}',
             *(['--small'] if options.small else [])]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except subprocess.TimeoutExpired as late:
        print(f'seed {seed}: not over after {late.timeout} s', file=sys.stderr)
        return False
    if done.returncode == 0 and 'all is well' in done.stdout:
        return True
    print(f'seed {seed}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}',
          file=sys.stderr)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, required=True)
    parser.add_argument('--small', action='store_true')
    parser.add_argument('--io', choices=('auto', 'io_uring', 'threads'), default='auto')
    parser.add_argument('--program', required=True)
    parser.add_argument('--ledger', action='store_true')
    options = parser.parse_args()
    if options.times < 1:
        parser.error('--times has to be 1 or more')
    first = ledger.next_seed(ledger.read(nightly.LEDGER), CAMPAIGN)
    last = first + options.times - 1
    start = time.monotonic()
    good = sum(passes(options, seed) for seed in range(first, last + 1))
    seconds = round(time.monotonic() - start)
    what = f'{"small " if options.small else ""}times on {options.io}'
    print(f'{good} of {options.times} {what} passed in {seconds} s')
    if options.ledger:
        ledger.append(nightly.LEDGER, {
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
            'commit': nightly.commit(), 'campaign': CAMPAIGN, 'seed_from': first, 'seed_to': last,
            'counts': {what: good}, 'failures': options.times - good, 'seconds': seconds})
    return 0 if good == options.times else 1


if __name__ == '__main__':
    sys.exit(main())
