#!/usr/bin/env python3
"""The ledger's arithmetic, the slices, and what becomes of a program that fails."""

import contextlib
import io
import os
import pathlib
import stat
import sys
import tempfile
import unittest
from unittest import mock

import ledger
import nightly


def line(campaign='a', seeds=(1, 10), failures=0, **counts):
    return {'date': f'day {seeds[1]}', 'commit': 'c', 'campaign': campaign, 'seed_from': seeds[0],
            'seed_to': seeds[1], 'counts': counts, 'failures': failures, 'seconds': 60}


class Sums(unittest.TestCase):
    def test_add_up_per_campaign(self):
        sums = ledger.sums([line(runs=3), line(seeds=(11, 15), runs=4), line('b', runs=1)])
        self.assertEqual(sums['a']['seeds'], 15)
        self.assertEqual(sums['a']['seconds'], 120)
        self.assertEqual(sums['a']['counts'], {'runs': 7})
        self.assertEqual(sums['b']['counts'], {'runs': 1})

    def test_the_slowest_stays_the_slowest(self):
        sums = ledger.sums([line(**{'slowest run, ms': 7}), line(**{'slowest run, ms': 9}),
                            line(**{'slowest run, ms': 8})])
        self.assertEqual(sums['a']['counts'], {'slowest run, ms': 9})

    def test_what_was_seen_first_and_last_is_that_of_the_latest_slice(self):
        sums = ledger.sums([line(**{'first descriptors': 9, 'last descriptors': 12}),
                            line(**{'first descriptors': 8, 'last descriptors': 7})])
        self.assertEqual(sums['a']['counts'], {'first descriptors': 8, 'last descriptors': 7})

    def test_start_again_after_a_failure(self):
        sums = ledger.sums([line(runs=3), line(seeds=(11, 20), failures=1, runs=5),
                            line(seeds=(21, 30), runs=2)])
        self.assertEqual(sums['a']['counts'], {'runs': 2})
        self.assertEqual(sums['a']['last_failure'], 'day 20')

    def test_seeds_go_on_where_the_ledger_ends(self):
        entries = [line(), line('b', seeds=(1, 99)), line(seeds=(11, 15), failures=2)]
        self.assertEqual(ledger.next_seed(entries, 'a'), 16)
        self.assertEqual(ledger.next_seed(entries, 'c'), 1)


class Slices(unittest.TestCase):
    def run_script(self, script, **how):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / 'demo'
            program.write_text('#!/bin/sh\n' + script)
            os.chmod(program, stat.S_IRWXU)
            return nightly.run_slice([str(program)], 'demo', how or {'seconds': 5}, 7,
                                     pathlib.Path(folder))

    def test_take_the_last_line_as_the_result(self):
        entry = self.run_script('echo noise\n[ "$*" = "--seconds 5 --seed-start 7" ] && echo '
                                '\'{"seed_from": 7, "seed_to": 9, "failures": 0, "counts": {"x": 3}}\'')
        self.assertEqual((entry['seed_from'], entry['seed_to']), (7, 9))
        self.assertEqual((entry['failures'], entry['counts']), (0, {'x': 3}))

    def test_may_be_as_long_as_so_many_iterations(self):
        entry = self.run_script('[ "$*" = "--iterations 10000 --seed-start 7" ] && echo '
                                '\'{"seed_from": 7, "seed_to": 7, "failures": 0, "counts": {"x": 3}}\'',
                                iterations=10000)
        self.assertEqual((entry['failures'], entry['counts']), (0, {'x': 3}))

    def test_of_iterations_is_one_and_in_the_ledger(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            (folder / 'soak').write_text(
                '#!/bin/sh\necho \'{"seed_from": 1, "seed_to": 1, "failures": 0, "counts": {"x": \'$2}}')
            os.chmod(folder / 'soak', stat.S_IRWXU)
            with mock.patch.object(nightly, 'LEDGER', folder / 'ledger.jsonl'), \
                 mock.patch.object(sys, 'argv', ['nightly.py', '--iterations', '10000', '--only',
                                                 'soak', '--log-folder', str(folder / 'logs'),
                                                 str(folder)]), \
                 contextlib.redirect_stdout(io.StringIO()):
                self.assertEqual(nightly.main(), 0)
                self.assertEqual([each['counts'] for each in ledger.read(nightly.LEDGER)],
                                 [{'x': 10000}])

    def test_count_a_crash_as_a_failure_at_its_seed(self):
        entry = self.run_script('echo 12 > "$MILLRACE_CAMPAIGN_SEED_FILE"; kill -ABRT $$')
        self.assertEqual((entry['seed_to'], entry['failures']), (12, 1))

    def test_never_take_a_failing_exit_for_a_success(self):
        entry = self.run_script(
            'echo \'{"seed_from": 7, "seed_to": 9, "failures": 0, "counts": {}}\'; exit 1')
        self.assertEqual(entry['failures'], 1)
        self.assertEqual(self.run_script('echo "no result"')['failures'], 1)

    def test_the_campaign_that_ran_least_is_next(self):
        entries = [line('a'), line('a'), line('b')]
        self.assertEqual(nightly.least_run(['a', 'b'], entries), 'b')
        self.assertEqual(nightly.least_run(['a', 'b', 'c'], entries), 'c')


if __name__ == '__main__':
    sys.exit(unittest.main())
