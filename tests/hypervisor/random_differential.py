#!/usr/bin/env python3
"""Random scripts of jobs on QEMU and on millraced, as a campaign (tests/campaign/campaign.h).

Those with a drive run on qemu-system, the others on qemu-storage-daemon.

    random_differential.py --seconds S --seed-start N     as the nightly calls it
    random_differential.py --count N [--seed M]           N scripts from seed M on
    random_differential.py --seed N                       one again, its differences in full

MILLRACED names the daemon. A script is made from its seed alone (support/random_script.py). What
may differ stands in allowed_differences.py, and what two runs of QEMU itself do not agree on is no
difference. Scripts that meet a defect of QEMU (known_defects.py) are counted apart, each by its
name, and so are those during which QEMU dies, which prove nothing.
SIGTERM ends a campaign early, as if the time were up.
The last line on stdout is one JSON object: seed_from, seed_to, failures, counts. Exit status: 0 no
difference, 1 some, or nothing was shown, since of all scripts none came out alike; 77 one of the
programs is not there, or no script came to its end.
"""

import argparse
import concurrent.futures
import json
import pathlib
import signal
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import known_defects  # noqa: E402
from differential import compare  # noqa: E402
from run import SKIPPED  # noqa: E402
from support import backend  # noqa: E402
from support.image_store import ImageStore  # noqa: E402
from support.random_script import RandomScript  # noqa: E402

QEMU_DIED = 'QEMU died'
FINDINGS_MAX = 10  # the first ones are the ones to mend


class Store:
    """Images of all scripts, and what was told of them: each thread has its own."""

    def __init__(self):
        self._local = threading.local()
        self._all = []

    def images(self, text):
        """Options of ScriptRun, for all runs of one script."""
        if not hasattr(self._local, 'store'):
            self._local.store = ImageStore()
            self._all.append(self._local.store)
        store = self._local.store
        images = store.make(text)
        return {'put_images': lambda folder: store.copy(images, folder), 'seen': {}}

    def close(self):
        for store in self._all:
            store.close()


def run_one(seed, programs, store):
    """(seed, verdict, lines): verdict is same, differ, QEMU died, or a defect's name."""
    script = RandomScript(seed)
    text = script.text()
    chosen = [programs[0] if script.has_devices else programs[1], programs[2]]
    found = compare(f'seed {seed}', text, chosen, again=True, **store.images(text))
    lines = found.lines()
    if not lines:
        return seed, 'same', lines
    if found.failure:
        return seed, QEMU_DIED, lines
    known = None if found.is_short else known_defects.explain(*found.answers, found.found)
    return seed, known or 'differ', lines


class Campaign:
    def __init__(self, programs, keep):
        self._programs = programs
        self._keep = keep
        self._is_stopped = False
        self._store = Store()
        self.verdicts = {}

    def stop(self, *_):
        """Lets what runs come to its end, and begins no more."""
        self._is_stopped = True

    def run(self, seeds, jobs, deadline=None):
        """Seeds in order, `jobs` at a time, until they or the time are up."""
        pending, seeds = set(), iter(seeds)
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            while True:
                while len(pending) < jobs and self._goes_on(deadline):
                    seed = next(seeds, None)
                    if seed is None:
                        break
                    pending.add(pool.submit(run_one, seed, self._programs, self._store))
                if not pending:
                    self._store.close()
                    return
                done, pending = concurrent.futures.wait(
                    pending, return_when=concurrent.futures.FIRST_COMPLETED)
                for one in done:
                    self._note(*one.result())

    def _goes_on(self, deadline):
        return not self._is_stopped and self.count('differ') < FINDINGS_MAX and (
            deadline is None or time.monotonic() < deadline)

    def _note(self, seed, verdict, lines):
        self.verdicts[seed] = verdict
        if verdict not in ('differ', QEMU_DIED):
            return
        print(f'seed {seed}: {verdict}, {len(lines)} lines, the first:\n{lines[0]}',
              file=sys.stderr, flush=True)
        if verdict == 'differ' and self._keep:
            self._keep.mkdir(parents=True, exist_ok=True)
            (self._keep / f'seed-{seed}.script').write_text(RandomScript(seed).text())

    def count(self, verdict):
        return sum(1 for one in self.verdicts.values() if one == verdict)

    def status(self):
        """The exit status."""
        if not self.verdicts:
            return SKIPPED
        if not self.count('same'):
            print('no script came out alike', file=sys.stderr)
        return 0 if self.count('same') and not self.count('differ') else 1

    def summary(self, first):
        known = {f'QEMU: {defect.name}': self.count(defect.name)
                 for defect in known_defects.DEFECTS if self.count(defect.name)}
        compared = self.count('same') + self.count('differ') + sum(known.values())
        return {'seed_from': first, 'seed_to': max(self.verdicts, default=first),
                'failures': self.count('differ'),
                'counts': {'scripts': compared, 'alike': self.count('same'), **known,
                           QEMU_DIED: self.count(QEMU_DIED)}}


def show_one(seed, programs):
    store = Store()
    _, verdict, lines = run_one(seed, programs, store)
    store.close()
    print('\n'.join([*lines, verdict]))
    return 1 if verdict == 'differ' else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--seed-start', type=int)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--count', type=int)
    parser.add_argument('-j', type=int, default=4, help='scripts at a time')
    parser.add_argument('--keep', type=pathlib.Path, metavar='DIR',
                        help='scripts that differ are written there')
    options = parser.parse_args()
    programs = [backend.find(name) for name in ('qemu', 'qemu-storage-daemon', 'millraced')]
    for program in programs:
        if program.missing:
            print(f'SKIPPED: {program.missing}')
            return SKIPPED
    if options.seed is not None and options.count is None:
        return show_one(options.seed, programs)
    first = options.seed_start if options.seed_start is not None else options.seed or 1
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    count = options.count if options.count is not None else 10 ** 9 if deadline else 20
    campaign = Campaign(programs, options.keep)
    signal.signal(signal.SIGTERM, campaign.stop)
    campaign.run(range(first, first + count), options.j, deadline)
    print(json.dumps(campaign.summary(first)))
    return campaign.status()


if __name__ == '__main__':
    sys.exit(main())
