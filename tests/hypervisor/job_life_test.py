"""The life of jobs: manual finalize and dismiss, verbs, names, who is in the way of what."""

from support.case import Case
from support.images import MIB

BUSY = "Node '{}' is busy: block device is in use by block job: {}"
NO_VERB = "Job '{}' in state '{}' cannot accept command verb '{}'"


class Life(Case):
    """base.img <- top.img (drive0, node top); a stream is held by its speed, or runs through."""

    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.top = self.images.create('top.img', backing=self.base)
        self.vm.drive(self.top, 'node-name=top,backing.node-name=base').launch()

    def stream(self, ident='job', **options):
        self.vm.command('block-stream', device='drive0', job_id=ident, **options)

    def only_job(self):
        (job,) = self.vm.command('query-jobs')
        return job

    def test_events_of_a_stream(self):
        self.stream()
        self.wait_ended('job')
        self.assertEqual(self.events_of('job'), [
            'created', 'running', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'])

    def test_events_with_manual_ends(self):
        self.stream(auto_finalize=False, auto_dismiss=False)
        pending = self.vm.qmp.wait_event('BLOCK_JOB_PENDING')['data']
        self.assertEqual(pending, {'type': 'stream', 'id': 'job'})
        self.assertEqual(self.only_job()['status'], 'pending')
        self.vm.command('job-finalize', id='job')
        self.wait_status('job', 'concluded')
        self.assertEqual(self.only_job()['status'], 'concluded')
        self.vm.command('job-dismiss', id='job')
        self.assert_no_job()
        self.assertEqual(self.events_of('job'), [
            'created', 'running', 'waiting', 'pending', 'BLOCK_JOB_PENDING',
            'BLOCK_JOB_COMPLETED', 'concluded', 'null'])

    def test_finalize_by_the_other_family(self):
        self.stream(auto_finalize=False, auto_dismiss=False)
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING')
        self.vm.command('block-job-finalize', id='job')
        self.wait_status('job', 'concluded')
        self.vm.command('block-job-dismiss', id='job')
        self.assert_no_job()

    def test_an_undismissed_job_keeps_its_name_and_its_nodes(self):
        self.stream(auto_dismiss=False)
        self.wait_status('job', 'concluded')
        # What it has cut out is still there, and it is in the way of whoever would work on it.
        self.assertIsNone(self.backing_of('top'))
        self.assertLessEqual({'top', 'base'}, self.node_names())
        for node in ('drive0', 'base'):
            self.assert_refused(BUSY.format(node, 'stream'), 'block-stream', device=node,
                                job_id='other')
        self.assert_refused(BUSY.format('base', 'stream'), 'blockdev-del', node_name='base')
        self.assert_refused(NO_VERB.format('job', 'concluded', 'cancel'), 'job-cancel', id='job')
        self.vm.command('blockdev-add', driver='null-co', node_name='null', size=MIB)
        self.assert_refused("Job ID 'job' already in use", 'block-stream', device='null',
                            job_id='job')
        self.vm.command('job-dismiss', id='job')
        self.assertNotIn('base', self.node_names())
        self.images.io('base.img', 'write -P 1 0 64k')  # nobody has it open any more
        self.stream()
        self.wait_ended('job')

    def node_names(self):
        graph = self.vm.command('x-debug-query-block-graph')
        return {node['name'] for node in graph['nodes'] if node['type'] == 'block-driver'}

    def test_query_shapes(self):
        self.stream(speed=1)
        job = self.job('job')
        self.assertEqual(set(job), {'auto-dismiss', 'auto-finalize', 'busy', 'device', 'io-status',
                                    'len', 'offset', 'paused', 'ready', 'speed', 'status', 'type'})
        self.assertEqual((job['type'], job['len'], job['speed'], job['ready'], job['status']),
                         ('stream', 4 * MIB, 1, False, 'running'))
        self.assertEqual(set(self.only_job()),
                         {'id', 'type', 'status', 'current-progress', 'total-progress'})

    def test_the_newest_job_comes_first(self):
        for i in range(3):
            self.vm.command('blockdev-add', driver='qcow2', node_name=f'over{i}',
                            file={'driver': 'file', 'filename': self.over(i)})
            self.vm.command('block-stream', device=f'over{i}', job_id=f'job{i}', speed=1)
        self.assertEqual([job['id'] for job in self.vm.command('query-jobs')],
                         ['job2', 'job1', 'job0'])
        self.assertEqual([job['device'] for job in self.jobs()], ['job2', 'job1', 'job0'])

    def over(self, i):
        self.images.create(f'below{i}.img', 4 * MIB)
        self.images.io(f'below{i}.img', 'write -P 1 0 4M')
        return self.images.create(f'over{i}.img', backing=self.images.path(f'below{i}.img'))

    def test_verbs_of_a_running_job(self):
        self.stream(speed=1)
        for verb in ('complete', 'finalize', 'dismiss'):
            self.assert_refused(NO_VERB.format('job', 'running', verb), f'job-{verb}', id='job')
        self.assert_refused("Can't resume a job that was not paused", 'job-resume', id='job')

    def test_verbs_of_a_paused_job(self):
        self.stream(speed=1)
        self.pause('job')
        self.assert_refused('Job is already paused', 'job-pause', id='job')
        self.assert_refused("The block job for device 'job' is currently paused",
                            'block-job-cancel', device='job')
        for verb in ('complete', 'finalize', 'dismiss'):
            self.assert_refused(NO_VERB.format('job', 'paused', verb), f'job-{verb}', id='job')
        self.vm.command('block-job-set-speed', device='job', speed=5)
        self.assertEqual(self.job('job')['speed'], 5)
        self.vm.command('job-cancel', id='job')
        self.assertEqual(self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED')['data']['device'], 'job')

    def test_cancel_while_pending(self):
        self.stream(auto_finalize=False, auto_dismiss=False)
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING')
        self.vm.command('job-cancel', id='job')
        self.wait_status('job', 'concluded')
        job = self.only_job()
        self.assertEqual(job['error'], 'Operation canceled')
        self.vm.command('job-dismiss', id='job')
        self.assertEqual(self.backing_of('top'), 'base')

    def test_job_ids(self):
        for ident in ('', '1st', '-x', 'a b', 'a/b', '.x', '_x'):
            self.assert_refused(f"Invalid job ID '{ident}'", 'block-stream', device='drive0',
                                job_id=ident)
        for ident in ('a', 'A-1', 'a.b_c', 'x' * 200):
            self.stream(ident)
            self.wait_ended(ident)

    def test_unknown_jobs(self):
        for verb in ('pause', 'resume', 'cancel', 'complete'):
            self.assert_refused("Block job 'none' not found", f'block-job-{verb}',
                                error_class='DeviceNotActive', device='none')
            self.assert_refused('Job not found', f'job-{verb}', id='none')
        for verb in ('finalize', 'dismiss'):
            self.assert_refused("Block job 'none' not found", f'block-job-{verb}',
                                error_class='DeviceNotActive', id='none')
            self.assert_refused('Job not found', f'job-{verb}', id='none')

    def test_a_job_that_cannot_start_is_seen_to_come_and_go(self):
        self.assert_refused("Parameter 'speed' expects a non-negative value", 'block-stream',
                            device='drive0', job_id='bad', speed=-1)
        self.vm.command('query-jobs')
        self.assertEqual(self.statuses('bad'), ['created', 'null'])
        self.assert_refused("Invalid job ID '1bad'", 'block-stream', device='drive0',
                            job_id='1bad')
        self.vm.command('query-jobs')
        self.assertEqual(self.statuses('1bad'), [])

    def test_speed_is_in_the_events(self):
        self.stream(speed=64 * MIB)
        self.assertEqual(self.wait_ended('job')['speed'], 64 * MIB)

    def test_what_a_job_is_in_the_way_of(self):
        busy = 'block device is in use by block job: stream'
        self.stream(speed=1, filter_node_name='filter')
        self.assert_refused("Device 'drive0' is in use", 'block_resize', device='drive0',
                            size=8 * MIB)
        for node, name, arguments in (
                ('drive0', 'blockdev-snapshot-sync',
                 dict(device='drive0', snapshot_file=self.images.path('new.img'))),
                ('drive0', 'block-stream', dict(device='drive0', job_id='other')),
                ('top', 'blockdev-del', dict(node_name='top')),
                ('base', 'blockdev-del', dict(node_name='base'))):
            with self.subTest(name=name, node=node):
                self.assert_refused(f"Node '{node}' is busy: {busy}", name, **arguments)


class TwoJobs(Case):
    """a0 <- a1 <- a2 <- a3 <- a4 (drive0), nodes n0…n4."""

    def setUp(self):
        super().setUp()
        names = [f'a{i}.img' for i in range(5)]
        self.paths = self.images.chain(*names, size=4 * MIB)
        for i in range(4):
            self.images.io(names[i], f'write -P {i + 1} {i}M 1M')
        prefix, options = '', []
        for i in range(4, -1, -1):
            options.append(f'{prefix}node-name=n{i}')
            prefix += 'backing.'
        self.vm.drive(self.paths[-1], ','.join(options)).launch()

    def assert_view(self):
        self.assertEqual(self.vm.quit(), 0)
        for i in range(4):
            self.assertTrue(self.images.holds('a4.img', i + 1, i * MIB, MIB))
        self.images.check('a4.img')

    def pair(self, first, second):
        """A lower stream into n1 and an upper one into n3, ending in the order given."""
        self.vm.command('block-stream', device='n1', job_id='lower', base_node='n0', speed=1,
                        auto_finalize=False)
        self.vm.command('block-stream', device='n4', job_id='upper', bottom='n3', speed=1,
                        auto_finalize=False)
        for ident in (first, second):
            self.wait_pending(ident)
            self.vm.command('job-finalize', id=ident)
            self.wait_ended(ident)
        self.assert_no_job()

    def test_lower_first(self):
        self.pair('lower', 'upper')
        self.assertEqual(self.backing_of('n4'), 'n2')
        self.assert_view()

    def test_upper_first(self):
        self.pair('upper', 'lower')
        self.assertEqual(self.backing_of('n4'), 'n2')
        self.assert_view()

    def test_a_stream_down_to_another_job_s_filter(self):
        for order in (('lower', 'upper'), ('upper', 'lower')):
            with self.subTest(order=order):
                self.setUp()
                self.vm.command('block-stream', device='n2', job_id='lower', base_node='n0',
                                filter_node_name='filter', speed=1, auto_finalize=False)
                self.assert_refused(
                    "Node 'filter' is busy: block device is in use by block job: stream",
                    'block-stream', device='n4', job_id='upper', base_node='n2')
                self.vm.command('block-stream', device='n4', job_id='upper', base_node='filter',
                                speed=1, auto_finalize=False)
                for ident in order:
                    self.wait_pending(ident)
                    self.vm.command('job-finalize', id=ident)
                    self.wait_ended(ident)
                self.assertEqual(self.backing_of('n4'), 'n2')
                self.assertEqual(self.backing_of('n2'), 'n0')
                self.assert_view()
                self.assertEqual(self.images.backing_name('a4.img'), self.paths[2])

    def test_a_commit_below_a_stream_on_a_writable_chain(self):
        """QEMU accepts the stream, and the commit fails at its very end; Millrace refuses it."""
        vm = self.vm = self.machine()
        names = [f'b{i}.img' for i in range(5)]
        paths = self.images.chain(*names, size=4 * MIB)
        self.images.io('b1.img', 'write -P 1 0 4M')
        for i, path in enumerate(paths):
            node = {'driver': 'qcow2', 'node-name': f'n{i}', 'file': {
                'driver': 'file', 'filename': path}}
            if i:
                node['backing'] = f'n{i - 1}'
            vm.blockdev(node)
        vm.launch()
        self.vm.command('block-commit', device='n4', job_id='commit', top_node='n1',
                        base_node='n0', filter_node_name='commit-filter', speed=1)
        # With the commit its filter would be gone, and nothing would be in the stream's way.
        self.assertEqual(self.job('commit')['status'], 'running', self.all_events())
        self.assert_refused("Cannot freeze 'backing' link to 'commit-filter'", 'block-stream',
                            device='n3', base_node='n1', job_id='stream')
        self.vm.command('block-job-set-speed', device='commit', speed=0)
        self.wait_ended('commit')
