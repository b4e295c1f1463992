#!/usr/bin/env python3
"""The quickstart again and again, and the ledger's line about it.

    quickstart_runs.py --times N [--small] [--io auto|io_uring|threads] [--ledger] --program PATH

Every time has a seed of its own, and goes on where the ledger ends. The campaign is called
quickstart; what was special about the run is in the names of its counts. A time passes if the
program says that every byte was verified, exits with 0, and took no longer than it may: 5 s with
--small, else 60 s. So run it on a machine that has nothing else to do. Exit status: 0 all of them
passed.
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
SMALL_MAX, FULL_MAX = 5, 60  # what it may take


def run_once(options, seed):
    """Whether the quickstart did what it has to with this seed, and the seconds that it took."""
    words = [options.program, f'--io={options.io}', f'--seed={seed}',
             *(['--small'] if options.small else [])]
    start = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE, check=False)
    except subprocess.TimeoutExpired as late:
        print(f'seed {seed}: not over after {late.timeout} s', file=sys.stderr)
        return False, DEADLINE
    seconds = time.monotonic() - start
    if done.returncode != 0 or 'all is well' not in done.stdout:
        print(f'seed {seed}: exit status {done.returncode}\n'
              f'{done.stdout[-2000:]}{done.stderr[-2000:]}', file=sys.stderr)
        return False, seconds
    limit = SMALL_MAX if options.small else FULL_MAX
    if seconds > limit:
        print(f'seed {seed}: took {seconds:.1f} s, and may take {limit} s', file=sys.stderr)
    return seconds <= limit, seconds


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
    runs = [run_once(options, seed) for seed in range(first, last + 1)]
    seconds = round(time.monotonic() - start)
    good = sum(is_good for is_good, _ in runs)
    slowest = max(seconds for _, seconds in runs)
    kind, where = 'small ' if options.small else '', f'on {options.io}'
    print(f'{good} of {options.times} {kind}times {where} passed in {seconds} s, '
          f'the slowest in {slowest:.2f} s')
    if options.ledger:
        ledger.append(nightly.LEDGER, {
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
            'commit': nightly.commit(), 'campaign': CAMPAIGN, 'seed_from': first, 'seed_to': last,
            'counts': {f'{kind}times {where}': good,
                       f'{ledger.SLOWEST}{kind}time {where}, ms': round(1000 * slowest)},
            'failures': options.times - good, 'seconds': seconds})
    return 0 if good == options.times else 1


if __name__ == '__main__':
    sys.exit(main())
