"""`commit` of the human monitor: content goes one image down, and the image above is empty."""

import array
import fcntl
import json
import signal
import termios

from support.case import Case
from support.images import KIB, MIB

GIB = 1024 * MIB


class HumanCommit(Case):
    """b.img <- m.img <- t.img, which is drive0 of a guest."""

    def make(self, top_size=None, **options):
        base = self.images.create('b.img', MIB)
        mid = self.images.create('m.img', backing=base)
        top = self.images.create('t.img', top_size, backing=mid)
        self.images.io('b.img', 'write -P 1 0 256K')
        self.images.io('m.img', 'write -P 2 64K 256K')
        self.images.io('t.img', 'write -P 3 128K 64K')
        self.images.io('t.img', 'write -z 256K 64K')
        self.images.io('t.img', 'write -P 4 512K 1K')
        self.vm.drive(top, **options)
        return top

    def commit(self, name):
        return self.vm.hmp(f'commit {name}')

    def allocated(self, name):
        told = json.loads(self.images.run('qemu-img', 'map', '--output=json',
                                          self.images.path(name)))
        return sum(run['length'] for run in told if run['depth'] == 0 and run['present'])

    def unread_bytes(self):
        """Of what the daemon has been sent."""
        count = array.array('i', [0])
        fcntl.ioctl(self.vm.qmp._socket, termios.TIOCOUTQ, count)
        return count[0]

    def check_content(self):
        for pattern, offset, length in ((1, 0, 64), (2, 64, 64), (3, 128, 64), (2, 192, 64),
                                        (0, 256, 64), (4, 512, 1), (0, 513, 511)):
            self.assertTrue(self.images.holds('t.img', pattern, offset * KIB, length * KIB))
            self.assertTrue(self.images.holds('m.img', pattern, offset * KIB, length * KIB))

    def test_moves_all_and_leaves_the_top_empty(self):
        for name in ('drive0', 'all'):
            with self.subTest(name=name):
                self.make()
                self.vm.launch()
                for _ in range(2):
                    self.assertEqual(self.commit(name), '')
                    self.assertTrue(self.shows('drive0', 3, 128 * KIB, 64 * KIB))
                self.assertEqual(self.vm.quit(), 0)
                self.assertEqual(self.allocated('t.img'), 0)
                self.assertEqual(self.images.backing_name('t.img'), self.images.path('m.img'))
                self.check_content()
                self.images.check('t.img')
                self.images.check('m.img')
                self.vm = self.machine()

    def test_what_is_written_afterwards_is_in_the_top(self):
        self.make(options='backing.node-name=m')
        self.vm.launch()
        self.assertEqual(self.commit('drive0'), '')
        self.vm.io('drive0', 'write -P 7 768K 64K')
        nodes = {node['node-name']: node for node in self.vm.command('query-named-block-nodes')}
        self.assertTrue(nodes['m']['ro'])
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('t.img', 7, 768 * KIB, 64 * KIB))
        self.assertTrue(self.images.holds('m.img', 0, 768 * KIB, 64 * KIB))
        self.assertEqual(self.allocated('t.img'), 64 * KIB)

    def test_a_shorter_backing_grows(self):
        self.make(2 * MIB)
        self.vm.launch()
        self.vm.io('drive0', 'write -P 6 1536K 64K')
        self.assertEqual(self.commit('drive0'), '')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('m.img', 6, 1536 * KIB, 64 * KIB))
        self.assertEqual(self.allocated('t.img'), 0)

    def test_a_longer_backing_stays_as_long(self):
        self.make(512 * KIB + 64 * KIB)
        self.images.io('m.img', 'write -P 8 768K 64K')
        self.vm.launch()
        self.assertEqual(self.commit('drive0'), '')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('m.img', 8, 768 * KIB, 64 * KIB))
        self.assertTrue(self.images.holds('m.img', 4, 512 * KIB, KIB))
        self.assertEqual(self.allocated('t.img'), 0)

    def test_snapshots_in_the_top_keep_what_they_have(self):
        self.make()
        self.images.run('qemu-img', 'snapshot', '-c', 's', self.images.path('t.img'))
        self.images.io('t.img', 'write -P 9 0 64K')
        self.vm.launch()
        self.assertEqual(self.commit('drive0'), '')
        self.assertEqual(self.vm.quit(), 0)
        self.images.check('t.img')
        self.assertTrue(self.images.holds('m.img', 9, 0, 64 * KIB))
        self.images.run('qemu-img', 'snapshot', '-a', 's', self.images.path('t.img'))
        self.assertTrue(self.images.holds('t.img', 3, 128 * KIB, 64 * KIB))

    def test_a_signal_does_not_wait_for_all_of_it(self):
        top = self.images.create('t.img', 4 * GIB)
        for i in range(4):
            self.images.io('t.img', f'write -z {i}G 1G')
        self.vm.blockdev(f'null-co,node-name=slow,size={4 * GIB},latency-ns={10 ** 9}')
        self.vm.drive(top, options='backing=slow').launch()
        self.vm.qmp.send(b'{"execute": "human-monitor-command",'
                         b' "arguments": {"command-line": "commit drive0"}}')
        while self.unread_bytes():
            pass
        self.vm.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.vm.wait_exit(), 0)
        self.images.check('t.img')

    def test_refusals(self):
        self.make(options='backing.node-name=m')
        base = self.images.create('single.img', MIB)
        self.vm.drive(base, interface='none').raw_drive('if=none,id=empty')
        self.vm.blockdev(f'null-co,node-name=n,size={MIB}').launch()
        self.assertEqual(self.commit('none'), "Device 'none' not found\r\n")
        self.assertEqual(self.commit('n'), "Device 'n' not found\r\n")
        self.assertEqual(self.commit('empty'), "Device 'empty' has no medium\r\n")
        self.assertEqual(self.commit('drive1'),
                         "'commit' error for 'drive1': Operation not supported\r\n")
        self.assertEqual(self.commit(''), 'commit: block device name expected\r\n'
                         'Try "help commit" for more information\r\n')
        busy = "'commit' error for '{}': Device or resource busy\r\n"
        for command, arguments in (
                ('block-stream', {'device': 'drive0'}),
                ('block-commit', {'device': 'drive0', 'top_node': 'm'}),
                ('blockdev-mirror', {'device': 'drive0', 'target': 'n', 'sync': 'full'})):
            with self.subTest(command=command):
                self.vm.command(command, job_id='job', speed=1, **arguments)
                self.assertEqual(self.commit('drive0'), busy.format('drive0'))
                self.assertEqual(self.commit('all'), busy.format('all'))
                self.vm.command('block-job-cancel', device='job', force=True)
                self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED')
                self.wait_status('job', 'null')

    def test_a_user_of_the_backing_who_does_not_let_it_be_written(self):
        self.make()
        self.vm.drive(self.images.path('m.img'), 'read-only=on', interface='none')
        self.vm.launch()
        self.assertEqual(self.commit('drive0'),
                         "'commit' error for 'drive0': Permission denied\r\n")
        self.assertEqual(self.vm.quit(), 0)
        self.assertGreater(self.allocated('t.img'), 0)
