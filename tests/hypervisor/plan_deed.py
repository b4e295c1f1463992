#!/usr/bin/env python3
"""Random plans of millraced, compared with its deeds, as a campaign (tests/campaign/campaign.h).

    plan_deed.py --seconds S --seed-start N     as the nightly calls it
    plan_deed.py --count N [--seed M]           N scripts from seed M on
    plan_deed.py --seed N                       one again
    plan_deed.py --script FILE                  a script that a finding has printed

MILLRACED names the daemon. Commands are drawn from the seed and from what is there by then
(support/plan_script.py), planned and carried out (support/plan_deed.py). What may differ stands in
plan_excuses.py; what is known and open there is counted apart, by its name. A finding is printed
with its seed and the shortest script that was found to show it.
SIGTERM ends a campaign early, as if the time were up.
The last line on stdout is one JSON object: seed_from, seed_to, failures, counts. Exit status: 0 no
finding, 1 some, or nothing was shown; 77 the program is not there.
"""

import argparse
import collections
import itertools
import json
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # run.py has put it behind the folder of its cases
    sys.path.insert(0, str(HERE))

from plan_excuses import excuse, open_finding  # noqa: E402
from run import SKIPPED  # noqa: E402
from support import backend  # noqa: E402
from support.image_store import ImageStore  # noqa: E402
from support.plan_deed import NO_ANSWER, PlanDeedRun, lines_of, said  # noqa: E402
from support.plan_script import IMAGES, RAW, SIZE, PlanScript, World  # noqa: E402

COMMANDS = 22  # of a script, after its world
FINDINGS_MAX = 10  # the first ones are the ones to mend
REPLAYS_MAX = 150  # to make a script shorter


class Checker:
    """Runs scripts; images are made once for all."""

    def __init__(self, program, knows_open=True):
        self._program = program
        self._knows_open = knows_open
        self._store = ImageStore()
        self._images = self._store.make(IMAGES)
        self.counts = collections.Counter()

    def close(self):
        self._store.close()

    def _daemon(self):
        run = PlanDeedRun(self._program, self._store, self._images)
        run.add_empty(RAW, SIZE)
        return run

    def run_seed(self, seed):
        """[(lines, finding)]: what nothing excuses, with the script up to there."""
        script, all_found = PlanScript(seed), []
        lines = script.options()
        with self._daemon() as run:
            commands = itertools.chain(
                script.setup(), (script.draw(world_of(run.look)) for _ in range(COMMANDS)))
            found = run.start(lines)
            while not run.is_over and (command := next(commands, None)):
                lines.append(said(*command))
                all_found += [(list(lines), one) for one in self._judged(run, lines[-1])]
            return all_found + [(lines, one) for one in found + run.end()]

    def run_script(self, lines):
        """The findings of a script."""
        options, commands = lines_of(lines)
        with self._daemon() as run:
            found = run.start(options)
            for line in commands:
                if not run.is_over:
                    found += self._judged(run, line)
            return found + run.end()

    def _judged(self, run, line):
        """What nothing excuses; the rest is counted."""
        kept = []
        for finding in run.compare(line):
            if excuse(finding):
                self.counts['only the host tells'] += 1
            elif self._knows_open and (known := open_finding(finding)):
                self.counts[f'open: {known}'] += 1
            else:
                kept.append(finding)
        self.counts['commands'] += run.is_planned
        self.counts['not planned'] += not run.is_planned
        self.counts['accepted'] += run.is_accepted
        return kept

    # ---- The shortest script ---------------------------------------------------------------------

    def shorten(self, lines, finding):
        """(lines, finding): the shortest script that was found to show what looks alike."""
        counts = self.counts.copy()
        self._left = 0 if finding.kind == NO_ANSWER else REPLAYS_MAX  # which takes a minute each
        for size in (8, 4, 2, 1, 1):
            for at in range(len(lines) - 1 - size, -1, -size):
                lines, finding = self._try(lines[:at] + lines[at + size:], lines, finding)
        for at in range(len(lines)):
            for drop in range(3, -1, -1):
                lines, finding = self._try(_with_an_action_less(lines, at, drop), lines, finding)
        self.counts = counts
        return lines, finding

    def _try(self, shorter, lines, finding):
        """The shorter script if it shows the same, else the one that is there."""
        if shorter == lines or not self._left:
            return lines, finding
        self._left -= 1
        alike = [one for one in self.run_script(shorter) if one.signature() == finding.signature()]
        return (shorter, alike[0]) if alike else (lines, finding)


def _with_an_action_less(lines, at, drop):
    command, _, text = lines[at][2:].partition(' ')
    actions = json.loads(text or '{}').get('actions') if command == 'transaction' else None
    if not isinstance(actions, list) or drop >= len(actions) or len(actions) < 2:
        return lines
    arguments = {**json.loads(text), 'actions': actions[:drop] + actions[drop + 1:]}
    return [*lines[:at], said(command, arguments), *lines[at + 1:]]


def world_of(look):
    return World(look['graph'], look['block'], look['nodes'], look['jobs'], look['exports'])


def report(seed, lines, finding):
    """What is printed of a finding."""
    return '\n'.join([f'seed {seed}: {finding.kind}', *finding.lines(), 'the shortest script:',
                      *(f'    {line}' for line in lines)])


class Campaign:
    def __init__(self, checker, findings_max):
        self._checker = checker
        self._findings_max = findings_max
        self._is_stopped = False
        self.seeds, self.findings = [], []
        self.signatures = set()

    def stop(self, *_):
        self._is_stopped = True

    def run(self, seeds, deadline=None):
        for seed in seeds:
            if self._is_stopped or len(self.findings) >= self._findings_max or (
                    deadline is not None and time.monotonic() >= deadline):
                return
            found = self._checker.run_seed(seed)
            self.seeds.append(seed)
            for lines, finding in found:
                if finding.signature() in self.signatures:
                    continue
                self.signatures.add(finding.signature())
                self.findings.append(finding)
                print(report(seed, *self._checker.shorten(lines, finding)), file=sys.stderr,
                      flush=True)

    def summary(self, first):
        return {'seed_from': first, 'seed_to': max(self.seeds, default=first),
                'failures': len(self.findings),
                'counts': {'scripts': len(self.seeds), **self._checker.counts}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--seed-start', type=int)
    parser.add_argument('--seed', type=int)
    parser.add_argument('--count', type=int)
    parser.add_argument('--findings', type=int, default=FINDINGS_MAX, help='at most so many')
    parser.add_argument('--open', action='store_true', help='tell what is known and open, too')
    parser.add_argument('--script', type=pathlib.Path)
    options = parser.parse_args()
    program = backend.find('millraced')
    if program.missing:
        print(f'SKIPPED: {program.missing}')
        return SKIPPED
    checker = Checker(program, not options.open)
    if options.script:
        found = checker.run_script(map(str.strip, options.script.read_text().splitlines()))
        print('\n'.join(text for finding in found for text in finding.lines()) or 'no finding')
        checker.close()
        return 1 if found else 0
    first = options.seed_start if options.seed_start is not None else options.seed or 1
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    one = options.seed is not None and options.count is None
    count = 1 if one else options.count or (10 ** 9 if deadline else 20)
    campaign = Campaign(checker, options.findings)
    signal.signal(signal.SIGTERM, campaign.stop)
    campaign.run(range(first, first + count), deadline)
    checker.close()
    print(json.dumps(campaign.summary(first)))
    return 1 if campaign.findings or not checker.counts['commands'] else 0


if __name__ == '__main__':
    sys.exit(main())
