"""block-commit: active and intermediate, its refusals, its errors (as QEMU's 040 asks for)."""

from support.case import Case
from support.images import MIB

ERROR = 'Input/output error'


class Chain(Case):
    """backing.img <- mid.img <- test.img (drive0), 1 M each; data in the two lower ones."""

    node_names = 'node-name=top,backing.node-name=mid,backing.backing.node-name=base'

    def setUp(self):
        super().setUp()
        self.backing = self.images.create('backing.img', MIB)
        self.mid = self.images.create('mid.img', backing=self.backing)
        self.top = self.images.create('test.img', backing=self.mid)
        self.images.io('backing.img', 'write -P 0xab 0 524288')
        self.images.io('mid.img', 'write -P 0xef 524288 524288')
        self.start()

    def start(self):
        self.vm.drive(self.top, self.node_names).launch()

    def assert_committed(self, name='backing.img'):
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds(name, 0xab, 0, 524288))
        self.assertTrue(self.images.holds(name, 0xef, 524288, 524288))
        self.images.check(name)


class Intermediate(Chain):
    def test_by_name(self):
        self.vm.command('block-commit', device='drive0', top=self.mid, base=self.backing)
        data = self.wait_ended(kind='commit')
        self.assertEqual(data['len'], MIB)
        self.assertEqual(self.backing_of('top'), 'base')
        self.assert_committed()
        self.assertEqual(self.images.backing_name('test.img'), self.backing)

    def test_by_node(self):
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base')
        self.wait_ended(kind='commit')
        self.assert_committed()

    def test_by_a_path_that_is_spelled_differently(self):
        folder = self.folder.name
        strange = str(self.folder / '..' / folder / 'mid.img')
        self.vm.command('block-commit', device='drive0', top=strange, base=self.backing)
        self.wait_ended(kind='commit')
        self.assert_committed()

    def test_without_a_base_it_goes_to_the_lowest(self):
        self.vm.command('block-commit', device='drive0', top_node='mid')
        self.wait_ended(kind='commit')
        self.assert_committed()

    def test_backing_file_string(self):
        self.images.create('other.img', MIB)
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base',
                        backing_file=self.images.path('other.img'))
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.backing_name('test.img'), self.images.path('other.img'))

    def test_the_guest_writes_meanwhile(self):
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base', speed=1,
                        auto_finalize=False)
        self.vm.io('drive0', 'write -P 0x77 256K 64K')
        self.vm.io('drive0', 'write -P 0x78 768K 64K')
        self.wait_pending()
        self.vm.command('job-finalize', id='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        for pattern, offset, length in ((0xab, 0, 256 * 1024), (0x77, 256 * 1024, 65536),
                                        (0x78, 768 * 1024, 65536)):
            self.assertTrue(self.images.holds('test.img', pattern, offset, length))
        self.assertTrue(self.images.holds('backing.img', 0xef, 768 * 1024, 65536))

    def test_refusals(self):
        for text, error_class, arguments in (
                ("Device 'none' not found", 'DeviceNotFound', dict(device='none')),
                ('Top image file /nope not found', 'GenericError', dict(top='/nope')),
                ("Can't find '/nope' in the backing chain", 'GenericError',
                 dict(top=self.mid, base='/nope')),
                ("Cannot find device='' nor node-name='nope'", 'GenericError',
                 dict(top_node='nope')),
                (f"Can't find '{self.mid}' in the backing chain", 'GenericError',
                 dict(top=self.mid, base=self.mid)),
                ('cannot commit an image into itself', 'GenericError',
                 dict(top_node='mid', base_node='mid')),
                ("'top' is not in this backing file chain", 'GenericError',
                 dict(top_node='mid', base_node='top')),
                ("'top-node' and 'top' are mutually exclusive", 'GenericError',
                 dict(top_node='mid', top=self.mid)),
                ("'base-node' and 'base' are mutually exclusive", 'GenericError',
                 dict(base_node='base', base=self.backing)),
                ("'backing-file' specified, but 'top' is the active layer", 'GenericError',
                 dict(base_node='base', backing_file='x')),
                ("Parameter 'speed' expects a non-negative value", 'GenericError',
                 dict(top_node='mid', speed=-1))):
            with self.subTest(arguments=arguments):
                self.assert_refused(text, 'block-commit', error_class=error_class,
                                    **{'device': 'drive0', **arguments})
        self.assert_no_job()

    def test_base_is_read_only_again(self):
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base')
        self.wait_ended()
        self.assertTrue(self.named_nodes(flat=True)['base']['ro'])

    def test_the_committed_nodes_are_gone(self):
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base')
        self.wait_ended()
        self.assertNotIn('mid', self.named_nodes(flat=True))
        self.images.io('mid.img', 'write 0 512')


