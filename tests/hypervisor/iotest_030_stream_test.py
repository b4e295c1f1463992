"""QEMU's iotest 030, sections A, C, D and F: streams of one drive."""

from support.case import Case
from support.images import GIB, KIB, MIB


class OneDrive(Case):
    """backing.img (raw, node base) <- mid.img (node mid) <- test.img (drive0, through blkdebug)."""

    def setUp(self):
        super().setUp()
        self.backing = self.images.create('backing.img', MIB, 'raw')
        self.mid = self.images.create('mid.img', backing=self.backing, backing_format='raw')
        self.top = self.images.create('test.img', backing=self.mid)
        self.images.io('backing.img', 'write -P 1 0 512', image_format='raw')
        self.images.io('mid.img', 'write -P 1 524288 512')
        self.vm.drive('blkdebug::' + self.top, 'backing.node-name=mid,backing.backing.node-name=base')
        self.vm.launch()

    def hold(self):
        """Keeps the drive's next read and write from going on."""
        for event in ('read_aio', 'write_aio'):
            self.assertEqual(self.vm.io('drive0', f'break {event} bp_drive0'), '')

    def release(self):
        self.assertEqual(self.vm.io('drive0', 'remove_break bp_drive0'), '')

    def test_stream(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.map('backing.img', 'raw'), self.images.map('test.img'))

    def test_stream_intermediate(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='mid', job_id='stream-mid')
        self.wait_ended('stream-mid')
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.map('backing.img', 'raw'), self.images.map('mid.img'))
        self.assertTrue(self.images.holds('test.img', 1, 0, 512))
        self.assertTrue(self.images.holds('test.img', 1, 524288, 512))

    def test_stream_pause(self):
        self.assert_no_job()
        self.hold()
        self.vm.command('block-stream', device='drive0')
        self.vm.command('block-job-pause', device='drive0')
        self.release()
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', timeout=3, id='drive0', status='paused')
        job = self.job()
        self.assertTrue(job['paused'])
        self.assertFalse(job['busy'])
        # A guest's requests pass meanwhile; the job does not use the time.
        for _ in range(20):
            self.vm.io('drive0', 'write -P 7 1000K 512')
            self.vm.io('drive0', 'flush')
        self.assertEqual(self.job()['offset'], job['offset'])
        self.vm.command('block-job-resume', device='drive0')
        self.wait_ended()
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('test.img', 1, 524288, 512))
        self.assertTrue(self.images.holds('test.img', 7, 1000 * KIB, 512))

    def test_stream_no_op(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='drive0', base=self.mid)
        self.wait_ended()
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.images.create('empty.img', MIB)
        self.assertEqual(self.images.map('test.img'), self.images.map('empty.img'))

    def test_stream_partial(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='drive0', base=self.backing)
        self.wait_ended()
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.map('test.img'), self.images.map('mid.img'))
        self.assertEqual(self.images.backing_name('test.img'), self.backing)

    def test_device_not_found(self):
        self.assert_refused("Cannot find device='nonexistent' nor node-name='nonexistent'",
                            'block-stream', device='nonexistent')

    def test_job_id_missing(self):
        self.assert_refused("Invalid job ID ''", 'block-stream', device='mid')

    def test_read_only(self):
        path = self.images.create('ro-top.img', MIB)
        self.vm.command('blockdev-add', driver='qcow2', node_name='ro-top', read_only=True,
                        file={'driver': 'file', 'filename': path, 'read-only': True},
                        backing='mid')
        self.assert_refused('Block node is read-only', 'block-stream', job_id='stream',
                            device='ro-top', base_node='base')
        self.vm.command('blockdev-del', node_name='ro-top')


class QuorumChild(Case):
    """Three qcow2 children node0…node2 below a quorum, each over a backing of its own."""

    def setUp(self):
        super().setUp()
        options = ['driver=quorum', 'vote-threshold=2']
        for i in range(3):
            below = self.images.create(f'below-{i}.img', MIB)
            self.images.io(f'below-{i}.img', 'write -P 0x55 0 1024')
            child = self.images.create(f'child-{i}.img', backing=below)
            options += [f'children.{i}.file.filename={child}', f'children.{i}.driver=qcow2',
                        f'children.{i}.node-name=node{i}']
        self.vm.drive(options=','.join(options))
        self.vm.launch()

    def test_stream_quorum(self):
        self.assert_no_job()
        self.vm.command('block-stream', device='node0', job_id='stream-node0')
        self.wait_ended('stream-node0')
        self.assert_no_job()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.map('child-0.img'), self.images.map('below-0.img'))


class SmallerBacking(Case):
    def test_stream(self):
        backing = self.images.create('backing.img', MIB)
        top = self.images.create('test.img', 2 * MIB, backing=backing)
        self.vm.drive(top).launch()
        self.assert_no_job()
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assert_no_job()


class CancelAndSpeed(Case):
    """An 8 G sparse image with 32 M below and 32 M on top."""

    def start(self):
        backing = self.images.create('backing.img', 8 * GIB, 'raw')
        self.images.io('backing.img', 'write -P 1 0 32M', image_format='raw')
        top = self.images.create('test.img', backing=backing, backing_format='raw')
        self.images.io('test.img', 'write -P 2 32M 32M')
        self.vm.drive('blkdebug::' + top).launch()

    def test_stream_stop(self):
        self.start()
        self.assert_no_job()
        self.vm.io('drive0', 'break read_aio bp_drive0')
        self.vm.command('block-stream', device='drive0')
        names = {event['event'] for event in self.vm.qmp.events()}
        self.assertLessEqual(names, {'JOB_STATUS_CHANGE'})
        self.vm.command('block-job-cancel', device='drive0')
        self.vm.io('drive0', 'remove_break bp_drive0')
        event = self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', device='drive0')
        self.assertEqual(event['event'], 'BLOCK_JOB_CANCELLED')
        self.assertEqual(event['data']['type'], 'stream')
        self.wait_status('drive0', 'null')
        self.assert_no_job()

    def test_set_speed(self):
        self.start()
        self.vm.io('drive0', 'break read_aio bp_drive0')
        self.vm.command('block-stream', device='drive0')
        self.assertEqual(self.job()['speed'], 0)
        self.vm.command('block-job-set-speed', device='drive0', speed=8 * MIB)
        self.assertEqual(self.job()['speed'], 8 * MIB)
        self.vm.command('block-job-cancel', device='drive0')
        self.vm.io('drive0', 'remove_break bp_drive0')
        self.wait_status('drive0', 'null')
        self.vm.io('drive0', 'break read_aio bp_drive0')
        self.vm.command('block-stream', device='drive0', speed=4 * MIB)
        self.assertEqual(self.job()['speed'], 4 * MIB)
        self.vm.command('block-job-cancel', device='drive0')
        self.vm.io('drive0', 'remove_break bp_drive0')
        self.wait_status('drive0', 'null')
        self.assert_no_job()

    def test_set_speed_invalid(self):
        self.start()
        text = "Parameter 'speed' expects a non-negative value"
        self.assert_refused(text, 'block-stream', device='drive0', speed=-1)
        self.assert_no_job()
        self.vm.io('drive0', 'break read_aio bp_drive0')
        self.vm.command('block-stream', device='drive0')
        self.assert_refused(text, 'block-job-set-speed', device='drive0', speed=-1)
        self.vm.command('block-job-cancel', device='drive0')
        self.vm.io('drive0', 'remove_break bp_drive0')
        self.wait_status('drive0', 'null')
