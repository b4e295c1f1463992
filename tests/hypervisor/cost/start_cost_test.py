"""What it costs through QMP to add a node, to delete it and to start a job does not depend on how many
nodes and jobs there are: counted in instructions of the daemon's thread, at a hundred jobs and at a
thousand (floors P10 and P11 in wall-clock time: bench/README.md, `scale`).

A pass over all jobs or nodes that takes 15 instructions for each is found: a start takes some 250,000.
Only millraced, which needs no QEMU here.
"""

import pathlib
import sys
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from support.case import Case  # noqa: E402
from support.images import MIB  # noqa: E402
from support.instructions import Stepping  # noqa: E402

FEW, MANY = 100, 1000
TIMES = 2  # of which the least counts: a table may be due to grow
GROWTH_MAX = 1.05


class StartCost(Case):
    """Null nodes in pairs, a<i> and b<i>, each with the job j<i> between them: mirrors, which are
    ready and stay."""

    def setUp(self):
        super().setUp()
        self.vm.launch()
        if refusal := Stepping.refusal(self.vm.process.pid):
            self.skipTest(refusal)
        self.jobs_started = 0

    def add(self, name):
        return 'blockdev-add', {'driver': 'null-co', 'node_name': name, 'size': MIB,
                                'read_zeroes': True}

    def start_one(self, run):
        """Adds two nodes and starts the job between them, by `run`."""
        i = self.jobs_started
        for name in (f'a{i}', f'b{i}'):
            command, arguments = self.add(name)
            self.vm.command(command, **arguments)
        count = run('blockdev-mirror', job_id=f'j{i}', device=f'a{i}', target=f'b{i}', sync='full')
        self.jobs_started += 1
        return count

    def counted(self, command, **arguments):
        """The instructions from the command to the answer to a command behind it."""
        def talk():
            self.vm.command(command, **arguments)
            self.vm.command('query-version')
        with Stepping(self.vm.process.pid) as stepping:
            client = threading.Thread(target=talk)
            client.start()
            count = stepping.until(lambda: not client.is_alive())
            client.join()
        return count

    def costs(self):
        """{what: the fewest instructions that it took}"""
        found = {'a node added': [], 'a node deleted': [], 'a job started': []}
        for _ in range(TIMES):
            command, arguments = self.add('extra')
            found['a node added'].append(self.counted(command, **arguments))
            found['a node deleted'].append(self.counted('blockdev-del', node_name='extra'))
            found['a job started'].append(self.start_one(self.counted))
        return {what: min(counts) for what, counts in found.items()}

    def grow_to(self, jobs):
        while self.jobs_started < jobs:
            self.start_one(self.vm.command)
        self.assertEqual(len(self.vm.command('query-jobs')), jobs)

    def test_does_not_grow_with_nodes_and_jobs(self):
        self.grow_to(FEW)
        few = self.costs()
        self.grow_to(MANY)
        many = self.costs()
        print(f'instructions at {FEW} and at {MANY} jobs: '
              + '; '.join(f'{what}: {few[what]:,} and {many[what]:,}' for what in few))
        for what, count in few.items():
            with self.subTest(what):
                self.assertGreater(count, 1000)
                self.assertLessEqual(many[what], GROWTH_MAX * count)


if __name__ == '__main__':
    unittest.main()