class Active(Chain):
    def test_to_its_end(self):
        self.vm.io('drive0', 'write -P 0x11 0 64K')
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.wait_ready()
        self.vm.command('block-job-complete', device='drive0')
        self.wait_ended(kind='commit')
        self.assert_no_job()
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['node-name'], 'base')
        self.vm.io('drive0', 'write -P 0x12 64K 64K')
        self.assertEqual(self.vm.quit(), 0)
        for pattern, offset in ((0x11, 0), (0x12, 65536), (0xab, 131072), (0xef, 524288)):
            self.assertTrue(self.images.holds('backing.img', pattern, offset, 65536))

    def test_top_named_is_active_too(self):
        self.vm.command('block-commit', device='drive0', top=self.top, base=self.backing)
        self.complete()
        self.assert_committed()

    def test_writes_after_ready_arrive(self):
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.wait_ready()
        for i in range(8):
            self.vm.io('drive0', f'write -P {i + 1} {i * 64}K 64K')
        self.vm.command('block-job-complete', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        for i in range(8):
            self.assertTrue(self.images.holds('backing.img', i + 1, i * 65536, 65536))

    def test_cancel_in_ready_does_not_pivot(self):
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.wait_ready()
        event = self.cancel()
        self.assertEqual(event['event'], 'BLOCK_JOB_COMPLETED')
        self.assertNotIn('error', event['data'])
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['node-name'], 'top')
        self.assertEqual(self.backing_of('mid'), 'base')

    def test_cancel_by_force(self):
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.wait_ready()
        self.assertEqual(self.cancel(force=True)['event'], 'BLOCK_JOB_CANCELLED')
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['node-name'], 'top')

    def test_complete_before_ready_is_refused(self):
        # More than the first piece of a job can take.
        self.vm.io('drive0', 'write -P 9 0 4M')
        self.vm.command('block-commit', device='drive0', base_node='base', speed=1)
        self.assert_refused("Job 'drive0' in state 'running' cannot accept command verb 'complete'",
                            'block-job-complete', device='drive0')
        self.assertEqual(self.cancel()['event'], 'BLOCK_JOB_CANCELLED')

    def test_pause_in_ready_is_standby(self):
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.wait_ready()
        self.assertEqual(self.pause()['status'], 'standby')
        self.vm.command('block-job-resume', device='drive0')
        self.wait_status('drive0', 'ready')
        self.vm.command('block-job-complete', device='drive0')
        self.wait_ended()

    def test_twice_in_a_row(self):
        self.vm.command('block-commit', device='drive0', base_node='mid')
        self.complete()
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['node-name'], 'mid')
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.complete()
        self.assert_committed()


