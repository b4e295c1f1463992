#!/usr/bin/env python3
"""That the benchmarks run and print what is promised of them; never how fast anything is.

    prints_test.py FOLDER_OF_BENCHMARKS
"""

import json
import pathlib
import subprocess
import sys
import unittest

FOLDER = pathlib.Path()


class Prints(unittest.TestCase):
    def said(self, name, only='.'):
        """{name of a measurement: its figures}."""
        done = subprocess.run(
            [FOLDER / f'{name}_bench', '--benchmark_min_time=0.001', '--benchmark_format=json',
             f'--benchmark_filter={only}'], capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        measured = json.loads(done.stdout)['benchmarks']
        for each in measured:
            self.assertNotIn('error_occurred', each, each)
        return {each['name']: each for each in measured}

    def figures(self, measured, name, *figures):
        self.assertIn(name, measured)
        for figure in figures:
            self.assertGreater(measured[name].get(figure, 0), 0, f'{name}: {figure}')

    def test_switches_and_coroutines_against_bare_boost_context(self):
        said = self.said('coroutine')
        for name in ('SwitchPairThroughRunQueue/1', 'CreateRunDestroy/1'):
            self.figures(said, f'{name}/manual_time', 'ours_ns', 'peer_ns', 'ratio')

    def test_schedules_of_a_stream_that_meets_a_commit(self):
        self.figures(self.said('scenario', 'StreamMeetsCommit'), 'StreamMeetsCommit/manual_time',
                     'schedules', 'peer_schedules', 'of_floor_2000')
        self.figures(self.said('schedules', 'StepsOnly'), 'StepsOnly', 'schedules')

    def test_memory_of_a_node_and_of_a_job(self):
        self.figures(self.said('graph', 'NodeMemory'), 'NodeMemory/iterations:3', 'bytes_per_node')
        self.figures(self.said('idle_job', 'Memory'), 'Memory/1000/iterations:1',
                     'allocated_per_job', 'resident_per_job')

    def test_edits_leases_and_drains_in_graphs_of_three_sizes(self):
        said = self.said('graph', 'InsertAndRemoveFilter|Freeze|Drain')
        for what in ('InsertAndRemoveFilter', 'Freeze', 'Drain'):
            for nodes in (10, 1000, 10000):
                self.figures(said, f'{what}/{nodes}', 'real_time')


if __name__ == '__main__':
    FOLDER = pathlib.Path(sys.argv[1]).resolve()
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
