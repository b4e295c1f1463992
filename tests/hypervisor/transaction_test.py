"""transaction, blockdev-create, block-set-write-threshold, block_set_io_throttle."""

from support.case import Case
from support.images import MIB


class Transaction(Case):
    def setUp(self):
        super().setUp()
        for name in 'ab':
            path = self.images.create(f'{name}.img', MIB)
            self.vm.drive(path, f'node-name={name}')
        self.vm.launch()

    def act(self, *actions, refusal=None, **more):
        reply = self.vm.qmp.execute('transaction', {
            'actions': [{'type': kind, 'data': data} for kind, data in actions], **more})
        self.assertEqual(reply.get('error', {}).get('desc'), refusal)

    def snapshot(self, node, name):
        return 'blockdev-snapshot-sync', {'node-name': node, 'snapshot-node-name': name,
                                          'snapshot-file': self.images.path(f'{name}.img')}

    def test_two_snapshots_in_one_step(self):
        self.act(self.snapshot('a', 's0'), self.snapshot('b', 's1'))
        tops = [drive['inserted']['node-name'] for drive in self.vm.command('query-block')]
        self.assertEqual(tops, ['s0', 's1'])

    def test_one_that_fails_undoes_the_other(self):
        self.act(self.snapshot('a', 's0'), self.snapshot('none', 's1'),
                 refusal="Cannot find device='' nor node-name='none'")
        self.act(self.snapshot('a', 's0'), ('abort', {}),
                 refusal='Transaction aborted using Abort action')
        tops = [drive['inserted']['node-name'] for drive in self.vm.command('query-block')]
        self.assertEqual(tops, ['a', 'b'])
        self.assertNotIn('s0', self.named_nodes(flat=True))

    def test_what_cannot_be_meant(self):
        self.act(('nonsense', {}), refusal="Parameter 'type' does not accept value 'nonsense'")
        self.act(('blockdev-snapshot', {'node': 'a'}),
                 refusal="Parameter 'actions[0].data.overlay' is missing")
        self.act(self.snapshot('a', 's0'), properties={'completion-mode': 'grouped'},
                 refusal="Action 'blockdev-snapshot-sync' does not support Transaction property "
                         'completion-mode = grouped')
        self.act()


class Create(Case):
    """blockdev-create is a job that must be dismissed, and no block job."""

    def setUp(self):
        super().setUp()
        self.vm.launch()

    def create(self, error=None, **options):
        options = {name.replace('_', '-'): value for name, value in options.items()}
        self.vm.command('blockdev-create', job_id='job', options=options)
        self.wait_status('job', 'concluded')
        (job,) = self.vm.command('query-jobs')
        self.assertEqual((job['type'], job['current-progress'], job['total-progress']),
                         ('create', 1, 1))
        self.assertEqual(job.get('error'), error)
        self.assertEqual(self.jobs(), [])
        self.vm.command('job-dismiss', id='job')

    def test_a_file_and_an_image_in_it(self):
        path = self.images.path('new.img')
        self.create(driver='file', filename=path, size=0)
        self.vm.command('blockdev-add', driver='file', node_name='file', filename=path)
        self.create(driver='qcow2', file='file', size=4 * MIB, cluster_size=4096)
        self.vm.command('blockdev-add', driver='qcow2', node_name='image', file='file')
        self.vm.io('image', 'write -P 7 1M 64K')
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.info('new.img')['cluster-size'], 4096)
        self.images.check('new.img')

    def test_failures_are_the_jobs(self):
        self.create("Could not create '/nonexistent/x': No such file or directory", driver='file',
                    filename='/nonexistent/x', size=0)
        self.create("Cannot find device='none' nor node-name='none'", driver='qcow2', file='none',
                    size=MIB)
        self.vm.command('blockdev-add', driver='file', node_name='file',
                        filename=self.images.create('x.img', MIB, 'raw'))
        self.create('Image size must be a multiple of 512 bytes', driver='qcow2', file='file',
                    size=513)
        self.create('Cluster size must be a power of two between 512 and 2048k', driver='qcow2',
                    file='file', size=MIB, cluster_size=1000)

    def test_refusals(self):
        for text, options in (
                ('Driver does not support blockdev-create', {'driver': 'null-co'}),
                ("Parameter 'driver' does not accept value 'none'", {'driver': 'none'}),
                ("Parameter 'options.size' is missing", {'driver': 'qcow2', 'file': 'x'})):
            self.assert_refused(text, 'blockdev-create', job_id='job', options=options)
        self.assertEqual(self.vm.command('query-jobs'), [])


class Limits(Case):
    def setUp(self):
        super().setUp()
        self.vm.drive(self.images.create('a.img', MIB), 'node-name=a,file.node-name=file').launch()

    def test_a_write_threshold(self):
        self.vm.command('block-set-write-threshold', node_name='file', write_threshold=64 * 1024)
        self.assertEqual(self.named_nodes(flat=True)['file']['write_threshold'], 64 * 1024)
        self.vm.io('drive0', 'write -P 1 512K 64K')
        data = self.vm.qmp.wait_event('BLOCK_WRITE_THRESHOLD')['data']
        self.assertEqual((data['node-name'], data['write-threshold']), ('file', 64 * 1024))
        self.assertGreater(data['amount-exceeded'], 0)
        self.assertEqual(self.named_nodes(flat=True)['file']['write_threshold'], 0)
        self.assert_refused("Device 'none' not found", 'block-set-write-threshold',
                            error_class='GenericError', node_name='none', write_threshold=1)

    def test_io_limits(self):
        zero = {name: 0 for name in ('bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr')}

        def limit(**limits):
            return self.vm.qmp.execute('block_set_io_throttle',
                                       {'device': 'drive0', **zero, **limits})
        self.assertEqual(limit(bps=1000000, bps_max=2000000, group='g'), {'return': {}})
        (drive,) = self.vm.command('query-block')
        shown = drive['inserted']
        self.assertEqual((shown['bps'], shown['bps_max'], shown['group']), (1000000, 2000000, 'g'))
        self.assertEqual(limit(bps=1, bps_rd=1)['error']['desc'],
                         'bps/iops/max total values and read/write values cannot be used at the '
                         'same time')
        self.assertEqual(limit(), {'return': {}})
        (drive,) = self.vm.command('query-block')
        self.assertNotIn('group', drive['inserted'])
