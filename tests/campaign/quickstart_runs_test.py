#!/usr/bin/env python3
"""What quickstart_runs.py makes of programs that fail, or are slow, and what it writes into the ledger.

    quickstart_runs_test.py
"""

import contextlib
import io
import json
import pathlib
import stat
import sys
import tempfile
import unittest
from unittest import mock

import nightly
import quickstart_runs


class Runs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.ledger = pathlib.Path(folder.name) / 'ledger'
        self.program = pathlib.Path(folder.name) / 'program'

    def run_it(self, script, *words, took=(1,)):
        """Its exit status, its ledger's line, and its words; each run takes what `took` says."""
        self.program.write_text('#!/bin/sh\n' + script)
        self.program.chmod(stat.S_IRWXU)
        clock = [0]
        for seconds in took:
            clock += [clock[-1], clock[-1] + seconds]
        clock.append(clock[-1])
        said = io.StringIO()
        arguments = ['quickstart_runs.py', '--times', str(len(took)), '--ledger', '--program',
                     str(self.program), *words]
        with mock.patch.object(sys, 'argv', arguments), \
                mock.patch.object(nightly, 'LEDGER', self.ledger), \
                mock.patch.object(nightly, 'commit', lambda: 'c'), \
                mock.patch.object(quickstart_runs.time, 'monotonic', iter(clock).__next__), \
                contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = quickstart_runs.main()
        lines = self.ledger.read_text(encoding='utf-8').splitlines()
        return status, json.loads(lines[-1]), said.getvalue()

    def test_good_times_are_counted_and_the_slowest_is_kept(self):
        status, line, said = self.run_it('echo all is well', '--small', '--io=threads',
                                         took=(1.5, 4.25, 2))
        self.assertEqual((status, line['failures']), (0, 0))
        self.assertEqual(line['counts'], {'small times on threads': 3,
                                          'slowest small time on threads, ms': 4250})
        self.assertEqual((line['seed_from'], line['seed_to']), (1, 3))
        self.assertIn('the slowest in 4.25 s', said)
        _, line, _ = self.run_it('echo all is well', took=(59,))
        self.assertEqual(line['counts'], {'times on auto': 1, 'slowest time on auto, ms': 59000})
        self.assertEqual(line['seed_from'], 4)

    def test_a_time_that_is_too_long_is_a_failure(self):
        status, line, said = self.run_it('echo all is well', '--small', took=(5, 5.1))
        self.assertEqual((status, line['failures']), (1, 1))
        self.assertIn('seed 2: took 5.1 s, and may take 5 s', said)
        status, line, said = self.run_it('echo all is well', took=(60, 60.1))
        self.assertEqual((status, line['failures']), (1, 1))
        self.assertIn('seed 4: took 60.1 s, and may take 60 s', said)

    def test_a_program_that_fails_or_says_nothing_is_a_failure(self):
        status, line, said = self.run_it('echo all is well; exit 1')
        self.assertEqual((status, line['failures']), (1, 1))
        self.assertIn('seed 1: exit status 1', said)
        status, line, _ = self.run_it('exit 0')
        self.assertEqual((status, line['failures']), (1, 1))


if __name__ == '__main__':
    unittest.main()
