"""Throttle groups, held I/O and blkdebug: its break points, and its rules from a file."""

import time

from support.case import Case
from support.images import MIB


class Throttle(Case):
    """Limits are checked by what is told about them, not by the clock."""

    def test_limits_of_a_drive_are_told(self):
        path = self.images.create('a.img', MIB)
        self.vm.drive(path, 'throttling.bps-total=1000000,throttling.iops-read=10,'
                      'throttling.iops-read-max=20').launch()
        (drive,) = self.vm.command('query-block')
        inserted = drive['inserted']
        self.assertEqual((inserted['bps'], inserted['iops_rd'], inserted['iops_rd_max'],
                          inserted['bps_rd']), (1000000, 10, 20, 0))
        self.assertEqual(inserted['group'], 'drive0')

    def test_a_filter_over_a_group(self):
        path = self.images.create('a.img', MIB)
        self.vm.object('throttle-group,id=g0,x-bps-total=100000000')
        self.vm.drive(options='driver=throttle,throttle-group=g0,node-name=thr,file.driver=qcow2,'
                      f'file.node-name=fmt,file.file.driver=file,file.file.filename={path}').launch()
        self.assertEqual(self.child_of('thr', 'file'), 'fmt')
        self.vm.io('drive0', 'write -P 3 0 64K')
        self.assert_refused("object 'g0' is in use, can not be deleted", 'object-del', id='g0')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 3, 0, 65536))

    def test_a_group_may_go_after_its_last_user(self):
        self.vm.launch()
        self.vm.command('object-add', qom_type='throttle-group', id='g')
        self.vm.command('blockdev-add', driver='throttle', node_name='t', throttle_group='g',
                        file={'driver': 'null-co', 'size': MIB, 'read-zeroes': True})
        self.assert_refused("object 'g' is in use, can not be deleted", 'object-del', id='g')
        self.vm.command('blockdev-del', node_name='t')
        self.vm.command('object-del', id='g')


