"""blockdev-mirror: sync modes, ends, errors of either side (as QEMU's 041 asks for)."""

import json

from support.case import Case
from support.images import MIB

ERROR = 'Input/output error'


class Mirrored(Case):
    """backing.img <- test.img (drive0, node top), and target.img as node target."""

    size = MIB

    def setUp(self):
        super().setUp()
        backing = self.images.create('backing.img', self.size)
        self.images.io('backing.img', 'write -P 0x55 0 512K')
        top = self.images.create('test.img', backing=backing)
        self.images.io('test.img', 'write -P 0x66 512K 256K')
        self.images.create('target.img', self.size)
        self.vm.drive(top, 'node-name=top,backing.node-name=base')
        self.vm.launch()
        self.add_target()

    def add_target(self, name='target', **options):
        self.vm.command('blockdev-add', driver='qcow2', node_name=name,
                        file={'driver': 'file', 'filename': self.images.path(f'{name}.img')},
                        **options)

    def mirror(self, target='target', sync='full', **options):
        self.vm.command('blockdev-mirror', device='drive0', target=target, sync=sync,
                        **{'job_id': 'mirror', **options})

    def node_of_drive(self):
        (drive,) = self.vm.command('query-block')
        return drive['inserted']['node-name']


class Full(Mirrored):
    def test_complete_moves_the_drive(self):
        self.mirror()
        self.complete('mirror', 'mirror')
        self.assert_no_job()
        self.assertEqual(self.node_of_drive(), 'target')
        self.vm.io('drive0', 'write -P 9 0 64K')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 9, 0, 65536))
        self.assertTrue(self.images.holds('target.img', 0x55, 65536, 65536))
        self.assertTrue(self.images.holds('target.img', 0x66, 524288, 65536))
        self.assertTrue(self.images.holds('test.img', 0x55, 0, 65536))

    def test_soft_cancel_leaves_a_copy(self):
        self.mirror()
        self.wait_ready('mirror', 'mirror')
        self.vm.io('drive0', 'write -P 9 768K 64K')
        event = self.cancel('mirror')
        self.assertEqual(event['event'], 'BLOCK_JOB_COMPLETED')
        self.assertEqual(self.node_of_drive(), 'top')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.same_content('test.img', 'target.img'))

    def test_cancel_before_ready(self):
        self.mirror(speed=1)
        self.assertEqual(self.cancel('mirror')['event'], 'BLOCK_JOB_CANCELLED')
        self.assertEqual(self.node_of_drive(), 'top')

    def test_cancel_by_force_in_ready(self):
        self.mirror()
        self.wait_ready('mirror', 'mirror')
        self.assertEqual(self.cancel('mirror', force=True)['event'], 'BLOCK_JOB_CANCELLED')
        self.assertEqual(self.node_of_drive(), 'top')

    def test_complete_after_a_soft_cancel_is_refused(self):
        self.mirror(auto_finalize=False)
        self.wait_ready('mirror', 'mirror')
        self.vm.command('block-job-cancel', device='mirror')
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING')
        self.assert_refused("Job 'mirror' in state 'pending' cannot accept command verb 'complete'",
                            'block-job-complete', device='mirror')
        self.vm.command('block-job-finalize', id='mirror')
        self.wait_ended('mirror')
        self.assertEqual(self.node_of_drive(), 'top')

    def test_pause_while_copying_and_in_ready(self):
        self.mirror(speed=65536)
        self.assertEqual(self.pause('mirror')['status'], 'paused')
        self.vm.command('block-job-resume', device='mirror')
        self.vm.command('block-job-set-speed', device='mirror', speed=0)
        self.wait_ready('mirror', 'mirror')
        self.assertEqual(self.pause('mirror')['status'], 'standby')
        self.vm.command('block-job-resume', device='mirror')
        self.wait_status('mirror', 'ready')
        self.vm.command('block-job-complete', device='mirror')
        self.wait_ended('mirror')

    def test_writes_while_it_copies(self):
        self.mirror(speed=65536)
        for i in range(16):
            self.vm.io('drive0', f'write -P {i + 1} {i * 64}K 64K')
        self.vm.command('block-job-set-speed', device='mirror', speed=0)
        self.complete('mirror', 'mirror')
        self.assertEqual(self.vm.quit(), 0)
        for i in range(16):
            self.assertTrue(self.images.holds('target.img', i + 1, i * 65536, 65536))

    def test_events(self):
        self.mirror()
        self.complete('mirror', 'mirror')
        self.assertEqual(self.events_of('mirror'), [
            'created', 'running', 'ready', 'BLOCK_JOB_READY', 'waiting', 'pending',
            'BLOCK_JOB_COMPLETED', 'concluded', 'null'])

    def test_a_write_is_copied_again_by_the_granularity(self):
        for granularity in (512, 4096, 65536):
            with self.subTest(granularity=granularity):
                self.mirror(granularity=granularity)
                length = self.wait_ready('mirror', 'mirror')['len']
                self.vm.io('drive0', 'write -P 9 512K 512')
                data = self.cancel('mirror')['data']
                self.assertEqual(data['len'] - length, granularity)
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 0x55, 0, 524288))
        self.assertTrue(self.images.holds('target.img', 9, 524288, 512))

    def test_no_piece_is_larger_than_the_buffer(self):
        """Of a target that takes one request and then another in a second: what it has by then."""
        self.vm.command('object-add', qom_type='throttle-group', id='pace',
                        limits={'iops-write': 1})
        self.vm.command('blockdev-add', driver='throttle', node_name='slow', throttle_group='pace',
                        file='target')
        self.vm.io('drive0', 'write -P 7 768K 256K')  # zeroes need no buffer
        self.mirror('slow', granularity=512, buf_size=4096)
        while (offset := self.job('mirror')['offset']) == 0:
            pass
        # Whoever has to wait for a processor may see a few of them; without the limit it is all.
        self.assertEqual(offset % 4096, 0)
        self.assertLess(offset, 65536)
        self.vm.command('qom-set', path='/objects/pace', property='limits', value={'iops-write': 0})
        self.cancel('mirror', force=True)

    def test_a_filter_name(self):
        self.mirror(filter_node_name='mirror-filter', speed=1)
        self.assertIn('mirror-filter', self.named_nodes(flat=True))
        self.assertEqual(self.node_of_drive(), 'mirror-filter')
        self.cancel('mirror')
        self.assertNotIn('mirror-filter', self.named_nodes(flat=True))
        self.assertEqual(self.node_of_drive(), 'top')

    def test_back_and_forth(self):
        self.mirror()
        self.complete('mirror', 'mirror')
        self.images.create('target2.img', MIB)
        self.add_target('target2')
        self.mirror('target2')
        self.complete('mirror', 'mirror')
        self.assertEqual(self.node_of_drive(), 'target2')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target2.img', 0x55, 0, 524288))


