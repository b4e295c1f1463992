#!/usr/bin/env python3
"""The cases of QEMU's iotest 030 again and again, and the ledger's line about it.

    iotest_030.py programs|qmp --times N [--load] [--io auto|io_uring|threads] [--ledger]
                  --program PATH

programs  the cases of examples/iotest_030, whose program PATH is: all of them N times
qmp       those of tests/hypervisor/iotest_030_*_test.py over the control socket of millraced, PATH
--load    both cores are kept busy by something else meanwhile
--ledger  appends a line to tests/campaign/ledger.jsonl; the campaign is called iotest_030_programs
          or iotest_030_qmp, and what was special about the run is in the names of its counts

The last line on stdout says how often all the cases have passed. Exit status: 0 they all did.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import ledger  # noqa: E402
import nightly  # noqa: E402

BURNERS = 2
KILLED = (signal.SIGTERM, signal.SIGKILL)  # by whoever wanted the machine: it proves nothing


class Load:
    """Programs that do nothing but take the processor, as long as the block lasts."""

    def __init__(self, wanted):
        self._count = BURNERS if wanted else 0
        self._burners = []

    def __enter__(self):
        for _ in range(self._count):
            self._burners.append(subprocess.Popen([sys.executable, '-c', 'while True: pass']))

    def __exit__(self, *exception):
        for burner in self._burners:
            burner.kill()
            burner.wait()


def run_programs(options):
    """(times in which every case passed, times tried, cases run)"""
    listed = subprocess.run([options.program, '--list'], capture_output=True, text=True, check=True)
    cases, good = len(listed.stdout.splitlines()), 0
    for seed in range(1, options.times + 1):
        done = subprocess.run([options.program, f'--seed={seed}', f'--io={options.io}'],
                              stdout=subprocess.PIPE, text=True, check=False)
        last = done.stdout.splitlines()[-1] if done.stdout else ''
        if done.returncode < 0 and -done.returncode in KILLED:
            return good, seed - 1, cases * (seed - 1)
        if done.returncode == 0 and last == f'{cases} cases, 1 times: all ok':
            good += 1
        else:
            print(f'seed {seed}:\n{done.stdout[-4000:]}', file=sys.stderr, flush=True)
    return good, options.times, cases * options.times


def run_qmp(options):
    """(times in which every case passed, times tried, cases run)"""
    good = cases = 0
    environment = {**os.environ, 'MILLRACED': options.program,
                   'MILLRACED_OPTIONS': '' if options.io == 'auto' else f'--io {options.io}'}
    for turn in range(options.times):
        done = subprocess.run(
            [sys.executable, '-B', str(HERE.parent / 'hypervisor' / 'run.py'), '--backend',
             'millraced', '-k', 'iotest_030'],
            stdout=subprocess.PIPE, text=True, check=False, env=environment)
        said = re.search(r'^millraced: (\d+) cases: (\d+) ok$', done.stdout, re.MULTILINE)
        if done.returncode == 0 and said and said[1] == said[2]:
            good, cases = good + 1, cases + int(said[1])
            continue
        if done.returncode < 0 and -done.returncode in KILLED:
            return good, turn, cases
        print(f'time {turn + 1}:\n{done.stdout[-4000:]}', file=sys.stderr, flush=True)
    return good, options.times, cases


def append(options, good, tried, cases, seconds):
    name = f'iotest_030_{options.form}'
    how = {'auto': '', 'io_uring': ' on io_uring', 'threads': ' on the thread pool'}[options.io]
    what = f'times{how}{" with both cores loaded" if options.load else ""}'
    entries = ledger.read(nightly.LEDGER)
    first = ledger.next_seed(entries, name)
    ledger.append(nightly.LEDGER, {
        'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%SZ'),
        'commit': nightly.commit(), 'campaign': name, 'seed_from': first,
        'seed_to': first + tried - 1, 'counts': {what: good, 'cases': cases},
        'failures': tried - good, 'seconds': round(seconds)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('form', choices=('programs', 'qmp'))
    parser.add_argument('--times', type=int, default=1)
    parser.add_argument('--program', required=True)
    parser.add_argument('--io', choices=('auto', 'io_uring', 'threads'), default='auto')
    parser.add_argument('--load', action='store_true')
    parser.add_argument('--ledger', action='store_true')
    options = parser.parse_args()
    options.program = str(pathlib.Path(options.program).resolve())
    # So that what was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    start = time.monotonic()
    with Load(options.load):
        good, tried, cases = {'programs': run_programs, 'qmp': run_qmp}[options.form](options)
    seconds = time.monotonic() - start
    if options.ledger and tried:
        append(options, good, tried, cases, seconds)
    print(json.dumps({'form': options.form, 'io': options.io, 'load': options.load,
                      'times': tried, 'passed': good, 'cases': cases,
                      'seconds': round(seconds)}))
    return 0 if good == tried == options.times else 1


if __name__ == '__main__':
    sys.exit(main())
