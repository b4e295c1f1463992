"""Nodes by command: adding, deleting, snapshots, filters, devices, and jobs between them."""

from support.case import Case
from support.images import MIB


class Deleting(Case):
    """As QEMU's 139 and 141 ask: what keeps a node from being deleted."""

    def setUp(self):
        super().setUp()
        self.vm.launch()

    def add(self, name, backing=None, **options):
        if not (self.folder / f'{name}.img').exists():
            self.images.create(f'{name}.img', MIB)
        if backing:
            options['backing'] = backing
        self.vm.command('blockdev-add', driver='qcow2', node_name=name, file={
            'driver': 'file', 'filename': self.images.path(f'{name}.img')}, **options)

    def test_a_lone_node(self):
        self.add('a')
        self.vm.command('blockdev-del', node_name='a')
        self.assert_refused("Failed to find node with node-name='a'", 'blockdev-del',
                            node_name='a')
        self.assertEqual(self.named_nodes(), {})

    def test_a_backing_node(self):
        self.add('a')
        self.add('b', backing='a')
        self.assert_refused("Node 'a' is busy: node is used as backing hd of 'b'", 'blockdev-del',
                            node_name='a')
        self.vm.command('blockdev-del', node_name='b')
        self.vm.command('blockdev-del', node_name='a')

    def test_a_child_by_name(self):
        self.images.create('a.img', MIB)
        self.vm.command('blockdev-add', driver='file', node_name='file',
                        filename=self.images.path('a.img'))
        self.vm.command('blockdev-add', driver='qcow2', node_name='a', file='file')
        self.assert_refused('Block device file is in use', 'blockdev-del', node_name='file')
        self.vm.command('blockdev-del', node_name='a')
        self.vm.command('blockdev-del', node_name='file')

    def test_a_child_that_the_monitor_does_not_own(self):
        self.images.create('a.img', MIB)
        self.vm.command('blockdev-add', driver='qcow2', node_name='a', file={
            'driver': 'file', 'node-name': 'file', 'filename': self.images.path('a.img')})
        self.assert_refused('Node file is not owned by the monitor', 'blockdev-del',
                            node_name='file')
        self.vm.command('blockdev-del', node_name='a')
        self.assertEqual(self.named_nodes(), {})

    def test_a_node_that_a_device_uses(self):
        self.add('a')
        self.vm.command('device_add', driver='virtio-blk-pci', id='dev', drive='a')
        self.assert_refused('Node a is in use', 'blockdev-del', node_name='a')

    def test_a_node_that_a_job_uses(self):
        self.add('a')
        self.images.create('b.img', backing=self.images.path('a.img'))
        self.images.io('a.img', 'write -P 1 0 1M', expect=(0, 1))
        self.add('b', backing='a')
        self.vm.command('block-commit', device='b', job_id='job')
        self.wait_ready('job')
        busy = 'block device is in use by block job: commit'
        self.assert_refused('Node a is in use', 'blockdev-del', node_name='a')
        self.assert_refused(f"Node 'b' is busy: {busy}", 'blockdev-del', node_name='b')
        self.cancel('job')
        self.vm.command('blockdev-del', node_name='b')
        self.vm.command('blockdev-del', node_name='a')

    def test_many_times(self):
        for _ in range(20):
            self.add('a')
            self.add('b', backing='a')
            self.vm.command('blockdev-del', node_name='b')
            self.vm.command('blockdev-del', node_name='a')
        self.assertEqual(self.named_nodes(), {})


