"""x-millrace-plan of commands that start no job: the graph of the plan is the graph when the
command has ended, or the plan has none and the graph stays as it is. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase


class PlannedGraph(PlanCase):
    """top (drive0) <- mid <- base; 'spare', a qcow2 node without a backing, and 'free', a null node
    that is read-only."""

    def setUp(self):
        super().setUp()
        self.paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB, 'read-only': True})
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'spare', 'file': {
            'driver': 'file', 'filename': self.images.create('spare.img', MIB)}})
        self.vm.drive(self.paths[-1], 'node-name=top,backing.node-name=mid,'
                                      'backing.backing.node-name=base').launch()

    def test_devices_and_media(self):
        add, delete = 'device_add', 'device_del'
        self.comes_true(add, False, driver='virtio-scsi', id='scsi')
        self.comes_true(add, driver='scsi-hd', id='d', drive='spare')
        self.comes_true(delete, id='d')
        self.comes_true(add, driver='scsi-cd', id='e', drive='free')
        self.comes_true('blockdev-open-tray', False, id='e')
        self.comes_true('blockdev-remove-medium', id='e')
        self.comes_true('blockdev-insert-medium', id='e', node_name='free')
        self.comes_true('blockdev-close-tray', False, id='e')
        self.comes_true('eject', id='e', force=True)
        self.comes_true(delete, id='scsi')
        self.vm.hmp(f'drive_add 0 if=none,id=x,file={self.images.create("x.img", MIB)}')
        self.comes_true(add, driver='virtio-blk', id='v', drive='x')
        self.comes_true(delete, id='v')  # and its drive

    def test_exports(self):
        self.comes_true('nbd-server-start', False, addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd')}})
        self.comes_true('block-export-add', type='nbd', id='e', node_name='spare', writable=True)
        self.comes_true('nbd-server-add', device='free', name='f')

    def test_filters(self):
        self.vm.command('object-add', qom_type='throttle-group', id='tg')
        for command, arguments in (
                ('x-millrace-insert-filter', dict(node_name='mid', filter={
                    'driver': 'throttle', 'throttle-group': 'tg', 'node-name': 'f'})),
                ('x-millrace-remove-filter', dict(node_name='f'))):
            self.done(command, job_id='j', **arguments)

    def test_quorums_and_reopens(self):
        null = {'driver': 'null-co', 'size': MIB}
        self.vm.command('blockdev-add', driver='quorum', node_name='q', vote_threshold=1,
                        children=[{**null, 'node-name': 'n0'}])
        self.vm.command('blockdev-add', **{**null, 'node-name': 'n1'})
        self.comes_true('x-blockdev-change', parent='q', node='n1')
        self.comes_true('x-blockdev-change', parent='q', child='children.0')
        self.comes_true('blockdev-reopen', options=[{
            'driver': 'qcow2', 'node-name': 'spare', 'backing': 'free',
            'file': {'driver': 'file', 'filename': self.images.path('spare.img')}}])

    def test_what_changes_no_graph(self):
        self.comes_true('block_resize', False, node_name='spare', size=2 * MIB)
        self.comes_true('block-dirty-bitmap-add', False, node='top', name='b')
        self.comes_true('change-backing-file', False, device='drive0', image_node_name='mid',
                        backing_file=self.paths[0])
        self.comes_true('object-add', False, qom_type='iothread', id='o')
        self.comes_true('stop', False)


if __name__ == '__main__':
    unittest.main()
