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