class TopAndNone(Mirrored):
    def add_overlay(self):
        self.images.create('over.img', self.size)
        self.images.run('qemu-img', 'rebase', '-u', '-b', self.images.path('backing.img'), '-F',
                        'qcow2', self.images.path('over.img'))
        self.add_target('over', backing='base')

    def test_top_copies_the_top_layer_only(self):
        self.add_overlay()
        self.mirror('over', 'top')
        self.complete('mirror', 'mirror')
        self.assertEqual(self.node_of_drive(), 'over')
        self.assertEqual(self.backing_of('over'), 'base')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('over.img', 0x55, 0, 524288))
        self.assertTrue(self.images.holds('over.img', 0x66, 524288, 262144))
        self.assertEqual(self.images.map('over.img'), self.images.map('test.img'))

    def test_none_copies_what_is_written(self):
        self.mirror(sync='none')
        ready = self.wait_ready('mirror', 'mirror')
        self.assertEqual((ready['len'], ready['offset']), (0, 0))
        self.vm.io('drive0', 'write -P 7 0 64K')
        self.cancel('mirror')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('target.img', 7, 0, 65536))
        self.assertTrue(self.images.holds('target.img', 0, 65536, 65536))


class Refusals(Mirrored):
    def test_texts(self):
        for text, arguments in (
                ("Cannot find device='none' nor node-name='none'", dict(target='none')),
                ("Can't mirror node into itself", dict(target='top')),
                ("Node 'base' is busy: node is used as backing hd of 'top'", dict(target='base')),
                ("Sync mode 'incremental' not supported", dict(sync='incremental')),
                ("Parameter 'granularity' expects a value in range [512B, 64MB]",
                 dict(granularity=256)),
                ("Parameter 'granularity' expects a power of 2", dict(granularity=1536)),
                ("Invalid parameter 'buf-size'", dict(buf_size=-1)),
                ("Parameter 'speed' expects a non-negative value", dict(speed=-1)),
                ("Failed to find node with node-name='none'", dict(replaces='none')),
                ("Duplicate nodes with node-name='base'", dict(filter_node_name='base'))):
            with self.subTest(arguments=arguments):
                self.assert_refused(text, 'blockdev-mirror', **{
                    'device': 'drive0', 'target': 'target', 'sync': 'full', 'job_id': 'mirror',
                    **arguments})
        self.assert_no_job()

    def test_source_and_target_are_busy_meanwhile(self):
        self.mirror(speed=1)
        self.assert_refused('Need a root block node', 'blockdev-mirror', device='drive0',
                            target='target', sync='full', job_id='again')
        self.assert_refused("Node 'target' is busy: block device is in use by block job: mirror",
                            'block-stream', device='target', job_id='stream')
        self.assert_refused('Node target is in use', 'blockdev-del', node_name='target')
        self.cancel('mirror')
        self.vm.command('blockdev-del', node_name='target')

    def test_another_size(self):
        self.images.create('small.img', 512 * 1024)
        self.add_target('small')
        self.mirror('small')
        data = self.wait_ended('mirror', error='Source and target image have different sizes')
        self.assertEqual((data['len'], data['offset']), (0, 0))
        self.assertEqual(self.node_of_drive(), 'top')


