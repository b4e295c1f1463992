"""Devices and jobs on iothreads: what moves with whom, and what may not."""

from support.case import Case
from support.images import MIB


class IoThreads(Case):
    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', 2 * MIB)
        self.images.io('base.img', 'write -P 1 0 2M')
        self.top = self.images.create('top.img', backing=self.base)
        self.vm.object('iothread,id=thread0').object('iothread,id=thread1')

    def launch(self):
        for name, path, more in (('base', self.base, {}), ('top', self.top, {'backing': 'base'})):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'file': {
                'driver': 'file', 'filename': path}, **more})
        self.vm.device('virtio-blk-pci,id=dev0,drive=top,iothread=thread0').launch()

    def test_a_stream(self):
        self.launch()
        self.vm.command('block-stream', device='top', job_id='job')
        self.wait_ended('job')

    def test_an_active_commit(self):
        self.launch()
        self.vm.command('block-commit', device='top', job_id='job', base_node='base')
        self.complete('job')
        self.vm.command('block-stream', device='base', job_id='job')
        self.wait_ended('job', offset=None)

    def test_a_mirror_whose_target_follows(self):
        self.launch()
        self.images.create('target.img', 2 * MIB)
        self.vm.command('blockdev-add', driver='qcow2', node_name='target', file={
            'driver': 'file', 'filename': self.images.path('target.img')})
        self.vm.command('blockdev-mirror', device='top', target='target', sync='full',
                        job_id='job')
        self.complete('job', 'mirror')

    def test_a_snapshot(self):
        self.launch()
        self.vm.command('blockdev-snapshot-sync', node_name='top', snapshot_node_name='snap',
                        snapshot_file=self.images.path('snap.img'))
        self.vm.command('block-stream', device='snap', job_id='job')
        self.wait_ended('job')

    def test_a_thread_outlives_its_name_while_it_is_used(self):
        self.launch()
        for thread in ('thread0', 'thread1'):
            self.vm.command('object-del', id=thread)
        self.vm.command('block-stream', device='top', job_id='job')
        self.wait_ended('job')

    def test_a_thread_nobody_knows(self):
        self.launch()
        self.vm.command('blockdev-add', driver='null-co', node_name='null', size=MIB)
        reply = self.vm.reply('device_add', driver='virtio-blk-pci', id='dev1', drive='null',
                              iothread='nothing')
        self.assertIn("'nothing'", reply['error']['desc'])


REFUSAL = 'Cannot change iothread of active block backend'


class TwoIoThreads(Case):
    """Nodes that hang together are in one iothread: that of the controllers of their disks."""

    def setUp(self):
        super().setUp()
        for name in ('hd0', 'hd1'):
            self.images.create(f'{name}.img', MIB)
            self.vm.blockdev(self.options(name))
        self.vm.object('iothread,id=thread0').object('iothread,id=thread1')
        for index, thread in ((0, ',iothread=thread0'), (1, ',iothread=thread1'), (2, '')):
            self.vm.device(f'virtio-scsi-pci,id=s{index}{thread}')
        self.vm.launch()

    def options(self, name, **more):
        return {'driver': 'qcow2', 'node-name': name, 'file': {
            'driver': 'file', 'filename': self.images.path(f'{name}.img')}, **more}

    def plug(self, ident, node, bus):
        device = {'driver': 'scsi-hd', 'id': ident, 'drive': node, 'bus': f's{bus}.0',
                  'share-rw': True}
        reply = self.vm.qmp.execute('device_add', device)
        return reply.get('error', {}).get('desc')

    def reopen(self, **more):
        reply = self.vm.qmp.execute('blockdev-reopen', {'options': [self.options('hd0', **more)]})
        return reply.get('error', {}).get('desc')

    def unplug(self, ident):
        self.vm.command('device_del', id=ident)
        self.vm.qmp.wait_event('DEVICE_DELETED', device=ident)

    def test_a_disk_without_a_bus_goes_to_the_newest_controller(self):
        self.vm.command('device_add', driver='scsi-hd', id='a', drive='hd0', share_rw=True)
        self.assertEqual(self.plug('b', 'hd0', 0), REFUSAL)
        self.assertEqual(self.plug('b', 'hd0', 1), REFUSAL)
        self.assertIsNone(self.plug('b', 'hd0', 2))
        self.vm.command('device_add', driver='virtio-scsi-pci', id='s3', iothread='thread1')
        self.vm.command('device_add', driver='scsi-hd', id='c', drive='hd1', share_rw=True)
        self.assertEqual(self.plug('d', 'hd1', 2), REFUSAL)
        self.assertIsNone(self.plug('d', 'hd1', 3))

    def test_two_disks_over_one_node(self):
        self.assertIsNone(self.plug('a', 'hd0', 0))
        self.assertIsNone(self.plug('b', 'hd0', 0))
        self.assertEqual(self.plug('c', 'hd0', 1), REFUSAL)
        self.assertEqual(self.plug('c', 'hd0', 2), REFUSAL)
        self.assert_refused(REFUSAL, 'device_add', driver='virtio-blk-pci', id='c', drive='hd0',
                            share_rw=True)
        self.unplug('a')
        self.assertEqual(self.plug('c', 'hd0', 1), REFUSAL)
        self.unplug('b')
        self.assertIsNone(self.plug('c', 'hd0', 1))

    def test_a_disk_whose_own_iothread_waits_for_its_guest(self):
        for ident in ('a', 'b'):
            self.vm.command('device_add', driver='virtio-blk-pci', id=ident, drive='hd0',
                            share_rw=True, iothread='thread0' if ident == 'a' else 'thread1')
        self.assertEqual(self.plug('c', 'hd0', 0), REFUSAL)
        self.assertIsNone(self.plug('c', 'hd0', 2))

    def test_a_backing_image_under_another_iothread(self):
        self.assertIsNone(self.plug('a', 'hd0', 0))
        self.assertIsNone(self.plug('b', 'hd1', 1))
        self.assertEqual(self.reopen(backing='hd1'), REFUSAL)
        self.assertIsNone(self.reopen(backing=None))
        self.unplug('b')
        self.assertIsNone(self.reopen(backing='hd1'))
        self.assertIsNone(self.reopen(backing=None))
        self.assertIsNone(self.plug('b', 'hd1', 1))

    def test_a_backing_image_under_the_same_iothread(self):
        self.assertIsNone(self.plug('a', 'hd0', 1))
        self.assertIsNone(self.plug('b', 'hd1', 1))
        self.assertIsNone(self.reopen(backing='hd1'))
        self.assertIsNone(self.reopen(backing=None))
