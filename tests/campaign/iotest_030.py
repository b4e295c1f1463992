#!/usr/bin/env python3
"""The cases of QEMU's iotest 030 again and again, and the ledger's line about it.

    iotest_030.py programs|qmp --times N [--load] [--io auto|io_uring|threads] [--ledger]
                  --program PATH

programs  the cases of examples/iotest_030, whose program PATH is: all of them N times
qmp       those of tests/hypervisor/iotest_030_*_test.py over the control socket of millraced, PATH
--load    both cores are kept busy by something else meanwhile
--ledger  appends a line to tests/campaign/ledger.jsonl; the campaign is called iotest_030_programs
          or iotest_030_qmp, and what was special about the run is in the names of its counts

SIGTERM ends it early: what runs is ended and not counted, what was done is.
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
# Of one case, in seconds: whoever measures stops campaigns for a while, and other work takes the
# processors.
DEADLINE = 900
KILLED = (signal.SIGTERM, signal.SIGKILL)  # by whoever wanted the machine: it proves nothing


class Children:
    """Runs one child after the other, until SIGTERM comes."""

    def __init__(self):
        self._child = None
        self.is_stopped = False
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, *_):
        self.is_stopped = True
        if self._child:
            self._child.terminate()

    def run(self, words, **options):
        """(exit status, what it printed); a status of None says that it was stopped."""
        if self.is_stopped:
            return None, ''
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, **options) as self._child:
            told = self._child.communicate()[0]
        status, self._child = self._child.returncode, None
        was_killed = status < 0 and -status in KILLED
        return None if was_killed or self.is_stopped else status, told


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


def run_programs(options, children):
    """(times in which every case passed, times tried, cases run)"""
    listed = subprocess.run([options.program, '--list'], capture_output=True, text=True, check=True)
    cases, good = len(listed.stdout.splitlines()), 0
    for seed in range(1, options.times + 1):
        status, told = children.run([options.program, f'--seed={seed}', f'--io={options.io}',
                                     f'--deadline={DEADLINE}'])
        last = told.splitlines()[-1] if told else ''
        if status is None:
            return good, seed - 1, cases * (seed - 1)
        if status == 0 and last == f'{cases} cases, 1 times: all ok':
            good += 1
        else:
            print(f'seed {seed}:\n{told[-4000:]}', file=sys.stderr, flush=True)
    return good, options.times, cases * options.times


def run_qmp(options, children):
    """(times in which every case passed, times tried, cases run)"""
    good = cases = 0
    environment = {**os.environ, 'MILLRACED': options.program,
                   'HYPERVISOR_TIMEOUT': str(DEADLINE),
                   'MILLRACED_OPTIONS': '' if options.io == 'auto' else f'--io {options.io}'}
    for turn in range(options.times):
        status, told = children.run(
            [sys.executable, '-B', str(HERE.parent / 'hypervisor' / 'run.py'), '--backend',
             'millraced', '-k', 'iotest_030'], env=environment)
        said = re.search(r'^millraced: (\d+) cases: (\d+) ok$', told, re.MULTILINE)
        if status is None:
            return good, turn, cases
        if status == 0 and said and said[1] == said[2]:
            good, cases = good + 1, cases + int(said[1])
            continue
        print(f'time {turn + 1}:\n{told[-4000:]}', file=sys.stderr, flush=True)
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
    children = Children()
    start = time.monotonic()
    with Load(options.load):
        run = {'programs': run_programs, 'qmp': run_qmp}[options.form]
        good, tried, cases = run(options, children)
    seconds = time.monotonic() - start
    if options.ledger and tried:
        append(options, good, tried, cases, seconds)
    print(json.dumps({'form': options.form, 'io': options.io, 'load': options.load,
                      'times': tried, 'passed': good, 'cases': cases,
                      'seconds': round(seconds)}))
    return 0 if good == tried == options.times else 1


if __name__ == '__main__':
    sys.exit(main())
