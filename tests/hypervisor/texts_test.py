"""Refusals that clients match on, word by word, and that no other case forces."""

import unittest

from support.case import BACKEND, Case
from support.images import MIB

needs_drives = unittest.skipUnless(BACKEND.has_devices, 'it has no drives and devices')


class Texts(Case):
    """top (drive0) <- n2 <- n1 <- n0, and what a case adds beside them."""

    def setUp(self):
        super().setUp()
        names = ('n0.img', 'n1.img', 'n2.img', 'top.img')
        self.paths = self.images.chain(*names, size=4 * MIB)
        for i, name in enumerate(names):
            self.images.io(name, f'write -P {i + 1} {i}M 1M')
        options, prefix = 'node-name=top', 'backing.'
        for i in (2, 1, 0):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        self.vm.object('throttle-group,id=group')
        self.vm.drive(self.paths[-1], options).launch()

    def add(self, name, size=4 * MIB, driver='qcow2', **options):
        """A node over an image of its own."""
        path = self.images.create(f'{name}.img', size, driver)
        self.vm.command('blockdev-add', driver=driver, node_name=name,
                        file={'driver': 'file', 'filename': path}, **options)
        return name

    def throttle(self, name, file):
        self.vm.command('blockdev-add', driver='throttle', node_name=name, throttle_group='group',
                        file=file)
        return name

    # ---- Names -----------------------------------------------------------------------------------

    def test_node_names(self):
        for name, text in (('n' * 32, 'Node name too long'),
                           ('drive0', 'node-name=drive0 is conflicting with a device id'),
                           ('n1', "Duplicate nodes with node-name='n1'"),
                           ('1n', "Invalid node-name: '1n'")):
            with self.subTest(name=name):
                self.assert_refused(text, 'blockdev-add', driver='null-co', node_name=name)
        self.vm.command('blockdev-add', driver='null-co', node_name='n' * 31)

    # ---- Streams and commits ---------------------------------------------------------------------

    def test_places_of_a_stream(self):
        self.add('other')
        self.assert_refused('backing file specified, but streaming the entire chain',
                            'block-stream', device='drive0', backing_file='x')
        self.assert_refused("Node 'other' is not in a chain starting from 'drive0'",
                            'block-stream', device='drive0', bottom='other')
        self.throttle('thr', 'other')
        self.assert_refused("Node 'thr' is a filter, use a non-filter node as 'bottom'",
                            'block-stream', device='drive0', bottom='thr')

    def test_a_link_that_a_stream_holds(self):
        self.add('other')
        self.vm.command('block-stream', device='n2', base_node='n0', job_id='s', speed=1)
        self.assert_refused("Cannot change frozen 'backing' link from 'n2' to 'n1'",
                            'blockdev-reopen', options=[{
                                'driver': 'qcow2', 'node-name': 'n2', 'backing': 'other',
                                'read-only': True,
                                'file': {'driver': 'file', 'filename': self.paths[2]}}])

    def test_a_commit_between_a_filter_and_what_is_below_it(self):
        path = self.images.create('over.img', backing=self.paths[0])
        self.throttle('thr', self.add('low'))
        self.vm.command('blockdev-add', driver='qcow2', node_name='over', backing='thr',
                        file={'driver': 'file', 'filename': path})
        self.assert_refused('Invalid files for merge: top and base are the same', 'block-commit',
                            device='over', job_id='c', top_node='thr', base_node='low')
        self.assert_refused('cannot commit an image into itself', 'block-commit', device='over',
                            job_id='c', top_node='low', base_node='low')

    def test_a_top_that_somebody_writes_to(self):
        self.add('low')
        self.images.create('mid.img', backing=self.images.path('low.img'))
        self.images.create('high.img', backing=self.images.path('mid.img'))
        for name, backing in (('mid', 'low'), ('high', 'mid')):
            self.vm.command('blockdev-add', driver='qcow2', node_name=name, backing=backing,
                            file={'driver': 'file', 'filename': self.images.path(f'{name}.img')})
        for name in ('mid', 'high'):
            self.vm.command('device_add', driver='virtio-blk-pci', id=f'disk-{name}', drive=name,
                            share_rw=True)
        self.assert_refused("'backing-file' specified, but 'top' has a writer on it",
                            'block-commit', device='high', job_id='c', top_node='mid',
                            base_node='low', backing_file='x')

    def test_a_commit_of_the_active_layer_with_a_backing_file(self):
        self.assert_refused("'backing-file' specified, but 'top' is the active layer",
                            'block-commit', device='drive0', base_node='n1', backing_file='x')

    # ---- Mirrors ---------------------------------------------------------------------------------

    def mirror(self, target, **options):
        self.vm.command('blockdev-mirror', device='drive0', target=target, job_id='m', **options)

    def test_a_job_that_is_being_cancelled_cannot_be_completed(self):
        self.mirror(self.add('target'), sync='none', speed=1)
        self.vm.qmp.wait_event('BLOCK_JOB_READY', device='m')
        for i in range(4):  # there is more to copy than it may in a second
            self.vm.io('drive0', f'write -P 9 {i}M 1M')
        self.vm.command('block-job-cancel', device='m')
        self.assert_refused("The active block job 'm' cannot be completed", 'block-job-complete',
                            device='m')
        self.vm.command('block-job-set-speed', device='m', speed=0)
        self.wait_status('m', 'null')

    def test_a_target_on_the_source_s_own_chain(self):
        self.throttle('thr', 'n1')
        self.assert_refused("Cannot mirror to a filter on top of a node in the source's backing "
                            'chain', 'blockdev-mirror', device='drive0', target='thr',
                            job_id='m', sync='full')

    def test_a_node_that_is_about_to_be_replaced(self):
        children = [self.add(f'child{i}') for i in range(2)]
        self.vm.command('blockdev-add', driver='quorum', node_name='quorum', vote_threshold=1,
                        children=children)
        self.add('target')
        self.add('overlay')
        self.vm.command('blockdev-mirror', device='quorum', target='target', job_id='m',
                        sync='full', replaces='child0', auto_finalize=False)
        self.vm.qmp.wait_event('BLOCK_JOB_READY', device='m')
        self.vm.command('block-job-complete', device='m')
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING', id='m')
        self.assert_refused("Node 'child0' is busy: block device is in use by block-job-complete",
                            'blockdev-del', node_name='child0')
        self.vm.command('job-cancel', id='m')
        self.wait_status('m', 'null')

    def test_an_empty_name_is_a_name(self):
        self.assert_refused('backing file specified, but streaming the entire chain',
                            'block-stream', device='drive0', backing_file='')
        self.assert_refused("'backing-file' specified, but 'top' is the active layer",
                            'block-commit', device='drive0', backing_file='')

    # ---- Words for things ------------------------------------------------------------------------

    def test_a_node_is_called_by_its_drive(self):
        for node, name in (('top', 'drive0'), ('n1', 'n1')):
            self.assert_refused(f'The node {name} does not support adding a child',
                                'x-blockdev-change', parent=node, node='n0')
            self.assert_refused(f'The node {name} does not support removing a child',
                                'x-blockdev-change', parent=node, child='backing')

    def test_numbers_that_are_none(self):
        for value in (None, '1', True):
            self.assert_refused("Parameter 'write-threshold' expects uint64",
                                'block-set-write-threshold', node_name='top',
                                write_threshold=value)
        self.vm.command('block-set-write-threshold', node_name='top', write_threshold=-1)
        for name in ('offset', 'size'):
            self.assert_refused(f"Parameter '{name}' expects a non-negative number below 2^64",
                                'blockdev-add', driver='raw', node_name='raw', file='top',
                                **{name: -512})

    def test_lists_that_are_empty(self):
        for name in ('inject-error', 'set-state'):
            self.assert_refused(f"Block protocol 'blkdebug' doesn't support the option '{name}'",
                                'blockdev-add', driver='blkdebug', node_name='x',
                                image={'driver': 'null-co'}, **{name: []})

    def test_a_node_that_would_stand_on_itself(self):
        self.assert_refused("Making 'x' a children.0 child of 'x' would create a cycle",
                            'blockdev-add', driver='quorum', node_name='x', vote_threshold=1,
                            children=['x'])
        self.assert_refused("Cannot find device='x' nor node-name='x'", 'blockdev-add',
                            driver='raw', node_name='x', file='x')

    # ---- Overlays and sizes ----------------------------------------------------------------------

    def test_images_that_cannot_be_made_or_found(self):
        self.add('other')
        self.assert_refused('Failed to get "write" lock', 'drive-mirror', device='other',
                            job_id='m', target=self.paths[-1], sync='full', format='qcow2')
        self.assert_refused("Unknown protocol 'foo'", 'blockdev-snapshot-sync', device='drive0',
                            snapshot_file='foo:bar', mode='existing')

    def test_overlays(self):
        def snapshot(text, overlay):
            with self.subTest(text=text):
                self.assert_refused(text, 'blockdev-snapshot', node='top', overlay=overlay)
        snapshot('The overlay is already in use', 'top')
        self.throttle('thr', self.add('low'))
        snapshot('Filters cannot be used as overlays', 'thr')
        path = self.images.create('over.img', backing=self.images.path('low.img'))
        self.vm.command('blockdev-add', driver='qcow2', node_name='over', backing='low',
                        file={'driver': 'file', 'filename': path})
        snapshot('The overlay already has a backing image', 'over')
        self.add('flat', driver='raw')
        snapshot('The overlay does not support backing images', 'flat')

    def test_a_writer_that_might_write_beyond_the_end(self):
        path = self.images.create('odd.img', 4 * MIB + 512, 'raw')
        self.vm.command('blockdev-add', driver='blkdebug', node_name='odd', align=4096,
                        image={'driver': 'file', 'filename': path})
        self.assert_refused("Cannot get 'write' permission without 'resize': Image size is not a "
                            'multiple of request alignment', 'device_add',
                            driver='virtio-blk-pci', id='disk', drive='odd')


if __name__ == '__main__':
    unittest.main()