class Snapshots(Case):
    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', MIB)
        self.images.io('base.img', 'write -P 1 0 1M')
        self.vm.drive(self.base, 'node-name=base').launch()

    def drive_node(self):
        (drive,) = self.vm.command('query-block')
        return drive['inserted']['node-name']

    def test_a_new_file(self):
        self.vm.command('blockdev-snapshot-sync', device='drive0', snapshot_node_name='snap',
                        snapshot_file=self.images.path('snap.img'), format='qcow2')
        self.assertEqual(self.drive_node(), 'snap')
        self.assertEqual(self.backing_of('snap'), 'base')
        self.assertTrue(self.named_nodes(flat=True)['base']['ro'])
        self.vm.io('drive0', 'write -P 2 0 64K')
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.backing_name('snap.img'), self.base)
        self.assertTrue(self.images.holds('base.img', 1, 0, MIB))
        self.assertTrue(self.images.holds('snap.img', 2, 0, 65536))

    def test_a_node(self):
        over = self.images.create('over.img', backing=self.base)
        self.vm.command('blockdev-add', driver='qcow2', node_name='over', backing=None,
                        file={'driver': 'file', 'filename': over})
        self.vm.command('blockdev-snapshot', node='base', overlay='over')
        self.assertEqual(self.drive_node(), 'over')
        self.assertEqual(self.backing_of('over'), 'base')

    def test_a_chain_of_snapshots_and_a_commit_of_all(self):
        for i in range(4):
            self.vm.command('blockdev-snapshot-sync', device='drive0',
                            snapshot_file=self.images.path(f's{i}.img'),
                            snapshot_node_name=f's{i}')
            self.vm.io('drive0', f'write -P {i + 10} {i * 128}K 128K')
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.complete()
        self.assertEqual(self.drive_node(), 'base')
        self.assertEqual(self.vm.quit(), 0)
        for i in range(4):
            self.assertTrue(self.images.holds('base.img', i + 10, i * 128 * 1024, 128 * 1024))

    def test_a_job_that_could_end_in_the_drain_of_a_refused_snapshot(self):
        """QEMU lets a held stream do its last piece while it drains, and fails an assertion."""
        self.vm.command('blockdev-snapshot-sync', device='drive0', snapshot_node_name='snap',
                        snapshot_file=self.images.path('snap.img'))
        self.vm.command('block-stream', device='drive0', speed=1)
        self.vm.reply('blockdev-snapshot-sync', device='drive0',
                      snapshot_file=self.images.path('again.img'))
        self.vm.reply('block-job-set-speed', device='drive0', speed=0)
        self.wait_ended()

    def test_refused_while_a_job_runs(self):
        self.vm.command('block_resize', device='drive0', size=8 * MIB)
        self.vm.io('drive0', 'write -P 1 0 8M')
        self.vm.command('blockdev-snapshot-sync', device='drive0', snapshot_node_name='snap',
                        snapshot_file=self.images.path('snap.img'))
        self.vm.command('block-stream', device='drive0', speed=1)
        self.assert_refused("Node 'drive0' is busy: block device is in use by block job: stream",
                            'blockdev-snapshot-sync', device='drive0',
                            snapshot_file=self.images.path('again.img'))