class MirrorErrors(Case):
    """The first read of the source, or write of the target, fails once."""

    def launch(self, side, errno=5):
        for name in ('source', 'target'):
            self.images.create(f'{name}.img', 2 * MIB)
        self.images.io('source.img', 'write -P 1 0 2M')
        events = {'read': ('source', 'read_aio'), 'write': ('target', 'write_aio')}
        for name in ('source', 'target'):
            file = {'driver': 'file', 'filename': self.images.path(f'{name}.img')}
            if events[side][0] == name:
                file = {'driver': 'blkdebug', 'image': file, 'inject-error': [
                    {'event': events[side][1], 'errno': errno, 'once': True}]}
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'file': file})
        self.vm.launch()

    def run_with(self, side, policy, errno=5):
        self.launch(side, errno)
        option = 'on_source_error' if side == 'read' else 'on_target_error'
        # One piece in flight: which one fails is then no question of timing.
        self.vm.command('blockdev-mirror', device='source', target='target', sync='full',
                        job_id='mirror', buf_size=65536, **{option: policy})
        data = self.vm.qmp.wait_event('BLOCK_JOB_ERROR', device='mirror')['data']
        self.assertEqual(data['operation'], side)
        return data['action']

    def both(self, check):
        for side in ('read', 'write'):
            with self.subTest(side=side):
                self.vm = self.machine()
                check(side)
                self.assertEqual(self.vm.quit(), 0)
                for name in ('source.img', 'target.img'):
                    (self.folder / name).unlink()

    def test_report(self):
        def check(side):
            self.assertEqual(self.run_with(side, 'report'), 'report')
            self.wait_ended('mirror', error=ERROR, offset=None, kind='mirror')
            self.assert_no_job()
        self.both(check)

    def test_ignore(self):
        def check(side):
            self.assertEqual(self.run_with(side, 'ignore'), 'ignore')
            self.complete('mirror', 'mirror')
        self.both(check)

    def test_stop(self):
        def check(side):
            self.assertEqual(self.run_with(side, 'stop'), 'stop')
            self.wait_status('mirror', 'paused')
            job = self.job('mirror')
            self.assertEqual((job['paused'], job['io-status']), (True, 'failed'))
            self.vm.command('block-job-resume', device='mirror')
            self.complete('mirror', 'mirror')
        self.both(check)

    def test_enospc(self):
        def check(side):
            self.assertEqual(self.run_with(side, 'enospc', 28), 'stop')
            self.wait_status('mirror', 'paused')
            self.assertEqual(self.job('mirror')['io-status'], 'nospace')
            self.vm.command('block-job-resume', device='mirror')
            self.complete('mirror', 'mirror')
        self.both(check)

    def test_the_copy_is_whole_after_an_error_that_was_ignored(self):
        self.assertEqual(self.run_with('write', 'ignore'), 'ignore')
        self.wait_ready('mirror', 'mirror')
        self.cancel('mirror')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.same_content('source.img', 'target.img'))