class LargerTop(Case):
    """The top has grown since its overlay was made: the base grows with it."""

    def launch(self, top_size):
        base = self.images.create('base.img', MIB)
        mid = self.images.create('mid.img', 2 * MIB, backing=base)
        self.images.io('mid.img', 'write -P 5 1536K 64K')
        top = self.images.create('top.img', top_size, backing=mid)
        self.vm.drive(top, 'node-name=top,backing.node-name=mid,backing.backing.node-name=base')
        self.vm.launch()

    def test_intermediate(self):
        self.launch(2 * MIB)
        self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.info('base.img')['virtual-size'], 2 * MIB)
        self.assertTrue(self.images.holds('base.img', 5, 1536 * 1024, 65536))

    def test_active(self):
        self.launch(3 * MIB)
        self.vm.command('block-commit', device='drive0', base_node='base')
        self.complete()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.images.info('base.img')['virtual-size'], 3 * MIB)
        self.assertTrue(self.images.holds('base.img', 5, 1536 * 1024, 65536))


class CommitErrors(Case):
    """The first read of a committed layer, or write of the base, fails once."""

    def launch(self, active, side, errno='5'):
        base = self.images.create('base.img', 2 * MIB)
        mid = self.images.create('mid.img', backing=base)
        top = self.images.create('top.img', backing=mid)
        self.images.io('mid.img', 'write -P 1 0 512K')
        if active:
            self.images.io('top.img', 'write -P 1 0 512K')

        def opened(name, path, backing, rules):
            file = {'driver': 'file', 'filename': path}
            if rules:
                file = {'driver': 'blkdebug', 'image': file, 'inject-error': rules}
            node = {'driver': 'qcow2', 'node-name': name, 'file': file}
            if backing:
                node['backing'] = backing
            self.vm.blockdev(node)

        def rules(event):
            return [{'event': event, 'errno': int(errno), 'once': True}]
        opened('base', base, None, rules('write_aio') if side == 'write' else None)
        below_top = rules('read_aio') if side == 'read' else None
        opened('mid', mid, 'base', None if active else below_top)
        opened('top', top, 'mid', below_top if active else None)
        self.vm.launch()
        self.arguments = dict(device='top', job_id='commit', base_node='base')
        if not active:
            self.arguments['top_node'] = 'mid'

    def run_with(self, active, side, on_error, errno='5'):
        self.launch(active, side, errno)
        self.vm.command('block-commit', on_error=on_error, **self.arguments)
        data = self.vm.qmp.wait_event('BLOCK_JOB_ERROR')['data']
        self.assertEqual((data['device'], data['operation']), ('commit', side))
        return data['action']

    def both(self, check):
        for active in (False, True):
            for side in ('read', 'write'):
                with self.subTest(active=active, side=side):
                    for name in ('top.img', 'mid.img', 'base.img'):
                        (self.folder / name).unlink(missing_ok=True)
                    self.vm = self.machine()
                    check(active, side)
                    self.assertEqual(self.vm.quit(), 0)

    def test_report(self):
        def check(active, side):
            self.assertEqual(self.run_with(active, side, 'report'), 'report')
            data = self.wait_ended('commit', error=ERROR, offset=0)
            self.assertEqual(data['len'], 512 * 1024 if active else 2 * MIB)
        self.both(check)

    def test_stop(self):
        def check(active, side):
            self.assertEqual(self.run_with(active, side, 'stop'), 'stop')
            self.wait_status('commit', 'paused')
            self.assertEqual(self.job('commit')['io-status'], 'failed')
            self.vm.command('block-job-resume', device='commit')
            if active:
                self.complete('commit')
            else:
                self.wait_ended('commit')
        self.both(check)

    def test_ignore_tries_again(self):
        def check(active, side):
            self.assertEqual(self.run_with(active, side, 'ignore'), 'ignore')
            if active:
                self.complete('commit')
            else:
                self.wait_ended('commit')
        self.both(check)

    def test_enospc(self):
        def check(active, side):
            self.assertEqual(self.run_with(active, side, 'enospc', '28'), 'stop')
            self.wait_status('commit', 'paused')
            self.assertEqual(self.job('commit')['io-status'], 'nospace')
            self.vm.command('block-job-resume', device='commit')
            if active:
                self.complete('commit')
            else:
                self.wait_ended('commit')
        self.both(check)
