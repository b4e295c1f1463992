"""What QEMU has had only since versions after 7.2, whose cases are these therefore: only millraced."""

import json
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


class MaskedProtocols(Case):
    """base (a file, without a format) <- mid <- top."""

    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', MIB, image_format='raw')
        self.images.create('mid.img', backing=self.base, backing_format='raw')
        self.images.io('mid.img', 'write -P 1 0 64K')
        self.images.create('top.img', backing=self.images.path('mid.img'))
        self.vm.blockdev({'driver': 'file', 'node-name': 'base', 'filename': self.base})
        for name, below in (('mid', 'base'), ('top', 'mid')):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'backing': below, 'file': {
                'driver': 'file', 'filename': self.images.path(f'{name}.img')}})
        self.vm.launch()

    def format_in_header(self):
        self.assertEqual(self.vm.quit(), 0)
        told = json.loads(self.images.run('qemu-img', 'info', '-U', '--output=json',
                                          self.images.path('top.img')))
        self.assertEqual(told['backing-filename'], self.base)
        return told['backing-filename-format']

    def run_stream(self, **options):
        self.vm.command('block-stream', device='top', base_node='base', job_id='j', **options)
        self.wait_ended('j')
        return self.format_in_header()

    def run_commit(self, **options):
        self.vm.command('block-commit', device='top', top_node='mid', base_node='base',
                        job_id='j', **options)
        self.wait_ended('j')
        return self.format_in_header()

    def test_stream(self):
        self.assertEqual(self.run_stream(backing_mask_protocol=True), 'raw')

    def test_stream_without(self):
        self.assertEqual(self.run_stream(), 'file')

    def test_commit(self):
        self.assertEqual(self.run_commit(backing_mask_protocol=True), 'raw')

    def test_commit_without(self):
        self.assertEqual(self.run_commit(backing_mask_protocol=False), 'file')


if __name__ == '__main__':
    unittest.main()