class ReadyErrors(Case):
    """Errors after READY, when the guest's writes are copied."""

    def setUp(self):
        super().setUp()
        for name in ('source', 'target'):
            self.images.create(f'{name}.img', MIB)
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'source', 'file': {
            'driver': 'file', 'filename': self.images.path('source.img')}})
        # The state machine lets the target fail only once the source has been written by a guest.
        self.vm.blockdev({'driver': 'blkdebug', 'node-name': 'target', 'image': {
            'driver': 'null-co', 'size': MIB, 'read-zeroes': True}, 'inject-error': [
                {'event': 'pwritev', 'errno': 5, 'once': False}]})
        self.vm.launch()
        self.vm.command('blockdev-mirror', device='source', target='target', sync='none',
                        job_id='mirror', on_target_error='stop', filter_node_name='filter')
        self.wait_ready('mirror', 'mirror')

    def test_stop_in_ready_is_standby(self):
        self.vm.io('filter', 'write -P 1 0 64K')
        data = self.vm.qmp.wait_event('BLOCK_JOB_ERROR')['data']
        self.assertEqual((data['operation'], data['action']), ('write', 'stop'))
        self.wait_status('mirror', 'standby')
        self.assertEqual(self.job('mirror')['io-status'], 'failed')
        self.vm.command('block-job-cancel', device='mirror', force=True)
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED')
        self.wait_status('mirror', 'null')

    def test_a_job_that_stands_still_can_be_cancelled_by_either_family(self):
        self.vm.io('filter', 'write -P 1 0 64K')
        # The first standby may be that of a drain, before the error.
        self.vm.qmp.wait_event('BLOCK_JOB_ERROR')
        self.wait_status('mirror', 'standby')
        self.assert_refused("The block job for device 'mirror' is currently paused",
                            'block-job-cancel', device='mirror')
        self.vm.command('job-cancel', id='mirror')
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED')
        self.wait_status('mirror', 'null')


class Cancelled(Case):
    """A job that has begun has begun with its first piece, however soon it is cancelled."""

    def setUp(self):
        super().setUp()
        for name in ('source', 'target'):
            self.vm.blockdev({'driver': 'null-co', 'node-name': name, 'size': MIB})
        self.vm.launch()

    START = {'execute': 'blockdev-mirror', 'arguments': {
        'job-id': 'mirror', 'device': 'source', 'target': 'target', 'sync': 'full',
        'speed': 65536, 'buf-size': 65536}}
    CANCEL = {'execute': 'block-job-cancel', 'arguments': {'device': 'mirror', 'force': False}}

    def check(self):
        event = self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='mirror')
        self.assertEqual((event['data']['len'], event['data']['offset']), (MIB, 65536))
        self.wait_status('mirror', 'null')

    def test_in_the_same_breath(self):
        for _ in range(20):
            self.vm.qmp.send((json.dumps(self.START) + json.dumps(self.CANCEL)).encode())
            for _ in range(2):
                self.assertEqual(self.vm.qmp.next_reply(), {'return': {}})
            self.check()

    def test_at_once(self):
        for _ in range(20):
            for request in (self.START, self.CANCEL):
                self.vm.qmp.send(json.dumps(request).encode())
                self.assertEqual(self.vm.qmp.next_reply(), {'return': {}})
            self.check()


class LateBacking(Mirrored):
    """A target that gets another backing while its job waits to be finalized (QEMU's 155)."""

    def wait_for_the_end(self, sync):
        self.vm.command('blockdev-add', driver='null-co', node_name='backing', size=MIB)
        self.vm.command('blockdev-add', driver='file', node_name='late-file',
                        filename=self.images.create('late.img', MIB))
        self.vm.command('blockdev-add', driver='qcow2', node_name='late', file='late-file',
                        backing=None)
        self.mirror('late', sync, auto_finalize=False)
        self.wait_ready('mirror', 'mirror')
        self.vm.command('block-job-complete', device='mirror')
        self.wait_status('mirror', 'pending')

    def check(self):
        self.vm.command('job-finalize', id='mirror')
        self.wait_ended('mirror')
        (drive,) = self.vm.command('query-block')
        self.assertEqual(drive['inserted']['node-name'], 'late')
        self.assertEqual(drive['inserted']['image']['backing-image']['filename'],
                         'json:{"driver": "null-co", "size": 1048576}')

    def test_by_reopening_it(self):
        for sync in ('none', 'full', 'top'):
            with self.subTest(sync=sync):
                self.wait_for_the_end(sync)
                reply = self.vm.qmp.execute('blockdev-reopen', {'options': [{
                    'driver': 'qcow2', 'node-name': 'late', 'file': 'late-file',
                    'backing': 'backing'}]})
                self.assertEqual(reply, {'return': {}})
                self.check()
                self.end(self.vm)
                self.setUp()

    def test_by_a_snapshot(self):
        for sync in ('none', 'full', 'top'):
            with self.subTest(sync=sync):
                self.wait_for_the_end(sync)
                self.vm.command('blockdev-snapshot', node='backing', overlay='late')
                self.check()
                self.end(self.vm)
                self.setUp()


