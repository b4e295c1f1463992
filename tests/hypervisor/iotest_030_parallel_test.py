"""QEMU's iotest 030, section B: several jobs at once on one chain."""

from support.case import Case
from support.images import MIB

IMAGES = 4  # pairs of an even image and an odd one above it, counted from the top
BUSY = "Node '{}' is busy: block device is in use by block job: {}"


class Parallel(Case):
    """img-0 (raw) <- … <- img-8; nodes node0 … node8; node8 is drive0's. 16 M.

    Counted from the top the odd-numbered images hold data: 2 M and 4 M of 0xFF in turn, at steps
    of 4 M; so each even image shows what the odd one below it holds.
    """

    last = 2 * IMAGES

    def setUp(self):
        super().setUp()
        self.paths = [self.images.create('img-0', 16 * MIB, 'raw')]
        for i in range(1, self.last + 1):
            self.paths.append(self.images.create(
                f'img-{i}', backing=self.paths[-1], backing_format='raw' if i == 1 else 'qcow2'))
        for number, i in enumerate(range(self.last - 1, 0, -2)):
            length = (2 + 2 * (number % 2)) * MIB
            self.images.io(f'img-{i}', f'write -P 0xFF {number * 4 * MIB} {length}')
        nodes = [f'node-name=node{self.last}']
        prefix = 'backing.'
        for i in range(self.last - 1, -1, -1):
            nodes.append(f'{prefix}node-name=node{i}')
            prefix += 'backing.'
        self.vm.drive(self.paths[-1], ','.join(nodes)).launch()

    def image(self, name):
        return self.images.map(name, 'raw' if name == 'img-0' else 'qcow2')

    def unlimited(self, *idents):
        for ident in idents:
            self.vm.command('block-job-set-speed', device=ident, speed=0)

    def wait_all_ended(self, *idents):
        """All of them end well, in whatever order."""
        for ident in idents:
            self.wait_ended(ident)
        self.assert_no_job()

    def test_stream_parallel(self):
        self.assert_no_job()
        # Before the streams no even image shows what the one below it holds.
        held = [self.unlocked_map(i) for i in range(self.last + 1)]
        for i in range(2, self.last + 1, 2):
            self.assertNotEqual(held[i], held[i - 1])
        idents = []
        for i in range(2, self.last + 1, 2):
            idents.append(f'stream-node{i}')
            self.vm.command('block-stream', device=f'node{i}', job_id=idents[-1],
                            bottom=f'node{i - 1}', speed=1024)
        self.unlimited(*reversed(idents))
        self.wait_all_ended(*idents)
        self.assertEqual(self.vm.quit(), 0)
        for i in range(2, self.last + 1, 2):
            self.assertEqual(self.image(f'img-{i}'), self.image(f'img-{i - 1}'))

    def unlocked_map(self, i):
        return self.images.run('qemu-io', '-U', '-r', '-f', 'raw' if i == 0 else 'qcow2', '-c',
                               'map', self.paths[i])

    def test_overlapping_1(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='node4', job_id='stream-node4', base=self.paths[1],
                        filter_node_name='stream-filter', speed=MIB)
        for busy, name, arguments in (
                ('stream-filter', 'block-stream', dict(device='node5', base=self.paths[2])),
                ('node3', 'block-stream', dict(device='node3', base=self.paths[2])),
                ('node4', 'block-stream', dict(device='node4')),
                ('stream-filter', 'block-commit', dict(device='drive0', base=self.paths[4])),
                ('node3', 'block-commit', dict(device='drive0', top=self.paths[3],
                                               base=self.paths[1])),
                # This one would have to rewrite the backing file string in node2.
                ('node2', 'block-commit', dict(device='drive0', top=self.paths[1],
                                               base=self.paths[0]))):
            with self.subTest(busy=busy, name=name):
                self.assert_refused(BUSY.format(busy, 'stream'), name, job_id='another',
                                    **arguments)
        self.unlimited('stream-node4')
        self.wait_all_ended('stream-node4')

    def test_overlapping_2(self):
        self.assert_no_job()
        self.vm.command('block-commit', device='drive0', job_id='commit-node3', top=self.paths[5],
                        base=self.paths[3], speed=1024)
        for busy, arguments in (
                ('node3', dict(device='node3', job_id='stream-node3')),
                ('node5', dict(device='node6', base=self.paths[2], job_id='stream-node6')),
                ('node4', dict(device='node4', base=self.paths[2], job_id='stream-node4')),
                ('node5', dict(device='node6', base=self.paths[4], job_id='stream-node6-v2')),
                # A commit blocks the active layer too.
                ('drive0', dict(device='drive0', base=self.paths[5], job_id='stream-drive0'))):
            with self.subTest(busy=busy):
                self.assert_refused(BUSY.format(busy, 'commit'), 'block-stream', **arguments)
        self.unlimited('commit-node3')
        self.wait_all_ended('commit-node3')

    def test_overlapping_3(self):
        self.assert_no_job()
        self.vm.command('block-commit', device='drive0', job_id='commit-drive0',
                        base=self.paths[3], speed=1024)
        self.assert_refused(BUSY.format('node5', 'commit'), 'block-stream', device='node5',
                            job_id='stream-node6', base=self.paths[3])
        self.unlimited('commit-drive0')
        ready = self.vm.qmp.wait_event('BLOCK_JOB_READY')['data']
        self.assertEqual((ready['device'], ready['type']), ('commit-drive0', 'commit'))
        self.assertNotIn('error', ready)
        self.vm.command('block-job-complete', device='commit-drive0')
        self.wait_all_ended('commit-drive0')

    def test_overlapping_4(self):
        self.assert_no_job()
        self.vm.command('block-commit', device='drive0', job_id='commit-node0',
                        top=self.paths[2], base=self.paths[0], filter_node_name='commit-filter',
                        speed=1024)
        self.assert_refused("Cannot freeze 'backing' link to 'commit-filter'", 'block-stream',
                            device='node4', base_node='node2', job_id='node4')
        self.unlimited('commit-node0')
        self.wait_all_ended('commit-node0')

    def test_overlapping_5(self):
        self.assert_no_job()
        self.vm.command('block-commit', device='drive0', job_id='commit-node0',
                        top=self.paths[2], base=self.paths[0], filter_node_name='commit-filter',
                        speed=1024)
        # A stream does not own its base, so that may be another job's filter.
        self.vm.command('block-stream', device='node4', job_id='stream-node4',
                        base_node='commit-filter', speed=1024)
        self.assertEqual(self.backing_of('node4'), 'node3')
        self.unlimited('stream-node4', 'commit-node0')
        self.wait_all_ended('commit-node0', 'stream-node4')
        self.assertEqual(self.backing_of('node4'), 'node0')

    def test_stream_commit_1(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='node2', base_node='node0', job_id='node2')
        self.vm.command('block-commit', device='drive0', base=self.paths[3])
        ready = self.vm.qmp.wait_event('BLOCK_JOB_READY')['data']
        self.assertEqual((ready['device'], ready['type']), ('drive0', 'commit'))
        self.vm.command('block-job-complete', device='drive0')
        self.wait_all_ended('node2', 'drive0')

    def test_stream_commit_2(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='node4', base_node='node0', job_id='node4',
                        speed=MIB)
        self.vm.command('block-commit', device='drive0', base=self.paths[5], speed=MIB)
        self.unlimited('drive0', 'node4')
        self.complete('drive0')
        self.wait_ended('node4')
        self.assert_no_job()

    def test_stream_base_node_name(self):
        self.assert_no_job()
        for text, arguments in (
                ("Cannot find device='' nor node-name='none'", dict(base_node='none')),
                ("Node 'node6' is not a backing image of 'node4'", dict(base_node='node6')),
                ("Node 'node4' is not a backing image of 'node4'", dict(base_node='node4')),
                ("'base' and 'base-node' cannot be specified at the same time",
                 dict(base=self.paths[2], base_node='node2'))):
            self.assert_refused(text, 'block-stream', device='node4', job_id='stream', **arguments)
        self.vm.command('block-stream', device='node4', base_node='node2', job_id='stream')
        self.wait_all_ended('stream')
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.image('img-4'), self.image('img-3'))
