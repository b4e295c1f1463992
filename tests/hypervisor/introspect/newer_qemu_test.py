"""What QEMU has had only since versions after 7.2, whose cases are these therefore: only millraced."""

import unittest

from support.case import Case
from support.images import MIB


class MirrorsThatChange(Case):
    def setUp(self):
        super().setUp()
        self.top = self.images.create('top.img', MIB)
        self.images.io('top.img', 'write -P 1 0 512K')
        self.images.create('target.img', MIB)
        self.vm.drive(self.top).blockdev({
            'driver': 'qcow2', 'node-name': 'target',
            'file': {'driver': 'file', 'filename': self.images.path('target.img')}})
        self.vm.launch()

    def mirror(self, **options):
        self.vm.command('blockdev-mirror', device='drive0', target='target', job_id='mirror',
                        **{'sync': 'full', **options})

    def change(self, mode):
        self.vm.command('block-job-change', id='mirror', type='mirror', copy_mode=mode)

    def is_synced(self):
        return self.job('mirror')['actively-synced']

    def test_to_write_blocking_while_it_copies(self):
        self.mirror(speed=65536)
        self.assertIs(self.is_synced(), False)
        self.change('background')
        self.change('write-blocking')
        self.assertIs(self.is_synced(), False)
        self.vm.io('drive0', 'write -P 2 0 64K')
        self.vm.command('block-job-set-speed', device='mirror', speed=0)
        self.wait_ready('mirror', 'mirror')
        self.assertIs(self.is_synced(), True)
        self.vm.io('drive0', 'write -P 3 960K 64K')
        self.assertIs(self.is_synced(), True)
        self.change('write-blocking')
        self.assert_refused("Change to copy mode 'background' is not implemented",
                            'block-job-change', id='mirror', type='mirror',
                            copy_mode='background')
        self.assertNotIn('x-millrace-actively-synced', self.vm.command('query-jobs')[0])
        # By force, so nothing is made good any more: it is there already.
        self.cancel('mirror', force=True)
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 2, 0, 65536))
        self.assertTrue(self.images.holds('target.img', 3, 960 * 1024, 65536))

    def test_to_write_blocking_once_it_is_ready(self):
        self.mirror()
        self.wait_ready('mirror', 'mirror')
        self.assertIs(self.is_synced(), False)
        self.change('write-blocking')
        self.assertIs(self.is_synced(), True)

    def test_refusals(self):
        change = 'block-job-change'
        self.assert_refused("Block job 'none' not found", change, 'DeviceNotActive', id='none',
                            type='mirror', copy_mode='write-blocking')
        self.assert_refused("Parameter 'copy-mode' is missing", change, id='none', type='mirror')
        self.assert_refused("Parameter 'type' is missing", change, id='none')
        self.assert_refused("Parameter 'type' does not accept value 'x'", change, id='none',
                            type='x')
        self.assert_refused("Parameter 'copy-mode' is unexpected", change, id='none',
                            type='stream', copy_mode='background')
        self.mirror(speed=65536)
        self.assert_refused("Parameter 'copy-mode' does not accept value 'x'", change, id='mirror',
                            type='mirror', copy_mode='x')
        self.assert_refused('Job type does not support change', change, id='mirror', type='stream')
        self.vm.command('block-job-cancel', device='mirror', force=True)

    def test_other_jobs_do_not_change(self):
        self.vm.command('blockdev-snapshot-sync', device='drive0',
                        snapshot_file=self.images.path('more.img'), format='qcow2')
        self.vm.command('block-commit', device='drive0', job_id='commit')
        self.wait_ready('commit')
        self.assertNotIn('actively-synced', self.job('commit'))
        self.assert_refused('Job type does not support change', 'block-job-change', id='commit',
                            type='mirror', copy_mode='write-blocking')

    def test_a_target_that_is_zero_is_not_zeroed(self):
        self.vm.io('target', 'write -P 9 768K 64K')
        self.mirror(target_is_zero=True)
        self.wait_ready('mirror', 'mirror')
        self.cancel('mirror')
        self.assertTrue(self.shows('target', 9, 768 * 1024, 65536))
        self.mirror()
        self.wait_ready('mirror', 'mirror')
        self.cancel('mirror')
        self.assertTrue(self.shows('target', 0, 768 * 1024, 65536))
        self.assertTrue(self.shows('target', 1, 0, 524288))


if __name__ == '__main__':
    unittest.main()
