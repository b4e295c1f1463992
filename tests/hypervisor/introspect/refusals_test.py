"""Every refusal of a command about jobs carries data: why, what is concerned, who is in the way
since when, and what to do next. Only millraced has it."""

import os
import unittest
import unittest.mock

from support.case import Case
from support.images import MIB

STREAM = 'block-stream'
COMMIT = 'block-commit'
MIRROR = 'blockdev-mirror'


class RefusalData(Case):
    """top (drive0) <- n3 <- n2 <- n1 <- n0, a slow stream 's' of n3 down to n1, and a node 'free'
    beside them."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('0.img', '1.img', '2.img', '3.img', 'top.img')
        self.images.io('2.img', 'write -P 1 0 1M')
        options, prefix = 'node-name=top', 'backing.'
        for i in (3, 2, 1, 0):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        self.paths = paths
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB})
        self.vm.drive(paths[-1], options).launch()
        self.vm.command(STREAM, device='n3', base_node='n1', job_id='s', speed=1024,
                        filter_node_name='cor')

    def refused(self, name, **arguments):
        reply = self.vm.reply(name, **arguments)
        self.assertIn('error', reply, (name, arguments))
        return reply['error']

    def check(self, reason, obj, name, holder=None, **arguments):
        with self.subTest(command=name, arguments=arguments):
            error = self.refused(name, **arguments)
            data = error.get('data', {})
            self.assertEqual((data.get('reason'), data.get('object')), (reason, obj), error)
            self.assertNotEqual(data.get('next-step', ''), '', error)
            if holder:
                first = data['holders'][0]
                self.assertEqual((first['id'], first['type']), holder)
                self.assertGreater(first['since-ns'], 0)

    def test_whoever_is_in_the_way_is_named(self):
        stream = ('s', 'stream job')
        for name, obj, arguments in (
                (STREAM, 'n3', dict(device='n3', job_id='x')),
                (STREAM, 'n2', dict(device='n2', job_id='x')),
                (STREAM, 'cor', dict(device='drive0', base_node='n1', job_id='x')),
                (COMMIT, 'n3', dict(device='drive0', job_id='x', top=self.paths[3],
                                    base=self.paths[1])),
                (COMMIT, 'cor', dict(device='drive0', job_id='x', base=self.paths[0]))):
            self.check('node-busy', obj, name, stream, **arguments)

    def test_names_that_lead_nowhere(self):
        for name, obj, arguments in (
                (STREAM, 'none', dict(device='none')),
                (STREAM, 'none', dict(device='drive0', base_node='none')),
                (STREAM, 'none', dict(device='drive0', bottom='none')),
                (COMMIT, 'none', dict(device='none')),
                (COMMIT, 'none', dict(device='drive0', top_node='none')),
                (MIRROR, 'none', dict(device='none', target='free', sync='full')),
                (MIRROR, 'none', dict(device='drive0', target='none', sync='full'))):
            self.check('unknown-node', obj, name, **arguments)

    def test_places_that_do_not_fit(self):
        for reason, obj, name, arguments in (
                ('not-backing', 'top', STREAM, dict(device='n1', base_node='top', job_id='x')),
                ('not-backing', 'free', STREAM, dict(device='drive0', base_node='free')),
                ('not-in-chain', 'free', STREAM, dict(device='drive0', bottom='free')),
                ('is-filter', 'cor', STREAM, dict(device='drive0', bottom='cor')),
                ('not-in-chain', 'none.img', STREAM, dict(device='drive0', base='none.img')),
                ('not-in-chain', 'none.img', COMMIT, dict(device='drive0', top='none.img')),
                ('not-in-chain', 'none.img', COMMIT, dict(device='drive0', base='none.img')),
                ('not-in-chain', 'free', COMMIT, dict(device='drive0', base_node='free')),
                # Who is busy is told before what is the same, and that before whose overlay is
                # busy, as in QEMU.
                ('node-busy', 'n2', COMMIT, dict(device='drive0', top_node='n2', base_node='n2')),
                ('same-node', 'n1', COMMIT, dict(device='drive0', top_node='n1', base_node='n1')),
                ('node-busy', 'n2', COMMIT, dict(device='drive0', top_node='n1', base_node='n0')),
                ('same-node', 'top', MIRROR, dict(device='drive0', target='top', sync='full')),
                ('mutually-exclusive', 'drive0', STREAM,
                 dict(device='drive0', base='x', base_node='y')),
                ('mutually-exclusive', 'drive0', COMMIT,
                 dict(device='drive0', top='x', top_node='y')),
                ('mutually-exclusive', 'drive0', COMMIT,
                 dict(device='drive0', base='x', base_node='y'))):
            self.check(reason, obj, name, **arguments)

    def test_ids_and_speeds(self):
        for reason, obj, arguments in (
                ('duplicate-job-id', 's', dict(device='n0', job_id='s')),
                ('malformed-job-id', '1', dict(device='n1', base_node='n0', job_id='1')),
                ('missing-job-id', 'n1', dict(device='n1', base_node='n0')),
                ('negative-speed', 'x', dict(device='n1', base_node='n0', job_id='x', speed=-1))):
            self.check(reason, obj, STREAM, **arguments)

    def test_verbs(self):
        for reason, name, arguments in (
                ('verb-not-accepted', 'job-complete', dict(id='s')),
                ('verb-not-accepted', 'job-finalize', dict(id='s')),
                ('verb-not-accepted', 'job-dismiss', dict(id='s')),
                ('not-paused', 'job-resume', dict(id='s')),
                ('negative-speed', 'block-job-set-speed', dict(device='s', speed=-1))):
            self.check(reason, 's', name, **arguments)
        self.vm.command('job-pause', id='s')
        self.check('already-paused', 's', 'job-pause', id='s')
        self.check('paused-needs-force', 's', 'block-job-cancel', device='s')
        for name, key in (('job-pause', 'id'), ('block-job-pause', 'device'),
                          ('job-cancel', 'id'), ('block-job-complete', 'device')):
            self.check('unknown-job', 'none', name, **{key: 'none'})


class Holders(Case):
    """Who is in the way of what, in whatever words: in this class every refusal has holders.

    top (drive0) <- n2 <- n1 <- n0, and beside them "spare" (qcow2, empty) and "target" (qcow2).
    """

    def setUp(self):
        super().setUp()
        names = ('0.img', '1.img', '2.img', 'top.img')
        self.paths = self.images.chain(*names, size=4 * MIB)
        for i, name in enumerate(names):
            self.images.io(name, f'write -P 1 {i}M 1M')
        options, prefix = 'node-name=top', 'backing.'
        for i in (2, 1, 0):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        self.vm.drive(self.paths[-1], options)
        for name in ('spare', 'target'):
            path = self.images.create(f'{name}.img', 4 * MIB)
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name,
                              'file': {'driver': 'file', 'filename': path}})
        self.vm.object('throttle-group,id=group')

    def launch(self, name=None, **arguments):
        self.vm.launch()
        if name:
            self.vm.command(name, job_id='j', speed=1, **arguments)

    def refused(self, text, reason, obj, holders, command, **arguments):
        """`holders` are (id, type); an id of None, or such an object, is not looked at."""
        with self.subTest(command=command, arguments=arguments):
            error = self.vm.qmp.execute(command, {key.replace('_', '-'): value
                                                  for key, value in arguments.items()})['error']
            self.assertEqual(error['desc'], text)
            data = error.get('data', {})
            told_of = data.get('object') if obj is not None else None
            self.assertEqual((data.get('reason'), told_of), (reason, obj), error)
            self.assertNotEqual(data.get('next-step', ''), '', error)
            told = [(one['id'], one['type']) for one in data['holders']]
            self.assertEqual(told, [(ident if wanted is None else wanted, kind)
                                    for (ident, _), (wanted, kind) in zip(told, holders)], error)
            self.assertEqual(len(told), len(holders), error)
            for one in data['holders']:
                if one['type'].endswith((' job', 'block device', 'guest device')):
                    self.assertGreater(one['since-ns'], 0, error)

    def test_a_commit(self):
        self.launch(COMMIT, device='drive0', top_node='n2', base_node='n0',
                    filter_node_name='filter')
        commit = ('j', 'commit job')
        busy = "Node '{}' is busy: block device is in use by block job: commit".format
        self.refused('Need a root block node', 'not-root', 'top', [commit],
                     COMMIT, device='drive0', job_id='x', top_node='n2', base_node='n0')
        self.refused('Need a root block node', 'not-root', 'top', [commit],
                     'change-backing-file', device='drive0', image_node_name='n2',
                     backing_file='x')
        self.refused('Need a root block node', 'not-root', 'n2', [commit, ('filter', 'node')],
                     COMMIT, device='n2', job_id='x')
        self.refused("Device 'drive0' is in use", 'node-busy', 'drive0', [commit],
                     'block_resize', device='drive0', size=MIB)
        self.refused("Device '(null)' is in use", 'node-busy', 'n1', [commit],
                     'block_resize', node_name='n1', size=MIB)
        self.refused(busy('n1'), 'node-busy', 'n1', [commit], 'blockdev-del', node_name='n1')
        self.refused('Node n0 is in use', 'node-in-use', 'n0', [commit, ('n1', 'node')],
                     'blockdev-del', node_name='n0')
        self.refused("Node 'filter' is busy: node is used as backing hd of 'top'", 'node-in-use',
                     'filter', [('top', 'node')], 'blockdev-del', node_name='filter')
        self.refused(busy('drive0'), 'node-busy', 'drive0', [commit],
                     'blockdev-snapshot', node='top', overlay='spare')

    def test_a_stream_down_to_a_commit_s_filter(self):
        self.vm.launch()
        self.vm.command(COMMIT, device='drive0', top_node='n1', base_node='n0', job_id='j', speed=1,
                        filter_node_name='filter')
        self.refused("Cannot freeze 'backing' link to 'filter'", 'unleasable-filter', 'filter',
                     [('j', 'commit job')], STREAM, device='n2', base_node='n1', job_id='x')

    def test_a_stream(self):
        self.launch(STREAM, device='n2', base_node='n0')
        stream = ('j', 'stream job')
        self.vm.command('blockdev-add', driver='qcow2', node_name='other',
                        file={'driver': 'file', 'filename': self.images.create('o.img', MIB)})
        self.refused("Cannot change frozen 'backing' link from 'n2' to 'n1'", 'frozen-link', 'n1',
                     [stream], 'blockdev-reopen', options=[self.qcow2('n2', '2.img', 'other')])
        self.refused('Cannot replace implicit backing child of top', 'frozen-link', None,
                     [stream, ('top', 'node')], 'blockdev-reopen', options=[self.qcow2('top', 'top.img', 'other')])

    def qcow2(self, name, image, backing):
        return {'driver': 'qcow2', 'node-name': name, 'backing': backing,
                'file': {'driver': 'file', 'filename': self.images.path(image)}}

    def test_a_mirror(self):
        self.launch(MIRROR, device='drive0', target='target', sync='full')
        mirror = ('j', 'mirror job')
        self.refused('Node target is in use', 'node-in-use', 'target', [mirror], 'blockdev-del',
                     node_name='target')
        self.refused("Device '(null)' is in use", 'node-busy', 'target', [mirror],
                     'block_resize', node_name='target', size=MIB)
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}})
        self.refused("Permission conflict on node 'target': permissions 'consistent read, write' are "
                     "both required by an unnamed block device (uses node 'target' as 'root' child) "
                     "and unshared "
                     "by an unnamed block device (uses node 'target' as 'root' child).",
                     'permission', 'target', [('', 'block device'), mirror], 'block-export-add',
                     type='nbd', id='e', node_name='target', writable=True)

    def test_a_permission_that_a_job_far_above_does_not_share(self):
        """What n1 does not share of n0 is what the job's edge to n1 does not."""
        self.launch(STREAM, device='drive0', base_node='n0')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}})
        self.vm.command('blockdev-reopen', options=[{
            'driver': 'qcow2', 'node-name': 'n0', 'read-only': False,
            'file': {'driver': 'file', 'filename': self.paths[0]}}])
        self.refused("Permission conflict on node 'n0': permissions 'write' are both required by "
                     "an unnamed block device (uses node 'n0' as 'root' child) and unshared by "
                     "node 'n1' (uses node 'n0' as 'backing' child).",
                     'permission', 'n0',
                     [('', 'block device'), ('n1', 'node'), ('j', 'stream job')],
                     'block-export-add', type='nbd', id='e', node_name='n0', writable=True)

    def test_without_a_job(self):
        self.launch()
        self.vm.command('blockdev-add', driver='throttle', node_name='thr', throttle_group='group',
                        file='spare')
        drive = ('drive0', 'block device')
        self.refused('Node top is in use', 'node-in-use', 'top', [drive], 'blockdev-del',
                     node_name='top')
        self.refused("Node 'n2' is busy: node is used as backing hd of 'top'", 'node-in-use',
                     'n2', [('top', 'node')], 'blockdev-del', node_name='n2')
        self.refused('Block device spare is in use', 'node-in-use', 'spare', [('thr', 'node')],
                     'blockdev-del', node_name='spare')
        self.refused("object 'group' is in use, can not be deleted", 'in-use', 'group',
                     [('thr', 'throttle member')], 'object-del', id='group')
        self.refused("Drive 'drive0' is already in use by another device", 'in-use', 'drive0',
                     [(None, 'guest device')], 'device_add', driver='virtio-blk-pci',
                     drive='drive0', id='d')
        self.refused('The overlay is already in use', 'node-in-use', 'top', [drive],
                     'blockdev-snapshot', node='target', overlay='top')

    def test_exports(self):
        self.launch()
        self.refused('NBD server not running', 'server-not-running', 'nbd-server', [],
                     'block-export-add', type='nbd', id='e', node_name='target')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': 'nbd'}})
        self.vm.command('block-export-add', type='nbd', id='e', node_name='target')
        self.refused("Block export id 'e' is already in use", 'duplicate-id', 'e',
                     [('e', 'export')], 'block-export-add', type='nbd', id='e', node_name='spare')
        self.refused('Node target is in use', 'node-in-use', 'target', [('', 'block device')],
                     'blockdev-del', node_name='target')
        self.refused("Export 'none' is not found", 'unknown-export', 'none', [],
                     'nbd-server-remove', name='none')
        self.refused("Export 'none' is not found", 'unknown-export', 'none', [],
                     'block-export-del', id='none')

    def test_names(self):
        self.launch()
        for text, reason, obj, name, arguments in (
                ("Failed to find node with node-name='x'", 'unknown-node', 'x', 'blockdev-del',
                 dict(node_name='x')),
                ("Device 'x' not found", 'unknown-device', 'x', 'device_del', dict(id='x')),
                ("object 'x' not found", 'unknown-object', 'x', 'object-del', dict(id='x')),
                ("Device 'x' not found", 'unknown-device', 'x', 'eject', dict(device='x'))):
            self.refused(text, reason, obj, [], name, **arguments)


class WithoutData(Case):
    """--qmp-error-data off: refusals as QEMU has them, for tests that print whole replies."""

    def test_nothing_but_class_and_text(self):
        options = os.environ.get('MILLRACED_OPTIONS', '') + ' --qmp-error-data off'
        with unittest.mock.patch.dict(os.environ, MILLRACED_OPTIONS=options):
            self.vm.launch()
        self.assertEqual(self.vm.reply('block-job-cancel', device='none')['error'],
                         {'class': 'DeviceNotActive', 'desc': "Block job 'none' not found"})


if __name__ == '__main__':
    unittest.main()
