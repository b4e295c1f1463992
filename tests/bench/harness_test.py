#!/usr/bin/env python3
"""What the Python benchmarks make of what they measure: ratios, judgements, failures, contents. No
daemon is started, but for programs that cannot be one."""

import argparse
import pathlib
import random
import shutil
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'bench'))
from harness import cells, chains, images, peers, rows, syscalls, table  # noqa: E402
from harness.images import CLUSTER, MIB  # noqa: E402


def outcome(errors=None, **rows_of):
    return peers.Outcome(rows_of, errors or {})


class Ratios(unittest.TestCase):
    def test_above_one_is_better_whichever_way_a_figure_counts(self):
        told = outcome(QEMU=[{'mb_s': 100, 'seconds': 4}], millraced=[{'mb_s': 200, 'seconds': 2}])
        self.assertEqual(told.ratio('millraced', 'QEMU', 'mb_s'), 2)
        self.assertEqual(told.ratio('millraced', 'QEMU', 'seconds'), 2)
        self.assertEqual(rows.time_ratio(told), 0.5)

    def test_runs_are_paired_and_one_that_failed_is_in_no_pair(self):
        told = outcome(QEMU=[{'seconds': 1}, None, {'seconds': 9}, {'seconds': 5}],
                       millraced=[{'seconds': 2}, {'seconds': 1}, {'seconds': 9}, None])
        self.assertEqual(told.ratio('QEMU', 'millraced', 'seconds'), 1.5)
        self.assertEqual(told.median('QEMU', 'seconds'), 5)

    def test_programs_take_turns_and_a_failure_does_not_end_the_rotation(self):
        order = []

        def run(name):
            order.append(name)
            if name == 'b' and len(order) < 4:
                raise RuntimeError('no luck')
            return {'seconds': 1}
        told = peers.rotate(2, [('a', lambda: run('a')), ('b', lambda: run('b'))])
        self.assertEqual(order, ['a', 'b', 'b', 'a'])
        self.assertEqual(told.rows['a'], [{'seconds': 1}, {'seconds': 1}])
        self.assertEqual(told.rows['b'], [None, None])
        self.assertIn('no luck', told.errors['b'][0])

    def test_system_calls_are_read_from_either_tool(self):
        self.assertEqual(syscalls.parse('# started\n\n41,,raw_syscalls:sys_enter,4,100.00,,\n'), 41)
        self.assertEqual(syscalls.parse('     1 rseq\n------ -----\n      29 total\n'), 29)
        with self.assertRaises(RuntimeError):
            syscalls.parse('<not counted>,,raw_syscalls:sys_enter,0,100.00,,\n')


class Judgements(unittest.TestCase):
    def lines(self, row, told):
        class Measurer:
            options = argparse.Namespace(data_mib=1, size_mib=4, parallel=[1], nodes=[10],
                                         pairs_of_nodes=10, depth=3)
            job_cell = table.Measurer.job_cell
            guest_cell = table.Measurer.guest_cell
            cell = nodes = staticmethod(lambda _: told)
        return [table.as_cells('P', line) for line in row(Measurer())]

    def test_floor_and_goal_are_judged_each_by_its_own_measure(self):
        told = outcome(QEMU=[{'mb_s': 100, 'seconds': 2.0}], limit=[{'mb_s': 94}],
                       millraced=[{'mb_s': 90, 'seconds': 2.2}])
        for line in self.lines(rows.p1, told):
            self.assertEqual((line['floor met'], line['goal met']), ('no', 'yes'), line)

    def test_what_was_not_measured_is_not_met(self):
        told = outcome({'millraced': ['RuntimeError: it died']}, limit=[{'mb_s': 94}],
                       QEMU=[{'mb_s': 100, 'seconds': 2.0}], millraced=[None])
        lines = self.lines(rows.p1, told)
        for line in lines:
            self.assertEqual((line['ours'], line['floor met'], line['goal met']),
                             ('FAILED', '?', '?'))
        found = {'P1': {'lines': lines, 'quick': False, 'of': '', 'at': '', 'runs': 1, 'load': 0,
                        'seconds': 0}}
        self.assertIn('0 of 1 rows meet their floor; not P1', table.as_text(found))
        self.assertIn('FAILED', table.as_text(found))
        self.assertIn('it died', table.as_markdown(found))

    def test_a_line_without_a_floor_that_failed_leaves_its_row_unmet(self):
        wrong = rows.Line('wake-ups', failures=['idle_job_bench: no such file'])
        found = {'P14': {'lines': [table.as_cells('P14', wrong)]}}
        self.assertEqual(table.verdict(found)[0], '0 of 1 rows meet their floor; not P14')

    def test_one_run_that_failed_is_enough(self):
        told = outcome({'millraced': ['RuntimeError: it died']}, QEMU=[{'seconds': 2.0}] * 2,
                       millraced=[{'mb_s': 300, 'seconds': 1.0}, None], limit=[{'mb_s': 200}] * 2)
        for line in self.lines(rows.p1, told):
            self.assertEqual((line['floor met'], line['goal met']), ('no', 'no'), line)

    def test_a_mirror_that_never_converged_meets_nothing(self):
        told = outcome(QEMU=[{'converged': 0.0, 'job_share': 0.1}],
                       millraced=[{'converged': 0.0, 'job_share': 0.9}])
        (line,) = self.lines(rows.p9, told)
        self.assertEqual((line['floor met'], line['goal met']), ('no', '?'))

    def test_every_row_of_the_goals_is_there(self):
        self.assertEqual(list(rows.ROWS), [f'P{number}' for number in range(1, 18)])


