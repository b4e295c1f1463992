"""query-blockstats: what was read and written, and what requests took in the last so many seconds
(stats-intervals)."""

import collections

from support.case import Case, QmpClosed
from support.images import MIB

NAMES = {'interval_length', 'avg_rd_queue_depth', 'avg_wr_queue_depth',
         *(f'{which}_{what}_latency_ns' for which in ('min', 'max', 'avg')
           for what in ('rd', 'wr', 'flush'))}


class Intervals(Case):
    def setUp(self):
        super().setUp()
        self.path = self.images.create('x.img', MIB)

    def timed(self):
        (drive,) = self.vm.command('query-blockstats')
        return drive['stats']['timed_stats']

    def test_none_unless_they_are_asked_for(self):
        self.vm.drive(self.path).launch()
        self.assertEqual(self.timed(), [])

    def test_each_counts_for_itself(self):
        self.vm.drive(self.path, 'stats-intervals.0=3600,stats-intervals.1=7200').launch()
        for interval, seconds in zip(self.timed(), (3600, 7200)):
            self.assertEqual(set(interval), NAMES)
            self.assertEqual({name: value for name, value in interval.items() if value},
                             {'interval_length': seconds})
        for command in ('aio_write 0 64K', 'aio_write 64K 64K', 'aio_flush'):
            self.vm.io('drive0', command)
        for interval in self.timed():
            self.assertLess(0, interval['min_wr_latency_ns'])
            self.assertLessEqual(interval['min_wr_latency_ns'], interval['avg_wr_latency_ns'])
            self.assertLessEqual(interval['avg_wr_latency_ns'], interval['max_wr_latency_ns'])
            self.assertLess(0, interval['avg_wr_queue_depth'])
            self.assertEqual(interval['max_rd_latency_ns'], 0)

    def test_lengths_that_are_none(self):
        for text, refusal in (('stats-intervals.0=0', 'Invalid interval length: 0'),
                              ('stats-intervals.0=x', 'Invalid interval length: x'),
                              ('stats-intervals.x=1', 'Invalid option stats-intervals.x'),
                              ('stats-intervals=60', "Block format 'qcow2' does not support the "
                               "option 'stats-intervals'")):
            with self.subTest(text=text):
                vm = self.machine()
                with self.assertRaises((QmpClosed, OSError)):
                    vm.drive(self.path, text).launch()
                self.assertEqual(vm.wait_exit(), 1)
                self.assertIn(refusal, vm.errors())


class Counters(Case):
    COUNTED = ('rd_operations', 'rd_bytes', 'wr_operations', 'wr_bytes', 'flush_operations',
               'unmap_operations', 'unmap_bytes', 'failed_rd_operations', 'failed_wr_operations',
               'invalid_rd_operations', 'wr_highest_offset')

    def counted(self):
        (drive,) = self.vm.command('query-blockstats')
        return {name: drive['stats'][name] for name in self.COUNTED if drive['stats'][name]}

    def test_known_requests(self):
        """Of qemu-io's requests those that are a guest's count, and writes by how far they reach."""
        self.vm.drive(self.images.create('x.img', MIB)).launch()
        self.assertEqual(self.counted(), {})
        expected = collections.Counter()
        for command, added, highest in (
                ('write 0 64K', {}, 65536),
                ('write 64K 4K', {}, 69632),
                ('read 0 32K', {}, 69632),
                ('aio_write 128K 64K', {'wr_operations': 1, 'wr_bytes': 65536}, 196608),
                ('aio_read 0 4K', {'rd_operations': 1, 'rd_bytes': 4096}, 196608),
                ('aio_write 0 512', {'wr_operations': 1, 'wr_bytes': 512}, 196608),
                ('aio_read 512 1K', {'rd_operations': 1, 'rd_bytes': 1024}, 196608)):
            self.vm.io('drive0', command)
            self.vm.io('drive0', 'aio_flush')
            expected += collections.Counter(added) + collections.Counter(flush_operations=1)
            with self.subTest(command=command):
                self.assertEqual(self.counted(), {**expected, 'wr_highest_offset': highest})