class Filters(Case):
    """Streams and commits whose device, or whose chain, holds filters that the user put there."""

    def setUp(self):
        super().setUp()
        names = [f'a{i}.img' for i in range(4)]
        self.paths = self.images.chain(*names, size=MIB)
        for i in range(3):
            self.images.io(names[i], f'write -P {i + 1} {i * 256}K 256K')
        self.vm.object('throttle-group,id=group')

    def format_node(self, i, backing=None, **options):
        node = {'driver': 'qcow2', 'node-name': f'n{i}', 'file': {
            'driver': 'file', 'filename': self.paths[i]}, **options}
        if i:
            node['backing'] = backing or f'n{i - 1}'
        self.vm.blockdev(node)

    def filter_node(self, name, file):
        self.vm.blockdev({'driver': 'throttle', 'node-name': name, 'throttle-group': 'group',
                          'file': file})

    def assert_view(self, name='a3.img'):
        self.assertEqual(self.vm.quit(), 0)
        for i in range(3):
            self.assertTrue(self.images.holds(name, i + 1, i * 256 * 1024, 256 * 1024))
        self.images.check(name)

    def test_the_device_is_a_filter(self):
        for i in range(4):
            self.format_node(i)
        self.filter_node('filter', 'n3')
        self.vm.launch()
        self.vm.command('block-stream', device='filter', job_id='job', base_node='n0')
        self.wait_ended('job')
        self.assertEqual(self.child_of('filter', 'file'), 'n3')
        self.assertEqual(self.backing_of('n3'), 'n0')
        self.assert_view()
        self.assertEqual(self.images.backing_name('a3.img'), self.paths[0])

    def test_the_device_is_a_filter_directly_above_its_base(self):
        self.format_node(0)
        self.filter_node('filter', 'n0')
        self.vm.launch()
        self.assert_refused("'n0' is not in the backing chain of 'filter'", 'block-stream',
                            device='filter', job_id='job', base_node='n0')

    def test_base_below_a_filter(self):
        self.format_node(0)
        self.format_node(1)
        self.filter_node('filter', 'n1')
        self.format_node(2, 'filter')
        self.format_node(3)
        self.vm.launch()
        self.vm.command('block-stream', device='n3', job_id='job', base_node='n1')
        self.wait_ended('job')
        self.assertEqual(self.backing_of('n3'), 'n1')
        self.assert_view()

    def test_base_is_the_filter(self):
        self.format_node(0)
        self.format_node(1)
        self.filter_node('filter', 'n1')
        self.format_node(2, 'filter')
        self.format_node(3)
        self.vm.launch()
        self.vm.command('block-stream', device='n3', job_id='job', base_node='filter')
        self.wait_ended('job')
        self.assertEqual(self.backing_of('n3'), 'filter')
        self.assert_view()
        self.assertEqual(self.images.backing_name('a3.img'), self.paths[1])

    def test_bottom_above_a_filter(self):
        self.format_node(0)
        self.format_node(1)
        self.filter_node('filter', 'n1')
        self.format_node(2, 'filter')
        self.format_node(3)
        self.vm.launch()
        self.assert_refused("Node 'filter' is a filter, use a non-filter node as 'bottom'",
                            'block-stream', device='n3', job_id='job', bottom='filter')
        self.vm.command('block-stream', device='n3', job_id='job', bottom='n2')
        self.wait_ended('job')
        self.assertEqual(self.backing_of('n3'), 'filter')
        self.assert_view()

    def test_a_commit_through_filters(self):
        self.format_node(0)
        self.format_node(1)
        self.filter_node('filter', 'n1')
        self.format_node(2, 'filter')
        self.format_node(3)
        self.vm.launch()
        self.vm.command('block-commit', device='n3', job_id='job', top_node='n2', base_node='n0')
        self.wait_ended('job')
        self.assertEqual(self.backing_of('n3'), 'n0')
        self.assert_view()

    def test_an_active_commit_below_a_filter(self):
        for i in range(4):
            self.format_node(i)
        self.filter_node('filter', 'n3')
        self.vm.launch()
        self.vm.command('block-commit', device='filter', job_id='job', top_node='n3',
                        base_node='n1')
        self.complete('job')
        self.assertEqual(self.child_of('filter', 'file'), 'n1')
        self.assertEqual(self.vm.quit(), 0)
        for i in range(3):
            self.assertTrue(self.images.holds('a1.img', i + 1, i * 256 * 1024, 256 * 1024))

    def test_copy_on_read(self):
        for i in range(4):
            self.format_node(i)
        self.vm.blockdev({'driver': 'copy-on-read', 'node-name': 'cor', 'file': 'n3',
                          'bottom': 'n2'})
        self.vm.launch()
        self.vm.io('cor', 'read 0 64K')       # from n0: below bottom, so not copied
        self.vm.io('cor', 'read 512K 64K')    # from n2: copied
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.map('a3.img').splitlines()[1],
                         '64 KiB (0x10000) bytes     allocated at offset 512 KiB (0x80000)')


class Devices(Case):
    def test_a_device_at_the_command_line(self):
        path = self.images.create('a.img', MIB)
        self.vm.drive(path, 'node-name=n', interface='none')
        self.vm.device('virtio-blk-pci,id=dev0,drive=drive0').launch()
        self.assert_refused('Node n is in use', 'blockdev-del', node_name='n')
        reply = self.vm.qmp.execute('device_add', {
            'driver': 'virtio-blk-pci', 'id': 'dev1', 'drive': 'drive0'})
        self.assertEqual(reply['error']['desc'],
                         "Drive 'drive0' is already in use by another device")

    def test_hotplug_is_undone(self):
        path = self.images.create('a.img', MIB)
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'n', 'file': {
            'driver': 'file', 'filename': path}})
        self.vm.device('virtio-scsi-pci,id=scsi').launch()
        for _ in range(3):
            self.vm.command('device_add', driver='scsi-hd', id='disk', drive='n')
            self.assert_refused('Node n is in use', 'blockdev-del', node_name='n')
            self.vm.command('device_del', id='disk')
            self.vm.qmp.wait_event('DEVICE_DELETED', device='disk')
        self.vm.command('blockdev-del', node_name='n')