class QuorumMember(Case):
    """A member of a quorum can be replaced by a mirror of it if nobody else sees it."""

    START = ("Cannot replace 'img1' by a node mirrored from 'quorum0', because it cannot be "
             'guaranteed that doing so would not lead to an abrupt change of visible data')
    END = ("Can no longer replace 'img1' by 'repair0', because it can no longer be guaranteed that "
           'doing so would not lead to an abrupt change of visible data')

    def setUp(self):
        super().setUp()
        for name in ('img0', 'img1', 'repair0'):
            self.images.create(f'{name}.img', MIB)
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name, 'file': {
                'driver': 'file', 'filename': self.images.path(f'{name}.img')}})
        self.vm.blockdev({'driver': 'quorum', 'node-name': 'quorum0', 'vote-threshold': 1,
                          'children': ['img0', 'img1']})
        self.vm.launch()
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd.sock')}})

    def use(self):
        self.vm.command('block-export-add', type='nbd', id='e', node_name='img1')

    def mirror(self):
        return self.vm.reply('blockdev-mirror', device='quorum0', target='repair0', sync='full',
                             replaces='img1', job_id='mirror')

    def members(self):
        graph = self.vm.command('x-debug-query-block-graph')
        names = {node['id']: node['name'] for node in graph['nodes']}
        return sorted(names[edge['child']] for edge in graph['edges']
                      if names[edge['parent']] == 'quorum0')

    def test_one_that_nobody_else_uses(self):
        self.assertEqual(self.mirror(), {'return': {}})
        self.complete('mirror', 'mirror')
        self.assertEqual(self.members(), ['img0', 'repair0'])

    def test_one_that_others_use(self):
        self.use()
        self.assertEqual(self.mirror()['error']['desc'], self.START)
        self.vm.command('block-export-del', id='e')
        self.vm.qmp.wait_event('BLOCK_EXPORT_DELETED', id='e')
        self.assertEqual(self.mirror(), {'return': {}})
        self.complete('mirror', 'mirror')

    def test_a_user_who_comes_later(self):
        self.assertEqual(self.mirror(), {'return': {}})
        self.wait_ready('mirror', 'mirror')
        self.use()
        self.vm.command('block-job-complete', device='mirror')
        self.wait_ended('mirror', error='Operation not permitted')
        self.assertEqual(self.members(), ['img0', 'img1'])
        self.assertEqual(self.vm.errors().partition(': ')[2], self.END + '\n')


class SparseRaw(Case):
    """A raw disk that is mostly holes: its copy has the same data, and holes where it has."""

    size = 64 * MIB

    def setUp(self):
        super().setUp()
        self.raw = self.images.create('raw.img', self.size, 'raw')
        self.images.io('raw.img', 'write -P 1 0 64K', 'write -P 2 10M 128K', 'write -P 3 65472K 64K',
                       image_format='raw')

    def kinds(self, name, image_format='raw'):
        """(start, length, whether there are data), neighbours merged."""
        runs = []
        for run in json.loads(self.images.run('qemu-img', 'map', '--output=json', '-f', image_format,
                                              self.images.path(name))):
            if runs and runs[-1][2] == run['data']:
                runs[-1][1] += run['length']
            else:
                runs.append([run['start'], run['length'], run['data']])
        return runs

    def copy(self, source, source_format, target_format):
        self.vm.drive(source, 'node-name=top', image_format=source_format).launch()
        self.images.create('target.img', self.size, target_format)
        self.vm.command('blockdev-add', driver=target_format, node_name='target', file={
            'driver': 'file', 'filename': self.images.path('target.img')})
        self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full',
                        job_id='mirror')
        self.complete('mirror', 'mirror')
        self.assertEqual(self.vm.quit(), 0)

    def test_to_a_raw_file(self):
        self.copy(self.raw, 'raw', 'raw')
        self.assertTrue(self.images.same_content('raw.img', 'target.img', ('raw', 'raw')))
        self.assertEqual(self.kinds('target.img'), self.kinds('raw.img'))

    def test_below_an_overlay_to_qcow2(self):
        top = self.images.create('top.img', backing=self.raw, backing_format='raw')
        self.images.io('top.img', 'write -P 9 20M 64K')
        self.copy(top, 'qcow2', 'qcow2')
        self.assertTrue(self.images.same_content('top.img', 'target.img'))
        self.assertEqual(self.kinds('target.img', 'qcow2'), self.kinds('top.img', 'qcow2'))
