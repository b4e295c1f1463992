"""x-millrace-plan of drive-mirror: the target is not there yet, and nothing is made or opened; the
graph is the one that is there when the job has ended, and what is refused is refused in the
command's words. Only millraced."""

import json
import os
import re
import unittest

from support.images import MIB
from support.plan_case import PlanCase


class PlanOfDriveMirror(PlanCase):
    """top (drive0) <- mid <- base; 'ro', a read-only qcow2 node, and a null node 'free'."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB})
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'ro', 'read-only': True, 'file': {
            'driver': 'file', 'filename': self.images.create('ro.img', MIB)}})
        self.vm.object('throttle-group,id=tg')
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=mid,'
                                 'backing.backing.node-name=base').launch()
        self.target = str(self.folder / 'target.img')

    def mirrored(self, **more):
        """done() of a mirror of drive0 into a file; no file before it is done."""
        arguments = dict(dict(device='drive0', target=self.target, sync='full', node_name='t',
                              job_id='j'), **more)
        had = sorted(os.listdir(self.folder))
        self.ask('drive-mirror', {key.replace('_', '-'): value
                                  for key, value in arguments.items()})
        self.assertEqual(sorted(os.listdir(self.folder)), had)
        return self.done('drive-mirror', **arguments)

    def test_of_all_into_a_new_image(self):
        plan = self.mirrored()
        self.assertEqual((plan['before'], plan['after']), ('top <- mid <- base', 't'))
        self.assertEqual(plan['steps'][:2], [f"make the image '{self.target}' (qcow2)",
                                             f"open '{self.target}' as the target"])
        self.assertEqual(plan['claims'], ['top'])
        self.assertEqual(plan['unknown'],
                         [f"whether '{self.target}' can be made, opened and locked"])

    def test_of_the_top_image_the_target_stands_on_what_that_stood_on(self):
        self.assertEqual(self.mirrored(sync='top')['after'], 't <- mid <- base')

    def test_of_new_writes_the_target_stands_on_the_source(self):
        self.assertEqual(self.mirrored(sync='none')['after'], 't <- top <- mid <- base')

    def test_into_a_new_raw_image(self):
        self.assertEqual(self.mirrored(format='raw')['after'], 't')

    def test_of_a_read_only_drive_the_target_becomes_read_only(self):
        self.vm.hmp(f"drive_add 0 if=none,id=d,read-only=on,file={self.folder / 'base.img'}")
        plan = self.mirrored(device='d')
        self.assertIn("make 't' read-only", plan['steps'])

    def test_of_a_node_on_which_nobody_stands_the_target_goes_with_the_job(self):
        plan = self.mirrored(device='ro')
        self.assertEqual(plan['after'], 'ro')
        self.assertNotIn('t', [node['name'] for node in plan['graph']['nodes']])

    def test_into_an_image_that_is_there(self):
        self.images.create('target.img', MIB)
        plan = self.mirrored(mode='existing', format='qcow2')
        self.assertEqual(plan['after'], 't')
        self.assertIn(f"whether '{self.target}' has the source's length", plan['unknown'])
        self.assertIn("which image the header of 't' names as its backing, and what that stands on",
                      plan['unknown'])

    def test_of_a_format_that_is_to_be_guessed_no_graph_is_told(self):
        self.images.create('target.img', MIB)
        arguments = {'device': 'drive0', 'target': self.target, 'sync': 'full', 'mode': 'existing'}
        plan = self.ask('drive-mirror', arguments)
        self.assertTrue(plan['accepted'])
        self.assertNotIn('graph', plan)
        self.assertIn(f"what format '{self.target}' has", plan['unknown'])
        self.refuser('drive-mirror', device='drive0', target=self.target, sync='full',
                     mode='existing')("Invalid job ID '1'", job_id='1')
        # The format is unknown further down.
        arguments['target'] = 'json:' + json.dumps({'driver': 'throttle', 'throttle-group': 'tg',
                                                    'file': {'file': {'driver': 'file',
                                                                      'filename': self.target}}})
        self.assertTrue(self.ask('drive-mirror', arguments)['accepted'])

    def test_what_is_added_next_is_called_and_numbered_as_without_it(self):
        def added():
            """Ids and names of the two nodes that come now."""
            self.vm.command('blockdev-add', driver='raw', node_name='next',
                            file={'driver': 'null-co', 'size': MIB})
            nodes = self.vm.command('x-millrace-explain')['graph']['nodes']
            name = self.child_of('next', 'file')
            ids = {node['name']: node['id'] for node in nodes}
            self.vm.command('blockdev-del', node_name='next')
            return int(name.removeprefix('#block')), ids['next'], ids[name]

        def later(told):
            """After a node that goes, its place is used again, for the next generation."""
            return tuple(re.sub(r'\d+$', lambda last: str(int(last.group()) + 1), ident)
                         for ident in told)

        first, *ids = added()
        self.images.create('there.img', MIB)
        there = dict(mode='existing', target=str(self.folder / 'there.img'), format='qcow2')
        for i, more in enumerate(({}, dict(sync='none'), dict(device='ro'), there,
                                  {**there, 'format': None}, dict(job_id='1'),
                                  {**there, 'job-id': '1'})):
            arguments = {'device': 'drive0', 'target': self.target, 'sync': 'full', 'job-id': 'j',
                         **more}
            self.vm.command('x-millrace-plan', command='drive-mirror', arguments={
                key.replace('_', '-'): value for key, value in arguments.items()
                if value is not None})
            number, *now = added()
            ids = later(ids)
            self.assertEqual((number, *now), (first + 1 + i, *ids), more)

    def test_what_is_refused(self):
        self.images.create('there.img', MIB)
        for more in (dict(), dict(mode='existing', target=str(self.folder / 'there.img'),
                                  format='qcow2')):
            mirror = self.refuser('drive-mirror', **dict(dict(
                device='drive0', target=self.target, sync='full', job_id='j'), **more))
            mirror("Cannot find device='none'", device='none')
            mirror('Need a root block node', device='mid')
            mirror("Sync mode 'bitmap' not supported", sync='bitmap')
            mirror("Invalid node-name: '1'", node_name='1')
            mirror('Node name too long', node_name='x' * 32)
            mirror("Duplicate nodes with node-name='mid'", node_name='mid')
            mirror('node-name=drive0 is conflicting', node_name='drive0')
            mirror('in range [512B, 64MB]', granularity=1)
            mirror('expects a power of 2', granularity=1000)
            mirror("Invalid parameter 'buf-size'", buf_size=-1)
            mirror("Parameter 'speed'", speed=-1)
            mirror("Invalid job ID '1'", job_id='1')
            mirror("Invalid job ID ''", device='ro', job_id=None)
            mirror('a node-name must be provided', replaces='top')
            mirror("Node 'mid' is busy", replaces='mid', node_name='t')
            mirror("Cannot replace 'free'", replaces='free', node_name='t')
            mirror("'none'", format='none')
            # Which of two mistakes is told depends on whether the image is made.
            mirror('Invalid', node_name='1', job_id='1')
        self.refuser('drive-mirror', device='drive0', target=self.target, sync='top')(
            "Backing file not supported for file format 'raw'", format='raw')

    def test_what_is_refused_beside_a_job(self):
        self.vm.command('blockdev-mirror', device='drive0', target='free', sync='full', job_id='m')
        self.wait_ready('m', 'mirror')
        mirror = self.refuser('drive-mirror', device='drive0', target=self.target, sync='full')
        mirror('Need a root block node')
        mirror("Job ID 'm' already in use", device='ro', job_id='m')
        self.assertNotIn('target.img', os.listdir(self.folder))

    def test_permissions_that_it_meets_when_it_starts(self):
        self.vm.command('blockdev-add', driver='raw', node_name='over', file='free', read_only=True)
        self.vm.command('blockdev-add', driver='blkdebug', node_name='guard', image='free',
                        read_only=True, unshare_child_perms=['consistent-read'])
        mirror = self.refuser('drive-mirror', device='over', target=self.target, sync='full',
                              job_id='j')
        mirror('Permission conflict on node')


if __name__ == '__main__':
    unittest.main()