class Held(Case):
    """What a limit of a byte per second holds back: the first request passes, and is to be paid for
    before the next one does."""

    def setUp(self):
        super().setUp()
        self.path = self.images.create('a.img', 4 * MIB)
        self.vm.object('throttle-group,id=g0,x-bps-write=1')

    def set_limits(self, **limits):
        self.vm.command('qom-set', path='/objects/g0', property='limits', value=limits)

    def wrote(self):
        return self.vm.output().count('wrote 65536/65536 bytes')

    def wait_wrote(self, count):
        """No event tells of it, and aio_flush would let go of all that is held."""
        deadline = time.monotonic() + 60
        while self.wrote() != count and time.monotonic() < deadline:
            self.vm.command('query-status')
        self.assertEqual(self.wrote(), count)

    def write_twice(self, drive='drive0'):
        """Two writes; a read, which has no limit, is served after them."""
        self.vm.io(drive, 'write -P 1 0 64K')
        self.vm.io(drive, 'aio_write -P 2 64K 64K')
        for _ in range(20):
            self.assertTrue(self.shows(drive, 1, 0, 65536))
        self.assertEqual(self.wrote(), 1)

    def launch_filter(self):
        self.vm.drive(options='driver=throttle,throttle-group=g0,node-name=thr,file.driver=qcow2,'
                      f'file.file.driver=file,file.file.filename={self.path}').launch()

    def test_a_request_waits_until_its_limit_is_lifted(self):
        self.launch_filter()
        self.write_twice()
        self.set_limits(**{'bps-write': 0})
        self.wait_wrote(2)
        self.vm.io('drive0', 'write -P 3 128K 64K')
        self.vm.io('drive0', 'write -P 3 192K 64K')
        self.assertEqual(self.wrote(), 4)

    def test_what_waits_is_let_go_at_the_end(self):
        self.launch_filter()
        self.write_twice()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.wrote(), 2)
        self.assertTrue(self.images.holds('a.img', 2, 65536, 65536))

    def test_limits_of_requests_and_of_both_directions(self):
        """Of a burst of 2048 requests, of 64 bytes as they are counted, 64 KiB are half. What is over
        it waits for 1024 seconds; with twice the burst, or half of it, another number would pass."""
        self.launch_filter()
        self.set_limits(**{'bps-write': 0, 'iops-total': 1, 'iops-total-max': 2048, 'iops-size': 64})
        self.vm.io('drive0', 'aio_write -P 1 0 64K')
        self.vm.io('drive0', 'aio_read 0 64K')
        self.vm.io('drive0', 'aio_write -P 1 64K 64K')  # the burst is over with this one
        self.vm.io('drive0', 'aio_write -P 1 128K 64K')
        self.wait_wrote(2)
        for _ in range(20):
            self.vm.command('query-status')
        self.assertEqual(self.wrote(), 2)
        self.set_limits(**{'iops-total': 0, 'iops-total-max': 0, 'iops-size': 0})
        self.wait_wrote(3)

    def test_a_drive_waits_for_its_own_limit(self):
        self.vm.drive(self.path, 'throttling.bps-write=1').launch()
        self.write_twice()
        self.vm.qmp.execute('block_set_io_throttle', {
            'device': 'drive0', **dict.fromkeys(('bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd',
                                                 'iops_wr'), 0)})
        self.wait_wrote(2)

    def test_members_of_a_group_share_its_limit(self):
        other = self.images.create('b.img', 4 * MIB)
        self.launch_filter()
        self.vm.command('blockdev-add', driver='throttle', node_name='other', throttle_group='g0',
                        file={'driver': 'qcow2', 'file': {'driver': 'file', 'filename': other}})
        self.vm.io('other', 'write -P 1 0 64K')
        self.vm.io('drive0', 'aio_write -P 2 0 64K')
        for _ in range(20):
            self.assertTrue(self.shows('other', 1, 0, 65536))
        self.assertEqual(self.wrote(), 1)
        self.set_limits(**{'bps-write': 0})
        self.wait_wrote(2)

    def test_a_job_waits_until_its_limit_is_lifted(self):
        source = self.images.create('source.img', 4 * MIB)
        self.images.io('source.img', 'write -P 5 0 4M')
        self.vm.drive(source).launch()
        self.vm.command('blockdev-add', driver='throttle', node_name='target', throttle_group='g0',
                        file={'driver': 'qcow2', 'file': {'driver': 'file', 'filename': self.path}})
        self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full',
                        job_id='m', buf_size=MIB)
        self.wait_status('m', 'running')
        for _ in range(200):
            self.assertEqual(self.job('m')['status'], 'running')
            self.assertLess(self.job('m')['offset'], 4 * MIB)
        self.set_limits(**{'bps-write': 0})
        self.complete('m', 'mirror')


