"""x-millrace-plan of commands that start no job: the graph of the plan is the graph when the
command has ended, or the plan has none and the graph stays as it is. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase, picture


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

    def test_a_device_without_an_id(self):
        self.comes_true('device_add', False, driver='virtio-scsi', id='scsi')
        # Drive0's has the first number.
        for number, driver, drive, suffix in ((1, 'scsi-hd', 'spare', ''),
                                              (2, 'virtio-blk', 'free', '/virtio-backend')):
            plan = self.comes_true('device_add', driver=driver, drive=drive)
            path = f'/machine/peripheral-anon/device[{number}]{suffix}'
            self.assertEqual(plan['steps'][0], f"plug in '{path}', a {driver}")
            self.assertIn(path, [drive.get('qdev') for drive in self.vm.command('query-block')])
        plan = self.comes_true('device_add', False, driver='virtio-scsi')
        self.assertEqual(plan['steps'],
                         ["plug in '/machine/peripheral-anon/device[3]', a virtio-scsi"])

    def test_a_medium_that_is_changed(self):
        change = 'blockdev-change-medium'
        self.vm.command('device_add', driver='virtio-scsi', id='scsi')
        self.vm.command('device_add', driver='scsi-cd', id='cd', drive='free')
        new = self.images.create('new.img', MIB)
        plan = self.comes_true(change, id='cd', filename=new, format='qcow2')
        self.assertIn(f"whether '{new}' can be opened and locked", plan['unknown'])
        self.vm.hmp(f'drive_add 0 if=none,id=d,file={self.images.create("x.img", MIB)}')
        self.comes_true(change, device='d', filename=self.images.create('other.img', MIB),
                        format='qcow2')
        plan = self.ask(change, {'id': 'cd', 'filename': new})
        self.assertNotIn('graph', plan)
        self.assertIn(f"what format '{new}' has", plan['unknown'])
        self.refused("'none'", change, id='cd', filename=new, format='none')
        self.refused("Device 'none' not found", change, id='none', filename=new)

    def ends_exports(self, command, *exports, **arguments):
        """The graph of the plan is there when they have ended."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        with self.subTest(command=command, arguments=arguments):
            plan = self.ask(command, arguments)
            self.assertTrue(plan['accepted'], plan)
            self.vm.qmp.take_events()
            self.assertIn('return', self.vm.qmp.execute(command, arguments))
            for export in exports:
                self.vm.qmp.wait_event('BLOCK_EXPORT_DELETED', id=export)
            self.assertEqual(picture(plan['graph']), self.graph())

    def test_ends_of_exports(self):
        def add(ident, node):
            self.vm.command('block-export-add', type='nbd', id=ident, node_name=node)
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd')}})
        add('e', 'spare')
        self.ends_exports('block-export-del', 'e', id='e')
        self.vm.hmp(f'drive_add 0 if=none,id=d,file={self.images.create("x.img", MIB)}')
        self.vm.command('nbd-server-add', device='d', writable=True)
        self.ends_exports('nbd-server-remove', 'd', name='d')
        # One that was made of a drive goes with its medium.
        self.vm.command('nbd-server-add', device='d')
        add('e', 'mid')
        self.ends_exports('eject', 'd', device='d')
        add('f', 'spare')
        self.ends_exports('nbd-server-stop', 'e', 'f')

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