class Edges(Case):
    def test_a_job_that_waits_to_be_dismissed_is_there(self):
        self.images.chain('base.img', 'top.img')
        self.vm.drive(self.images.path('top.img'), 'node-name=top').launch()
        target = self.images.create('target.img', MIB)
        self.vm.qmp.execute('blockdev-add', {'driver': 'qcow2', 'node-name': 'target', 'file': {
            'driver': 'file', 'filename': target}})
        self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full',
                        job_id='job', auto_dismiss=False)
        self.wait_ready('job', 'mirror')
        self.vm.command('job-complete', id='job')
        self.wait_status('job', 'concluded')
        for is_there in (True, False):
            graph = self.vm.command('x-debug-query-block-graph')
            jobs = [node for node in graph['nodes'] if node['type'] == 'block-job']
            self.assertEqual([job['name'] for job in jobs], ['job'] if is_there else [])
            if is_there:
                ends = {edge[end] for edge in graph['edges'] for end in ('parent', 'child')}
                self.assertNotIn(jobs[0]['id'], ends)
                self.vm.command('job-dismiss', id='job')


class Quorum(Case):
    """Three children, one of which holds something else."""

    def setUp(self):
        super().setUp()
        for name in 'abc':
            self.images.create(f'{name}.img', MIB)
            self.images.io(f'{name}.img', f'write -P {9 if name == "b" else 1} 0 64K')
        self.vm.launch()
        for name in 'abc':
            self.vm.command('blockdev-add', driver='qcow2', node_name=name,
                            file={'driver': 'file', 'filename': self.images.path(f'{name}.img')})

    def add(self, threshold, **options):
        return self.vm.reply('blockdev-add', driver='quorum', node_name='q',
                             vote_threshold=threshold, children=['a', 'b', 'c'], **options)

    def bad(self):
        return [(event['data']['node-name'], event['data']['sector-num'],
                 event['data']['sectors-count'])
                for event in self.vm.qmp.take_events('QUORUM_REPORT_BAD')]

    def test_a_child_that_is_outvoted_is_named(self):
        self.assertEqual(self.add(2), {'return': {}})
        self.assertTrue(self.shows('q', 1, 0, 65536))
        self.assertEqual(self.bad(), [('b', 0, 128)])
        self.assertTrue(self.shows('b', 9, 0, 65536))
        self.assertTrue(self.shows('q', 0, 65536, 65536))
        self.assertEqual(self.bad(), [])

    def test_a_child_that_is_outvoted_is_rewritten_on_request(self):
        self.assertEqual(self.add(2, rewrite_corrupted=True), {'return': {}})
        self.assertTrue(self.shows('q', 1, 0, 65536))
        self.assertTrue(self.shows('b', 1, 0, 65536))

    def test_nobody_wins_where_all_must_agree(self):
        self.assertEqual(self.add(3), {'return': {}})
        before = len(self.vm.output())
        self.vm.io('q', 'read 0 64K')
        self.assertIn('read failed: Input/output error', self.vm.output()[before:])
        event = self.vm.qmp.wait_event('QUORUM_FAILURE')
        self.assertEqual(event['data'], {'reference': 'q', 'sector-num': 0, 'sectors-count': 128})

    def test_a_threshold_that_cannot_be(self):
        for threshold, text in ((0, "Parameter 'vote-threshold' expects a value >= 1"),
                                (4, 'threshold may not exceed children count')):
            self.assertEqual(self.add(threshold)['error']['desc'], text)
            self.assertNotIn('q', self.named_nodes(flat=True))


class ChangeBackingFile(Case):
    def test_the_header_names_the_new_file_and_the_chain_stays(self):
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 64K')
        self.images.create('alias.img', MIB)
        self.vm.drive(paths[2], 'node-name=top,backing.node-name=mid').launch()
        self.assertEqual(self.images.info('mid.img')['backing-filename'], paths[0])
        self.vm.command('change-backing-file', device='drive0', image_node_name='mid',
                        backing_file=self.images.path('alias.img'))
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['image']['backing-image']['backing-filename'],
                         self.images.path('alias.img'))
        self.assertTrue(self.shows('drive0', 1, 0, 65536))
        self.assertEqual(self.vm.quit(), 0)
        told = self.images.info('mid.img')
        self.assertEqual((told['backing-filename'], told['backing-filename-format']),
                         (self.images.path('alias.img'), 'qcow2'))
        self.assertEqual(self.images.backing_name('top.img'), paths[1])
        self.assertTrue(self.images.holds('top.img', 0, 0, 65536))