class Breakpoints(Case):
    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.top = self.images.create('top.img', backing=self.base)
        self.vm.drive('blkdebug::' + self.top, 'node-name=top,backing.node-name=base').launch()

    def printed(self):
        return [line for line in self.vm.output().splitlines() if 'ops' not in line]

    def test_a_write_is_held_and_let_go(self):
        self.vm.io('drive0', 'break write_aio held')
        self.vm.io('drive0', 'aio_write -P 5 0 64K')
        self.vm.io('drive0', 'wait_break held')
        self.assertEqual(self.printed(), ["blkdebug: Suspended request 'held'"])
        self.vm.io('drive0', 'resume held')
        self.vm.io('drive0', 'aio_flush')
        self.assertEqual(self.printed(), ["blkdebug: Suspended request 'held'",
                                          "blkdebug: Resuming request 'held'",
                                          'wrote 65536/65536 bytes at offset 0'])

    def test_removing_a_break_point_lets_go(self):
        self.vm.io('drive0', 'break write_aio held')
        self.vm.io('drive0', 'aio_write -P 5 0 64K')
        self.vm.io('drive0', 'wait_break held')
        self.vm.io('drive0', 'remove_break held')
        self.vm.io('drive0', 'aio_flush')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('top.img', 5, 0, 65536))

    def test_wrong_events_and_tags(self):
        for command, text in (('break no_such_event x', 'Could not set breakpoint: '),
                              ('resume nobody', 'Could not resume request: '),
                              ('remove_break nobody', 'Could not remove breakpoint nobody: ')):
            with self.subTest(command=command):
                self.assertEqual(self.vm.io('drive0', command), '')
                self.assertTrue(self.printed()[-1].startswith(text), self.printed())

    def test_a_job_is_paused_only_when_its_request_is_let_go(self):
        self.vm.io('drive0', 'break write_aio held')
        self.vm.command('block-stream', device='drive0', job_id='job')
        self.vm.io('drive0', 'wait_break held')
        self.vm.command('job-pause', id='job')
        self.assertEqual(self.vm.command('query-jobs')[0]['status'], 'running')
        self.vm.io('drive0', 'remove_break held')
        self.wait_status('job', 'paused')
        self.vm.command('job-resume', id='job')
        self.wait_ended('job')

    def test_a_guest_s_write_beside_a_held_request_of_a_job(self):
        self.vm.io('drive0', 'break write_aio held')
        self.vm.command('block-stream', device='drive0', job_id='job')
        self.vm.io('drive0', 'wait_break held')
        self.vm.io('drive0', 'write -P 6 2M 64K')
        self.vm.io('drive0', 'remove_break held')
        self.wait_ended('job')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('top.img', 6, 2 * MIB, 65536))
        self.assertTrue(self.images.holds('top.img', 1, 0, 2 * MIB))


class Rules(Case):
    """`config` as an option of blkdebug names a file with rules, which go before those of options."""

    def setUp(self):
        super().setUp()
        self.images.create('a.img', MIB)
        self.config = self.folder / 'rules'
        self.config.write_text('[inject-error]\nevent = "write_aio"\nerrno = "28"\nonce = "on"\n')

    def failed(self, command):
        before = len(self.vm.output())
        self.vm.io('n', command)
        return self.vm.output()[before:]

    def check(self):
        self.vm.command('blockdev-add', driver='qcow2', node_name='n', file='debug')
        self.assertIn('write failed: No space left on device', self.failed('write 0 64K'))
        self.assertIn('wrote 65536/65536', self.failed('write 0 64K'))

    def test_of_a_blockdev(self):
        self.vm.blockdev({'driver': 'blkdebug', 'node-name': 'debug', 'config': str(self.config),
                          'image': {'driver': 'file', 'filename': self.images.path('a.img')}})
        self.vm.launch()
        self.check()

    def test_beside_rules_of_options(self):
        self.vm.launch()
        self.vm.qmp.execute('blockdev-add', {
            'driver': 'blkdebug', 'node-name': 'debug', 'config': str(self.config),
            'inject-error': [{'event': 'read_aio', 'errno': 5, 'once': True}],
            'image': {'driver': 'file', 'filename': self.images.path('a.img')}})
        self.check()
        self.assertIn('read failed: Input/output error', self.failed('read 0 64K'))

    def test_a_file_that_is_not_there_or_says_nonsense(self):
        self.vm.launch()
        for text in (None, '[inject-error]\nevent = "no-such"\n', '[no-such]\n'):
            path = self.folder / 'other'
            if text is not None:
                path.write_text(text)
            with self.subTest(text=text):
                reply = self.vm.qmp.execute('blockdev-add', {
                    'driver': 'blkdebug', 'node-name': 'debug', 'config': str(path),
                    'image': {'driver': 'null-co'}})
                self.assertIn('error', reply)
                self.assertNotIn('debug', self.named_nodes(flat=True))
