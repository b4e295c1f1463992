"""x-millrace-plan of snapshots, by themselves and in transactions: the graph of the plan is the
graph when the command has ended, or both are refused alike. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase


class PlannedSnapshots(PlanCase):
    """top (drive0) <- mid <- base; 'spare' and 'other', qcow2 nodes without a backing; 'free', a null
    node that only the monitor holds."""

    def setUp(self):
        super().setUp()
        self.paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB})
        for name in ('spare', 'other'):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'file': {
                'driver': 'file', 'filename': self.images.create(f'{name}.img', MIB)}})
        self.vm.drive(self.paths[-1], 'node-name=top,backing.node-name=mid,'
                                      'backing.backing.node-name=base').launch()

    def sync(self, name, file=None, **of_what):
        """blockdev-snapshot-sync as an action; the file is named after the node."""
        data = {'snapshot-file': str(self.folder / f'{file or name}.img')}
        if name:
            data['snapshot-node-name'] = name
        return {'type': 'blockdev-snapshot-sync', 'data': {
            **data, **{key.replace('_', '-'): value for key, value in of_what.items()}}}

    def over(self, node, overlay):
        return {'type': 'blockdev-snapshot', 'data': {'node': node, 'overlay': overlay}}

    def bitmap(self, verb, **data):
        return {'type': f'block-dirty-bitmap-{verb}', 'data': data}

    def add_bitmap(self, node):
        self.assertIn('return', self.vm.qmp.execute('block-dirty-bitmap-add',
                                                    {'node': node, 'name': 'b'}))

    def all_come_true(self, *actions):
        return self.comes_true('transaction', actions=list(actions))

    def none_is_done(self, text, *actions):
        self.refused(text, 'transaction', actions=list(actions))

    def test_blockdev_snapshot(self):
        plan = self.comes_true('blockdev-snapshot', node='drive0', overlay='spare')
        self.assertEqual(plan['after'], 'spare <- top <- mid <- base')
        self.assertIn("make 'top' read-only", plan['steps'])

    def test_a_snapshot_onto_itself_is_refused_and_looked_at_no_longer_than_that(self):
        arguments = {'node': 'spare', 'overlay': 'spare'}
        plan = self.ask('blockdev-snapshot', arguments)
        self.assertFalse(plan['accepted'])
        self.assertEqual(plan['error']['desc'],
                         self.vm.qmp.execute('blockdev-snapshot', arguments)['error']['desc'])

    def test_blockdev_snapshot_sync(self):
        for name, more in (('new', dict(device='drive0')), ('newer', dict(device='drive0')),
                           ('newest', dict(node_name='newer'))):
            data = self.sync(name, **more)['data']
            plan = self.comes_true('blockdev-snapshot-sync', **data)
            self.assertEqual(plan['unknown'],
                             [f"whether '{data['snapshot-file']}' can be made, opened and locked"])

    def test_an_overlay_that_is_there(self):
        self.images.create('there.img', MIB)
        plan = self.comes_true('blockdev-snapshot-sync',
                               **{**self.sync('there', device='drive0')['data'],
                                  'mode': 'existing'})
        self.assertIn("whether 'there' is an image of format qcow2", plan['unknown'])

    def test_transactions_of_snapshots(self):
        plan = self.all_come_true(self.sync('one', device='drive0'), self.sync('two', device='drive0'),
                                  self.over('free', 'spare'))
        self.assertIn("put 'two' above 'one'", plan['steps'])
        self.all_come_true(self.sync('three', device='drive0'), self.sync('four', node_name='three'))

    def test_overlays_without_names(self):
        plan = self.all_come_true(self.sync('', 'one', device='drive0'),
                                  self.sync('', 'two', device='drive0'),
                                  self.over('drive0', 'spare'))
        self.assertTrue(any(step.startswith("put '#block") and "above '#block" in step
                            for step in plan['steps']), plan['steps'])

    def test_an_overlay_above_one_that_is_made_before(self):
        self.all_come_true(self.sync('one', device='drive0'), self.over('one', 'spare'))

    def test_a_node_that_only_the_monitor_holds(self):
        """Nobody moves to the overlay, so it goes again; the node was below it, and is read-only."""
        plan = self.comes_true('blockdev-snapshot-sync', **self.sync('one', node_name='free')['data'])
        self.assertIn("make 'free' read-only", plan['steps'])
        self.all_come_true(self.sync('two', node_name='spare'), self.sync('three', device='drive0'))

    def test_a_node_that_stays_writable(self):
        """The overlay itself writes to it: it is in that file."""
        self.vm.command('blockdev-add', driver='file', node_name='file',
                        filename=self.images.create('in.img', MIB))
        self.vm.command('blockdev-add', driver='qcow2', node_name='in', backing=None,
                        file={'driver': 'blkdebug', 'image': 'file'})
        plan = self.comes_true('transaction', actions=[
            self.over('file', 'in'), self.sync('one', device='drive0')])
        self.assertNotIn("make 'file' read-only", plan['steps'])
        self.assertIn("make 'top' read-only", plan['steps'])

    def test_bitmaps_of_overlays_that_are_made_before(self):
        one = self.sync('one', device='drive0')
        self.add_bitmap('top')
        self.none_is_done("Bitmap already exists: x", one, self.bitmap('add', node='one', name='x'),
                          self.bitmap('add', node='one', name='x'))
        self.none_is_done("Dirty bitmap 'b' not found", self.sync('two', device='drive0'),
                          self.bitmap('clear', node='two', name='b'))
        self.vm.command('blockdev-add', driver='null-co', node_name='big', size=2 * MIB)
        self.add_bitmap('big')
        self.none_is_done('Bitmaps are of different sizes', self.sync('of', device='drive0'),
                          self.bitmap('add', node='of', name='x'),
                          self.bitmap('merge', node='of', target='x',
                                      bitmaps=[{'node': 'big', 'name': 'b'}]))
        self.all_come_true(self.sync('three', device='drive0'),
                           self.bitmap('add', node='three', name='x'),
                           self.bitmap('merge', node='three', target='x',
                                       bitmaps=[{'node': 'top', 'name': 'b'}]),
                           self.bitmap('disable', node='three', name='x'),
                           self.bitmap('clear', node='three', name='x'))
        self.assertEqual([node['dirty-bitmaps'][0]['name'] for node in
                          self.vm.command('query-named-block-nodes', flat=True)
                          if node['node-name'] == 'three'], ['x'])

    def test_names_and_overlays_that_an_action_has_taken(self):
        self.none_is_done('New overlay node-name already in use', self.sync('one', device='drive0'),
                          self.sync('one', 'another', node_name='free'))
        self.none_is_done('The overlay is already in use', self.over('free', 'spare'),
                          self.over('drive0', 'spare'))
        self.none_is_done('The overlay is already in use', self.sync('two', device='drive0'),
                          self.over('spare', 'two'))
        self.none_is_done("Node 'top' is busy", self.sync('three', device='drive0'),
                          self.over('top', 'spare'))
        self.none_is_done('same filename as the backing file', self.sync('four', device='drive0'),
                          self.sync('five', 'four', device='drive0'))

    def test_the_first_mistake_is_told(self):
        self.none_is_done("Invalid node-name: '1'", self.sync('1', device='drive0'),
                          self.over('none', 'spare'))
        self.none_is_done("Cannot find device='none'", self.over('none', 'spare'),
                          self.sync('1', device='drive0'))

    def test_what_snapshots_are_refused_for(self):
        sync = self.refuser('blockdev-snapshot-sync', device='drive0',
                            snapshot_file=str(self.folder / 'new.img'))
        sync('same filename as the backing file', snapshot_file=self.paths[-1])
        sync("Invalid node-name: '1'", snapshot_node_name='1')

    def test_an_overlay_of_a_format_that_has_no_backing(self):
        self.images.create('there.img', MIB, image_format='raw')
        self.refused('The overlay does not support backing images', 'blockdev-snapshot-sync',
                     **{**self.sync('there', device='drive0')['data'], 'mode': 'existing',
                        'format': 'raw'})

    def test_a_plan_uses_up_nothing(self):
        """Neither a name that was generated nor an id, refused or not."""
        def next_name():
            self.vm.command('blockdev-add', driver='raw', node_name='r', file={
                'driver': 'null-co', 'size': MIB})
            names = [node['node-name'] for node in
                     self.vm.command('query-named-block-nodes', flat=True)]
            self.vm.command('blockdev-del', node_name='r')
            return max(int(name[6:]) for name in names if name.startswith('#block'))
        first = next_name()
        for actions in ([self.sync('', 'one', device='drive0'), self.over('drive0', 'spare')],
                        [self.sync('', 'one', device='drive0'), self.over('none', 'spare')]):
            self.ask('transaction', {'actions': actions})
        self.assertEqual(next_name(), first + 1)


if __name__ == '__main__':
    unittest.main()