class Matrix(unittest.TestCase):
    def options(self, *more):
        parser = argparse.ArgumentParser()
        peers.add_options(parser)
        return parser.parse_args(['--guest', '', *more])

    def labels(self, *more):
        said = []
        return [cell.label() for cell in cells.matrix(self.options(*more), said.append)], said

    def test_a_cell_for_each_combination(self):
        labels, said = self.labels('--jobs', 'stream,commit', '--layouts', 'seq', '--depths', '1,3',
                                   '--aio', 'threads,io_uring', '--cache', 'direct,writeback')
        self.assertEqual(len(set(labels)), 16)
        self.assertIn('commit seq, 3 layers, io_uring, writeback', labels)
        self.assertEqual(said, [])

    def test_what_cannot_be_is_left_out_and_said(self):
        labels, said = self.labels('--jobs', 'stream,mirror', '--layouts', 'frag', '--parallel', '1,4',
                                   '--topology', 'stacks,chain')
        self.assertEqual(labels, ['stream frag', 'stream frag, 4 jobs on stacks',
                                  'stream frag, 4 jobs in one chain', 'mirror frag',
                                  'mirror frag, 4 jobs on stacks'])
        self.assertEqual(len(said), 1, said)
        _, said = self.labels('--jobs', 'stream', '--layouts', 'seq', '--aio', 'native', '--cache',
                              'writeback')
        self.assertIn('page cache', said[0])

    def test_guests(self):
        labels, _ = self.labels('--jobs', 'stream', '--layouts', '', '--guest', '1,16',
                                '--guest-patterns', 'randread,randwrite', '--guest-layers', '1,9',
                                '--guest-events', 'snapshot,filter')
        self.assertEqual(len(set(labels)), 16)
        self.assertIn('guest alone, depth 16, randwrite, 9 layers', labels)
        self.assertIn('guest at a filter, depth 1', labels)

    def test_jobs_move_all_that_there_is_each_cluster_once(self):
        for topology, parallel, depth in (('stacks', 1, 3), ('stacks', 4, 1), ('chain', 4, 1)):
            plan = cells.Cell('stream', 'frag', depth, parallel, topology, size_mib=16,
                              data_mib=4).plan()
            names = [layer.name for layer in plan.layers]
            self.assertEqual(len(set(names)), len(names))
            held = sum(len(layer.clusters) for layer in plan.layers) * CLUSTER
            self.assertEqual((held, plan.moved_bytes, len(plan.jobs)), (4 * MIB, 4 * MIB, parallel))
            stacks = 1 if topology == 'chain' else parallel
            self.assertEqual((len(plan.tops), sum(not layer.below for layer in plan.layers)),
                             (stacks, stacks))


class Guest:
    PATTERN = 0xa7

    def __init__(self, *written):
        self.written = set(written)


@unittest.skipIf(chains.missing_tools(), chains.missing_tools())
class Contents(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-test-'))
        self.addCleanup(shutil.rmtree, self.folder)
        self.images = chains.Images(self.folder, cells.Cell('mirror', 'seq', size_mib=2,
                                                            data_mib=1).plan(), 2 * MIB)
        self.images.reset()
        self.images.remember()

    def copy(self, clusters, tag=1):
        images.make_qcow2(self.images.path('target'), 2 * MIB, clusters, None, tag)

    def test_the_same_bytes_pass(self):
        self.copy(range(16))
        self.images.verify()

    def test_a_cluster_that_is_missing_or_wrong_does_not(self):
        for clusters, tag in ((range(15), 1), (range(16), 2), ([*range(15), 17], 1)):
            self.copy(clusters, tag)
            with self.assertRaisesRegex(RuntimeError, 'compare'):
                self.images.verify()

    def test_a_damaged_image_does_not(self):
        self.copy(range(16))
        with open(self.images.path('target'), 'r+b') as image:
            image.seek(2 * CLUSTER + 10)  # a refcount
            image.write(bytes(2))
        with self.assertRaisesRegex(RuntimeError, 'check'):
            self.images.verify()

    def written(self, *blocks, guest):
        self.copy(range(16))
        with open(self.images.path('target'), 'r+b') as image:
            for at, byte in blocks:  # data begin in the image's sixth cluster
                image.seek(5 * CLUSTER + at)
                image.write(bytes([byte]) * 4096)
        self.images.verify_written(self.images.path('target'), self.images.plan.tops[0], guest)

    def test_what_a_guest_wrote_is_there(self):
        self.written((8192, 0xa7), guest=Guest(8192))
        self.written((8192, 0xa7), guest=Guest())  # not answered when the guest ended

    def test_a_lost_write_is_found(self):
        with self.assertRaisesRegex(RuntimeError, 'at 4096: a write is lost'):
            self.written((8192, 0xa7), guest=Guest(8192, 4096))

    def test_bytes_of_nobody_are_found(self):
        with self.assertRaisesRegex(RuntimeError, 'at 12288: something else'):
            self.written((12288, random.Random(1).randrange(1, 100)), guest=Guest())

    def test_what_a_run_writes_is_made_anew_and_the_rest_is_kept(self):
        source = self.images.path(self.images.plan.tops[0])
        before = source.stat().st_mtime_ns
        self.copy(range(16))
        self.images.reset()
        self.assertEqual(source.stat().st_mtime_ns, before)
        with self.assertRaises(RuntimeError):
            self.images.verify()  # the target is empty again
        self.images.spoil()
        self.images.reset()
        self.assertNotEqual(source.stat().st_mtime_ns, before)


if __name__ == '__main__':
    unittest.main()
