"""x-millrace-plan of jobs and nodes says what the command says: a refusal with the same class, text
and data; or the graph that is there when the command, and its job, has ended. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase, picture


class Parity(PlanCase):
    """top <- mid <- base, nodes over named files; base and mid read-only. A null node 't', a
    throttle group 'tg', and a drive 'other' <- o1 <- o0 (drive0), whose images nobody else holds."""

    def setUp(self):
        super().setUp()
        self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        below = None
        for name in ('base', 'mid', 'top'):
            self.vm.blockdev({'driver': 'file', 'node-name': f'{name}-file',
                              'filename': self.images.path(f'{name}.img')})
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'file': f'{name}-file',
                              'backing': below, 'read-only': name != 'top'})
            below = name
        self.vm.blockdev({'driver': 'null-co', 'node-name': 't', 'size': MIB})
        self.vm.object('throttle-group,id=tg')
        self.vm.drive(self.images.chain('o0.img', 'o1.img', 'other.img')[-1],
                      'node-name=other,backing.node-name=o1,backing.backing.node-name=o0').launch()

    def add(self, **options):
        self.vm.command('blockdev-add', **options)

    def while_there_is(self, options, *requests):
        """Requests that are refused while a node stands in the way."""
        self.vm.command('blockdev-add', **options)
        for text, command, arguments in requests:
            self.refused(text, command, **arguments)
        self.vm.command('blockdev-del', node_name=options['node-name'])

    # ---- Jobs ------------------------------------------------------------------------------------

    def test_permissions_that_a_job_meets_when_it_starts(self):
        conflict = 'Permission conflict on node'
        mirror = (conflict, 'blockdev-mirror',
                  dict(device='top', target='t', sync='full', job_id='j'))
        stream = (conflict, 'block-stream', dict(device='top', job_id='j'))
        commit = (conflict, 'block-commit', dict(device='top', job_id='j'))
        middle = (conflict, 'block-commit', dict(device='top', top_node='mid', job_id='j'))

        def guard(image, *requests, **options):
            self.while_there_is({'driver': 'blkdebug', 'node-name': 'guard', 'image': image,
                                 'read-only': image != 't', **{
                                     f'{key}-child-perms': [value]
                                     for key, value in options.items()}}, *requests)
        guard('base', mirror, unshare='consistent-read')
        guard('t', mirror, take='resize')
        guard('t', mirror, unshare='write')
        guard('mid', commit, stream, take='resize')
        guard('base', commit, middle, take='resize')
        guard('base', commit, middle, unshare='write')

    def test_what_a_stream_is_refused_for(self):
        self.add(driver='throttle', throttle_group='tg', node_name='x', file='t')
        stream = self.refuser('block-stream', device='top', job_id='j')
        stream("'base' and 'base-node'", base='base.img', base_node='base')
        stream("'base' and 'bottom'", base='base.img', bottom='mid')
        stream("'bottom' and 'base-node'", base_node='base', bottom='mid')
        stream("Cannot find device='none'", device='none')
        stream("Can't find 'none.img'", base='none.img')
        stream("Cannot find device='' nor node-name='none'", base_node='none')
        stream("Node 't' is not a backing image of 'top'", base_node='t')
        stream("Node 'top' is not a backing image of 'top'", base_node='top')
        stream("Cannot find device='' nor node-name='none'", bottom='none')
        stream("Node 'x' is a filter", bottom='x')
        stream("Node 't' is not in a chain", bottom='t')
        for name in ('x', ''):
            stream('streaming the entire chain', backing_file=name)
        stream("Invalid job ID '1'", job_id='1')
        stream("Invalid job ID ''", job_id=None)
        stream("Parameter 'speed'", speed=-1)
        create = 'Could not create node: '
        stream(create + "Invalid node-name: '1'", filter_node_name='1')
        stream(create + 'Node name too long', filter_node_name='x' * 32)
        stream(create + 'Duplicate nodes', filter_node_name='mid')
        stream(create + 'node-name=drive0 is conflicting', filter_node_name='drive0')
        stream("Parameter 'on-error'", on_error='none')
        stream("Parameter 'device' is missing", device=None)

    def test_what_is_refused_beside_a_stream(self):
        self.add(driver='throttle', throttle_group='tg', node_name='x', file='t')
        self.vm.command('block-stream', device='top', base_node='base', job_id='s',
                        speed=1024)
        self.pause('s')
        stream = self.refuser('block-stream', device='top', job_id='j')
        busy = 'is busy: block device is in use by block job: stream'
        stream(f"Node 'top' {busy}")
        stream(f"Node 'mid' {busy}", device='mid')
        stream("Job ID 's' already in use", device='other', job_id='s')
        commit = self.refuser('block-commit', device='top', job_id='j')
        commit('Need a root block node')
        commit('Need a root block node', top_node='mid')
        mirror = self.refuser('blockdev-mirror', device='x', target='t', sync='full', job_id='j')
        mirror('Need a root block node', device='top')
        mirror(f"Node 'mid' {busy}", target='mid')
        self.refused(f"Node 'mid' {busy}", 'blockdev-del', node_name='mid')

    def test_what_a_commit_is_refused_for(self):
        commit = self.refuser('block-commit', device='top', job_id='j')
        commit("Device 'none' not found", device='none')
        commit('Need a root block node', device='mid')
        commit('Top image file none.img not found', top='none.img')
        commit("Cannot find device='' nor node-name='none'", top_node='none')
        commit("'t' is not in this backing file chain", top_node='t')
        commit("'t' is not in this backing file chain", base_node='t')
        commit("Cannot find device='' nor node-name='none'", base_node='none')
        commit("Can't find 'none.img' in the backing chain", base='none.img')
        commit("'top' is not in this", top_node='mid', base_node='top')
        commit("'top-node' and 'top' are", top='mid.img', top_node='mid')
        commit("'base-node' and 'base' are", base='mid.img', base_node='mid')
        commit('cannot commit an image into itself', top_node='base')
        commit('cannot commit an image into itself', base_node='top')
        commit('cannot commit an image into itself', device='t')
        for name in ('x', ''):
            commit("but 'top' is the active layer", backing_file=name)
        for top in ('top', 'mid'):
            commit("Invalid job ID '1'", top_node=top, job_id='1')
            commit("Invalid job ID ''", top_node=top, job_id=None)
            commit("Parameter 'speed'", top_node=top, speed=-1)
            commit("Invalid node-name: '1'", top_node=top, filter_node_name='1')
            commit('Node name too long', top_node=top, filter_node_name='x' * 32)
            commit('Duplicate nodes', top_node=top, filter_node_name='mid')
            commit('node-name=drive0 is conflicting', top_node=top, filter_node_name='drive0')
        self.vm.command('block-commit', device='top', top_node='mid', job_id='c',
                        speed=1024)
        self.pause('c')
        commit('Need a root block node', device='mid')
        self.refused("Node 'base' is busy: block device is in use by block job: commit",
                     'blockdev-mirror', device='other', target='base', sync='full', job_id='j')

    def test_what_a_mirror_is_refused_for(self):
        self.add(driver='throttle', throttle_group='tg', node_name='x', file='base',
                 read_only=True)
        self.add(driver='null-co', node_name='ro', size=MIB, read_only=True)
        self.add(driver='null-co', node_name='small', size=512)
        mirror = self.refuser('blockdev-mirror', device='top', target='t', sync='full', job_id='j')
        mirror("Cannot find device='none'", device='none')
        mirror('Need a root block node', device='mid')
        mirror("Cannot find device='none'", target='none')
        mirror("Can't mirror node into itself", target='top')
        mirror('Cannot mirror to a filter on top of', target='x')
        mirror("Node 'mid' is busy: node is used as backing hd of 'top'", target='mid')
        mirror('Block node is read-only', target='ro')
        mirror("Sync mode 'bitmap' not supported", sync='bitmap')
        mirror('in range [512B, 64MB]', granularity=1)
        mirror('expects a power of 2', granularity=1000)
        mirror("Invalid parameter 'buf-size'", buf_size=-1)
        mirror("Failed to find node with node-name='none'", replaces='none')
        mirror("Node 'mid' is busy", replaces='mid')
        mirror("Cannot replace 'small'", replaces='small')
        mirror("Invalid job ID '1'", job_id='1')
        mirror("Invalid job ID ''", job_id=None)
        mirror("Parameter 'speed'", speed=-1)
        mirror("Invalid node-name: '1'", filter_node_name='1')
        mirror('Node name too long', filter_node_name='x' * 32)
        mirror('Duplicate nodes', filter_node_name='mid')
        mirror('node-name=drive0 is conflicting', filter_node_name='drive0')
        self.vm.command('blockdev-mirror', device='top', target='t', sync='full', job_id='m')
        self.wait_ready('m', 'mirror')
        mirror('Need a root block node')
        mirror("Node 't' is busy: block device is in use by block job: mirror", device='other')

    def test_a_file_that_stays_read_only(self):
        """What its user opened read-only does not become writable for a job."""
        for name in ('top', 'mid', 'base', 'mid-file', 'base-file'):
            self.vm.command('blockdev-del', node_name=name)
        below = None
        for name in ('base', 'mid', 'top'):
            if name != 'top':
                self.add(driver='file', node_name=f'{name}-file', read_only=True,
                         filename=self.images.path(f'{name}.img'))
            self.add(driver='qcow2', node_name=name, file=f'{name}-file', backing=below,
                     read_only=name != 'top')
            below = name
        self.refuser('block-commit', device='top', job_id='j')('Block node is read-only')
        self.refuser('block-commit', device='top', job_id='j')('Block node is read-only',
                                                               top_node='mid')
        self.refuser('block-stream', device='mid', job_id='j')('Block node is read-only')

    def test_the_graph_when_a_stream_has_ended(self):
        plan = self.done('block-stream', device='mid', job_id='j')
        self.assertEqual((plan['before'], plan['after']), ('mid <- base', 'mid'))
        self.assertEqual(plan['claims'], ['mid', 'base'])
        self.done('block-stream', device='top', base_node='mid', filter_node_name='f', job_id='j')
        plan = self.done('block-stream', device='drive0', base_node='o0', job_id='j')
        self.assertEqual(plan['after'], 'other <- o0')
        self.assertIn("link 'other' -backing-> 'o0' instead of 'o1'", plan['steps'])

    def test_the_graph_when_a_commit_has_ended(self):
        plan = self.done('block-commit', device='top', top_node='mid', job_id='j')
        self.assertEqual(plan['after'], 'top <- base')
        plan = self.done('block-commit', device='drive0', top_node='o1', job_id='j')
        self.assertEqual(plan['after'], 'other <- o0')

    def test_the_graph_when_an_active_commit_has_ended(self):
        plan = self.done('block-commit', device='drive0', base_node='o1', job_id='j')
        self.assertEqual(plan['after'], 'o1 <- o0')
        self.done('block-commit', device='top', job_id='j')

    def test_the_graph_when_a_mirror_has_ended(self):
        self.done('blockdev-mirror', device='drive0', target='t', sync='full', job_id='j')

    def test_the_graph_when_a_mirror_of_a_read_only_node_has_ended(self):
        self.add(driver='null-co', node_name='r', size=MIB, read_only=True)
        plan = self.done('blockdev-mirror', device='r', target='t', sync='full', job_id='j')
        self.assertIn("make 't' read-only", plan['steps'])

    def test_a_mirror_of_another_length_fails_when_it_runs(self):
        self.add(driver='null-co', node_name='small', size=512)
        before = self.graph()
        arguments = {'device': 'drive0', 'target': 'small', 'sync': 'full', 'job-id': 'j'}
        plan = self.ask('blockdev-mirror', arguments)
        self.assertEqual(plan['steps'], [f'fail when it runs: the source has {MIB} bytes and the '
                                         'target 512'])
        self.assertEqual(plan['before'], plan['after'])
        self.assertEqual(picture(plan['graph']), before)
        self.vm.qmp.execute('blockdev-mirror', arguments)
        event = self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED', device='j')
        self.assertIn('error', event['data'])
        self.wait_status('j', 'null')
        self.assertEqual(self.graph(), before)

    # ---- Nodes -----------------------------------------------------------------------------------

    def test_what_blockdev_add_is_refused_for(self):
        null = {'driver': 'null-co', 'size': MIB}
        add = self.refuser('blockdev-add', **null)
        add("'node-name' must be specified")
        add("Invalid node-name: ''", node_name='')
        add("Invalid node-name: '1'", node_name='1')
        add('Node name too long', node_name='x' * 32)
        add("Duplicate nodes with node-name='mid'", node_name='mid')
        add('node-name=drive0 is conflicting', node_name='drive0')
        add("Parameter 'driver' does not accept", driver='none', node_name='n')
        add("Parameter 'size'", size=-1, node_name='n')
        add("Parameter 'none' is unexpected", none=1, node_name='n')
        raw = self.refuser('blockdev-add', driver='raw', node_name='n')
        raw("Parameter 'file' is missing")
        raw("Cannot find device='none' nor node-name='none'", file='none')
        raw("Cannot find device='n' nor node-name='n'", file='n')
        raw("Invalid node-name: '1'", file={**null, 'node-name': '1'})
        raw("Duplicate nodes with node-name='n'", file={**null, 'node-name': 'n'})
        raw("Duplicate nodes with node-name='t'", file={'driver': 'raw', 'file': {
            **null, 'node-name': 't'}})
        raw("Cannot find device='none'", file={'driver': 'raw', 'file': 'none'})
        raw('force-share=on', file='t', force_share=True)
        throttle = self.refuser('blockdev-add', driver='throttle', node_name='n', file='t')
        throttle("Throttle group 'none' does not exist", throttle_group='none')
        self.refused("Bottom node 'none' not found", 'blockdev-add', driver='copy-on-read',
                     node_name='n', bottom='none', file='top')
        self.refused('threshold may not exceed children count', 'blockdev-add', driver='quorum',
                     node_name='n', vote_threshold=3, children=['t', 'mid'])
        qcow2 = self.refuser('blockdev-add', driver='qcow2', node_name='n',
                             file={'driver': 'file', 'filename': self.images.path('o0.img')})
        qcow2("Cannot find device='none'", backing='none', read_only=True)
        qcow2('Permission conflict on node', file='top-file', backing='mid')

    def test_the_graph_when_blockdev_add_has_ended(self):
        null = {'driver': 'null-co', 'size': MIB}
        plan = self.done('blockdev-add', node_name='n', **null)
        self.assertIn("add null-co node 'n'", plan['steps'])
        self.assertNotIn('unknown', plan)
        self.done('blockdev-add', driver='raw', node_name='r', file=null)  # it has some name
        self.done('blockdev-add', driver='throttle', node_name='f', throttle_group='tg', file='n')
        self.done('blockdev-add', driver='quorum', node_name='q', vote_threshold=1,
                  children=['f', {'driver': 'raw', 'file': null}])
        path = self.images.create('new.img', MIB)
        plan = self.done('blockdev-add', driver='qcow2', node_name='new', backing='t',
                         file={'driver': 'file', 'filename': path})
        self.assertEqual(plan['unknown'], [f"whether '{path}' can be opened and locked",
                                           "whether 'new' is an image of format qcow2"])
        self.done('blockdev-add', driver='blkdebug', node_name='d', image='q', read_only=True,
                  take_child_perms=['consistent-read'])

    def test_a_plan_says_what_only_opening_tells(self):
        file = {'driver': 'file', 'filename': self.images.path('o1.img'), 'locking': 'off'}
        plan = self.ask('blockdev-add', {'driver': 'qcow2', 'node-name': 'n', 'file': file,
                                         'read-only': True})
        self.assertTrue(plan['accepted'])
        self.assertIn("which image the header of 'n' names as its backing, and what that stands on",
                      plan['unknown'])
        self.refused("Invalid node-name: '1'", 'blockdev-add', driver='qcow2', node_name='n',
                     file=file, backing={'driver': 'null-co', 'node-name': '1'}, read_only=True)
        plan = self.ask('blockdev-add', {'driver': 'file', 'node-name': 'n',
                                         'filename': '/nonexistent'})
        self.assertEqual(plan['unknown'], ["whether '/nonexistent' can be opened and locked"])

    def test_blockdev_del(self):
        delete = self.refuser('blockdev-del')
        delete("Failed to find node with node-name='none'", node_name='none')
        delete("Node 'mid' is busy: node is used as backing hd of 'top'", node_name='mid')
        delete('Node other is in use', node_name='other')
        delete('Block device top-file is in use', node_name='top-file')
        self.add(driver='raw', node_name='r', file={'driver': 'null-co', 'size': MIB,
                                                    'node-name': 'under'})
        delete('Node under is not owned by the monitor', node_name='under')
        plan = self.done('blockdev-del', node_name='top')
        self.assertEqual(plan['steps'][0], "close node 'top' and what only it holds")
        self.done('blockdev-del', node_name='top-file')
        self.done('blockdev-del', node_name='r')  # and what it stands on

    def test_what_blockdev_snapshot_is_refused_for(self):
        snapshot = self.refuser('blockdev-snapshot', node='drive0', overlay='t')
        snapshot("Cannot find device='none' nor node-name='none'", node='none')
        snapshot("Node 'mid' is busy: node is used as backing hd of 'top'", node='mid')
        snapshot("Cannot find device='none' nor node-name='none'", overlay='none')
        snapshot('The overlay already has a backing image', overlay='top')
        snapshot('The overlay does not support backing images')


if __name__ == '__main__':
    unittest.main()
