"""drive-mirror: how much there is to do; errors of the source and of the target, whose names go
through blkdebug; what unmap does to the target."""

import os

from support.case import Case
from support.images import MIB

SECTOR = 65536 // 512
CONFIG = '''
[inject-error]
state = "1"
event = "{event}"
errno = "5"
immediately = "off"
once = "on"
sector = "{sector}"

[set-state]
state = "1"
event = "{event}"
new_state = "2"

[set-state]
state = "2"
event = "{event}"
new_state = "1"
'''


class Errors(Case):
    def configure(self, event, sector):
        path = self.images.path('blkdebug.conf')
        with open(path, 'w', encoding='ascii') as file:
            file.write(CONFIG.format(event=event, sector=sector))
        return path

    def completed(self):
        data = self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED', device='drive0')['data']
        self.wait_gone()
        return data

    def assert_error(self, operation, action):
        self.assertEqual(self.vm.qmp.wait_event('BLOCK_JOB_ERROR')['data'],
                         {'device': 'drive0', 'operation': operation, 'action': action})

    def wait_gone(self):
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id='drive0', status='null')
        self.assertEqual(self.jobs(), [])

    def complete(self):
        self.wait_ready(kind='mirror')
        self.vm.command('block-job-complete', device='drive0')
        self.assertNotIn('error', self.completed())


class SourceErrors(Errors):
    def start(self, policy, **options):
        self.images.create('backing.img', 2 * MIB, 'raw')
        self.images.io('backing.img', 'write -P 1 0 2M', image_format='raw')
        config = self.configure('read_aio', SECTOR)
        self.images.create('test.img', backing=f'blkdebug:{config}:{self.images.path("backing.img")}',
                           backing_format='raw')
        self.vm.drive(self.images.path('test.img'), interface='none').launch()
        self.vm.command('drive-mirror', device='drive0', sync='full', format='raw',
                        target=self.images.path('target.img'), on_source_error=policy, **options)

    def test_report(self):
        self.start('report')
        self.assert_error('read', 'report')
        self.assertEqual(self.completed()['error'], 'Input/output error')

    def test_ignore(self):
        self.start('ignore')
        self.assert_error('read', 'ignore')
        self.complete()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 1, 0, 2 * MIB, 'raw'))

    def test_stop(self):
        self.start('stop')
        self.assert_error('read', 'stop')
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id='drive0', status='paused')
        job = self.job()
        self.assertTrue(job['paused'])
        self.assertEqual(job['io-status'], 'failed')
        self.vm.command('block-job-resume', device='drive0')
        self.complete()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 1, 0, 2 * MIB, 'raw'))


class Progress(Case):
    def test_to_a_new_image_only_what_the_source_has_is_work(self):
        source = self.images.create('source.img', 8 * MIB)
        self.images.io('source.img', 'write -P 1 2M 1M')
        self.vm.drive(source, interface='none').launch()
        self.vm.command('drive-mirror', device='drive0', sync='full',
                        target=self.images.path('target.img'))
        told = self.wait_ready(kind='mirror')
        self.assertEqual((told['offset'], told['len']), (MIB, MIB))


class TargetErrors(Errors):
    def start(self, policy):
        source = self.images.create('source.img', 2 * MIB)
        self.images.io('source.img', 'write -P 1 0 2M')
        self.images.create('target.img', 2 * MIB, 'raw')
        config = self.configure('pwritev', SECTOR)
        self.vm.drive(source, interface='none').launch()
        self.vm.command('drive-mirror', device='drive0', sync='full', mode='existing', format='raw',
                        target=f'blkdebug:{config}:{self.images.path("target.img")}',
                        on_target_error=policy)

    def test_report(self):
        self.start('report')
        self.assert_error('write', 'report')
        self.assertEqual(self.completed()['error'], 'Input/output error')

    def test_ignore(self):
        self.start('ignore')
        self.assert_error('write', 'ignore')
        self.complete()

    def test_stop(self):
        self.start('stop')
        self.assert_error('write', 'stop')
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id='drive0', status='paused')
        self.assertEqual(self.job()['io-status'], 'failed')
        self.vm.command('block-job-resume', device='drive0')
        self.complete()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 1, 0, 2 * MIB, 'raw'))


class Unmap(Case):
    """What the zeroes of the source become in a target that was full: holes, or zeroes with space.

    The source has a MiB of data, a MiB of zero clusters and two MiB of nothing.
    """

    def setUp(self):
        super().setUp()
        self.images.create('source.img', 4 * MIB)
        self.images.io('source.img', 'write -P 1 0 1M', 'write -z 1M 1M')
        self.target = self.images.create('target.img', 4 * MIB, 'raw')
        self.images.io('target.img', 'write -P 9 0 4M', image_format='raw')
        self.vm.drive(self.images.path('source.img'), 'discard=unmap').launch()

    def kept(self):
        """How much space the target takes on the host, in MiB; a file system's own is not much."""
        return round(os.stat(self.target).st_blocks * 512 / MIB)

    def mirror_with(self, **options):
        self.assertEqual(self.kept(), 4)
        self.vm.command('drive-mirror', device='drive0', sync='full', mode='existing', format='raw',
                        target=self.target, **options)
        self.wait_ready(kind='mirror')

    def end_mirror(self):
        self.vm.command('block-job-complete', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 1, 0, MIB, 'raw'))
        self.assertTrue(self.images.holds('target.img', 0, MIB, 3 * MIB, 'raw'))

    def test_zeroes_become_holes(self):
        for options in ({}, {'unmap': True}):
            with self.subTest(options=options):
                self.mirror_with(**options)
                self.assertEqual(self.kept(), 1)
                self.assertEqual(self.cancel(force=True)['event'], 'BLOCK_JOB_CANCELLED')
                self.images.io('target.img', 'write -P 9 0 4M', image_format='raw')
        self.mirror_with()
        self.end_mirror()

    def test_zeroes_keep_their_space_without_it(self):
        self.mirror_with(unmap=False)
        self.assertEqual(self.kept(), 4)
        self.end_mirror()

    def test_what_a_guest_zeroes_while_it_runs(self):
        for unmap, kept in ((True, 2), (False, 4)):
            with self.subTest(unmap=unmap):
                self.mirror_with(unmap=unmap)
                self.vm.io('drive0', 'write -P 2 2M 2M')
                self.vm.io('drive0', 'write -z -u 3M 1M')
                self.vm.command('block-job-cancel', device='drive0')
                self.wait_ended()
                self.assertEqual(self.kept(), kept)
                self.images.io('target.img', 'write -P 9 0 4M', image_format='raw')
