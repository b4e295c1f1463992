"""x-millrace-plan of commands that start no job: what it refuses, the command refuses in the same
words; what it accepts, the command does; and a plan itself changes nothing. Only millraced."""

import os
import pathlib
import re
import unittest

from support.case import Case, without_times
from support.images import MIB


class PlanOfCommands(Case):
    """top (drive0, a virtio disk) <- mid <- base; 'spare' (qcow2, without a backing image), a null
    node 'free' and one 'other', and a throttle group 'tg'."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        spare = self.images.create('spare.img', MIB)
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.object('throttle-group,id=tg')
        for name in ('free', 'other'):
            self.vm.blockdev({'driver': 'null-co', 'node-name': name, 'size': MIB})
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'spare',
                          'file': {'driver': 'file', 'filename': spare}})
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=mid,'
                                 'backing.backing.node-name=base').launch()
        self.paths = paths

    def state(self):
        """All that a plan must not change."""
        told = self.vm.command('x-millrace-explain')
        return (told['graph'], told['jobs'], self.vm.command('query-block'),
                self.vm.command('query-block-exports'), sorted(os.listdir(self.folder)))

    def plan(self, name, arguments):
        before, heard = self.state(), len(self.vm.qmp.events())
        plan = self.vm.command('x-millrace-plan', command=name, arguments=arguments)
        self.assertEqual(self.state(), before)
        self.assertEqual(len(self.vm.qmp.events()), heard)
        return plan

    def check(self, command, does, **arguments):
        """Plans a command and carries it out: both are refused alike, or both are not."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        with self.subTest(command=command, arguments=arguments):
            plan = self.plan(command, arguments)
            reply = self.vm.qmp.execute(command, arguments)
            self.assertEqual(plan['accepted'], does, plan)
            self.assertEqual('return' in reply, does, reply)
            if does:
                self.assertNotEqual(plan['steps'], [])
                return plan
            self.assertEqual(without_times(plan['error']), without_times(reply['error']))
            return None

    def start_and_pause_a_stream(self):
        self.vm.command('block-stream', device='drive0', job_id='s', speed=1024, base_node='base')
        self.pause('s')

    def test_block_resize(self):
        self.check('block_resize', False, node_name='none', size=MIB)
        self.check('block_resize', False, node_name='spare', size=-1)
        self.check('block_resize', False, node_name='spare', size=1000)
        self.check('block_resize', False, node_name='free', size=2 * MIB)
        self.check('block_resize', False, node_name='mid', size=2 * MIB)
        self.check('block_resize', False, size=MIB)
        self.check('block_resize', True, node_name='spare', size=2 * MIB)
        self.check('block_resize', True, device='drive0', size=2 * MIB)

    def test_block_resize_of_a_device_that_cannot_be(self):
        self.vm.command('device_add', driver='virtio-scsi-pci', id='s')
        self.vm.command('device_add', driver='scsi-cd', id='d', drive='spare', bus='s.0')
        self.check('block_resize', False, node_name='spare', size=2 * MIB)

    def test_dirty_bitmaps(self):
        self.check('block-dirty-bitmap-add', True, node='drive0', name='b')
        self.check('block-dirty-bitmap-add', False, node='drive0', name='b')
        self.check('block-dirty-bitmap-disable', True, node='top', name='b')
        self.check('block-dirty-bitmap-merge', False, node='top', target='b', bitmaps=['none'])
        self.check('block-dirty-bitmap-clear', True, node='top', name='b')
        both = [{'type': f'block-dirty-bitmap-{verb}', 'data': {'node': 'top', 'name': name}}
                for verb, name in (('add', 'c'), ('disable', 'c'), ('remove', 'b'))]
        self.check('transaction', False, actions=both + [{'type': 'abort', 'data': {}}])
        self.check('transaction', True, actions=both)
        self.check('block-dirty-bitmap-remove', False, node='top', name='b')

    def test_change_backing_file(self):
        self.check('change-backing-file', False, device='none', image_node_name='mid',
                   backing_file='x')
        self.check('change-backing-file', False, device='drive0', image_node_name='spare',
                   backing_file='x')
        self.check('change-backing-file', False, device='drive0', image_node_name='base',
                   backing_file='x')
        self.check('change-backing-file', True, device='drive0', image_node_name='mid',
                   backing_file=self.paths[0])

    def test_blockdev_reopen(self):
        def options(**changes):
            return [{'driver': 'qcow2', 'node-name': 'spare', 'file': {
                'driver': 'file', 'filename': str(self.folder / 'spare.img')}, **changes}]
        self.check('blockdev-reopen', False, options=options(driver='raw'))
        self.check('blockdev-reopen', False, options=options(backing='none'))
        self.check('blockdev-reopen', False, options=options(backing='spare'))
        self.check('blockdev-reopen', False, options='no list')
        plan = self.check('blockdev-reopen', True, options=options(backing='free'))
        self.assertEqual([node['name'] for node in plan['graph']['nodes']
                          for edge in node['edges']
                          if edge['name'] == 'backing' and edge['child'] == 'free'], ['spare'])
        self.check('blockdev-reopen', False, options=options(**{'read-only': True}))
        self.check('blockdev-reopen', True, options=options(**{'read-only': True, 'backing': None}))
        self.check('blockdev-reopen', True, options=options(**{'read-only': False}))

    def test_blockdev_reopen_under_a_job(self):
        self.start_and_pause_a_stream()
        self.check('blockdev-reopen', False, options=[{
            'driver': 'qcow2', 'node-name': 'mid', 'read-only': True, 'backing': 'free',
            'file': {'driver': 'file', 'filename': self.paths[1]}}, {
            'driver': 'qcow2', 'node-name': 'top', 'backing': None,
            'file': {'driver': 'file', 'filename': self.paths[2]}}])

    def test_blockdev_snapshot_sync(self):
        new = str(self.folder / 'new.img')
        self.check('blockdev-snapshot-sync', False, device='none', snapshot_file=new)
        self.check('blockdev-snapshot-sync', False, device='drive0', snapshot_file=new,
                   format='raw')
        self.check('blockdev-snapshot-sync', False, node_name='top', snapshot_file=new)
        self.check('blockdev-snapshot-sync', False, node_name='mid', snapshot_file=new,
                   snapshot_node_name='new')
        self.check('blockdev-snapshot-sync', False, device='drive0', snapshot_file=new,
                   snapshot_node_name='mid')
        plan = self.check('blockdev-snapshot-sync', True, device='drive0', snapshot_file=new,
                          snapshot_node_name='new')
        self.assertEqual(plan['after'], 'new <- top <- mid <- base')

    def snapshot(self, name, **of_what):
        """An action; the file is named after the node."""
        data = {key.replace('_', '-'): value for key, value in of_what.items()}
        return {'type': 'blockdev-snapshot-sync', 'data': {
            **data, 'snapshot-file': str(self.folder / f'{name}.img'), 'snapshot-node-name': name}}

    def test_transaction(self):
        new = str(self.folder / 'new.img')
        sync = {'type': 'blockdev-snapshot-sync', 'data': {
            'device': 'drive0', 'snapshot-file': new, 'snapshot-node-name': 'new'}}
        snapshot = {'type': 'blockdev-snapshot', 'data': {'node': 'free', 'overlay': 'spare'}}
        self.check('transaction', False, actions=[{'type': 'none', 'data': {}}])
        self.check('transaction', False, actions=[{'type': 'abort', 'data': {}}])
        self.check('transaction', False, actions=[snapshot, {'type': 'abort', 'data': {}}])
        self.check('transaction', False, actions=[sync, {'type': 'blockdev-snapshot', 'data': {
            'node': 'mid', 'overlay': 'spare'}}])
        self.check('transaction', False, actions=[
            self.snapshot('new', node_name='top'), self.snapshot('newer', node_name='top')])
        plan = self.check('transaction', True, actions=[
            self.snapshot('new', device='drive0'), self.snapshot('newer', device='drive0')])
        self.assertIn("put 'newer' above 'new'", plan['steps'])
        self.check('transaction', True, actions=[
            {'type': 'blockdev-snapshot', 'data': {'node': 'drive0', 'overlay': 'spare'}}])

    def test_devices(self):
        self.check('device_add', False, driver='none', id='d')
        self.check('device_add', False, driver='virtio-blk', id='d', drive='none')
        self.check('device_add', False, driver='virtio-blk', id='d')
        self.check('device_add', False, driver='virtio-blk', id='d', drive='drive0')
        self.check('device_add', False, driver='scsi-hd', id='d', drive='spare')
        self.check('device_add', False, driver='virtio-blk', id='d', drive='spare', iothread='none')
        self.check('device_del', False, id='d')
        self.check('device_add', True, driver='virtio-scsi', id='scsi')
        self.check('device_add', True, driver='scsi-hd', id='d', drive='spare')
        self.check('device_add', False, driver='scsi-hd', id='d', drive='free')
        self.check('device_add', False, driver='virtio-blk', id='e', drive='spare')
        self.check('device_del', True, id='d')
        self.check('device_del', True, id='scsi')

    def test_objects(self):
        self.check('object-add', False, qom_type='none', id='o')
        self.check('object-add', False, qom_type='iothread', id='1')
        self.check('object-add', False, qom_type='throttle-group', id='tg')
        self.check('object-add', False, qom_type='throttle-group', id='o', none=1)
        self.check('object-add', True, qom_type='iothread', id='o')
        self.check('object-del', True, id='o')
        self.check('object-del', False, id='o')
        self.vm.command('blockdev-add', driver='throttle', node_name='t', throttle_group='tg',
                        file='free')
        self.check('object-del', False, id='tg')

    def test_filters(self):
        throttle = {'driver': 'throttle', 'throttle-group': 'tg', 'node-name': 'f'}
        insert, remove = 'x-millrace-insert-filter', 'x-millrace-remove-filter'
        self.check(insert, False, job_id='i', node_name='none', filter=throttle)
        self.check(insert, False, job_id='i', node_name='mid', filter={'driver': 'null-co'})
        self.check(insert, False, job_id='1', node_name='mid', filter=throttle)
        self.check(insert, False, node_name='mid', filter=throttle)
        self.check(insert, False, job_id='i', node_name='mid', filter={**throttle,
                                                                     'node-name': 'top'})
        plan = self.check(insert, True, job_id='i', node_name='mid', filter=throttle)
        self.assertEqual(plan['before'], 'mid <- base')
        self.wait_status('i', 'null')
        self.check(remove, False, job_id='r', node_name='mid')
        self.check(remove, False, job_id='r', node_name='none')
        plan = self.check(remove, True, job_id='r', node_name='f')
        self.assertEqual(plan['after'], 'mid <- base')
        self.wait_status('r', 'null')
        self.start_and_pause_a_stream()
        self.check(insert, False, job_id='i', node_name='mid', filter=throttle)

    def test_exports(self):
        self.check('block-export-add', False, type='nbd', id='e', node_name='spare')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd.sock')}})
        self.check('block-export-add', False, type='nbd', id='1', node_name='spare')
        self.check('block-export-add', False, type='nbd', id='e', node_name='none')
        self.check('block-export-add', False, type='fuse', id='e', node_name='spare')
        self.check('block-export-add', False, type='nbd', id='e', node_name='mid', writable=True)
        self.check('block-export-add', False, type='nbd', id='e', node_name='top', writable=True)
        self.check('block-export-del', False, id='e')
        self.check('block-export-add', True, type='nbd', id='e', node_name='spare', writable=True)
        self.check('block-export-add', False, type='nbd', id='e', node_name='spare')
        self.check('block-export-add', False, type='nbd', id='f', node_name='other', name='spare')
        self.check('block-export-del', True, id='e')

    def test_media(self):
        self.vm.command('blockdev-add', driver='raw', node_name='medium', file='free',
                        read_only=True)
        self.vm.command('device_add', driver='virtio-scsi-pci', id='s')
        self.vm.command('device_add', driver='scsi-cd', id='cd', bus='s.0')
        self.check('blockdev-open-tray', False, id='none')
        self.check('blockdev-open-tray', False, id='cd', device='cd')
        self.check('blockdev-open-tray', False, device='drive0')
        self.check('eject', False, device='drive0')
        self.check('blockdev-change-medium', False, device='drive0', filename=self.paths[0],
                   format='qcow2', read_only_mode='read-only')
        self.check('blockdev-insert-medium', False, id='cd', node_name='medium')
        self.check('blockdev-remove-medium', False, id='cd')
        plan = self.check('blockdev-open-tray', True, id='cd')
        self.assertEqual(plan['steps'], ["open the tray of 'cd'"])
        self.check('blockdev-open-tray', True, id='cd')
        self.check('blockdev-insert-medium', False, id='cd', node_name='none')
        self.check('blockdev-insert-medium', False, id='cd', node_name='top')
        self.check('blockdev-insert-medium', True, id='cd', node_name='medium')
        self.check('blockdev-insert-medium', False, id='cd', node_name='other')
        self.vm.command('blockdev-add', driver='null-co', node_name='copy', size=MIB)
        self.vm.command('blockdev-mirror', job_id='m', device='medium', target='copy', sync='full')
        self.vm.qmp.wait_event('BLOCK_JOB_READY', device='m')
        self.check('blockdev-remove-medium', False, id='cd')
        self.check('blockdev-change-medium', False, id='cd', filename=self.paths[0], format='raw',
                   read_only_mode='read-only')
        self.check('eject', False, id='cd')
        self.vm.command('block-job-cancel', device='m', force=True)
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='m')
        self.check('blockdev-remove-medium', True, id='cd')
        self.check('blockdev-close-tray', True, id='cd')
        self.check('eject', True, id='cd')
        plan = self.check('blockdev-change-medium', True, id='cd', filename=self.paths[0],
                          format='raw', read_only_mode='read-only')
        self.assertEqual(plan['steps'][3], "put the new medium into 'cd', and close its tray")

    def test_the_nbd_server(self):
        address = {'type': 'unix', 'data': {'path': str(self.folder / 'nbd.sock')}}
        self.check('nbd-server-stop', False)
        self.check('nbd-server-add', False, device='spare')
        self.check('nbd-server-start', False)
        self.check('nbd-server-start', False, addr={'type': 'none', 'data': {}})
        self.check('nbd-server-start', False, addr=address, tls_creds='none')
        self.check('nbd-server-start', True, addr=address)
        self.check('nbd-server-start', False, addr=address)
        self.check('nbd-server-add', False, device='none')
        self.check('nbd-server-add', False, device='spare', bitmap='b')
        self.check('nbd-server-add', False, device='top', writable=True)
        self.check('nbd-server-add', True, device='spare', name='e')
        self.check('nbd-server-add', False, device='free', name='e')
        self.check('nbd-server-remove', False, name='none')
        self.check('nbd-server-remove', True, name='e')
        self.vm.qmp.wait_event('BLOCK_EXPORT_DELETED', id='e')
        plan = self.check('nbd-server-stop', True)
        self.assertEqual(plan['steps'][0], 'cut off all NBD clients, and listen no more')

    def test_limits(self):
        none = {name: 0 for name in ('bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr')}

        def check(does, **arguments):
            # Names of this command have underscores.
            plan = self.plan('block_set_io_throttle', {**none, **arguments})
            reply = self.vm.qmp.execute('block_set_io_throttle', {**none, **arguments})
            self.assertEqual(plan['accepted'], does, plan)
            self.assertEqual('return' in reply, does, reply)
            if not does:
                self.assertEqual(plan['error']['desc'], reply['error']['desc'])
        check(False, device='none')
        check(False, device='drive0', id='x')
        check(False, device='drive0', bps=1, bps_rd=1)
        check(True, device='drive0', bps=1 << 30)
        check(True, device='drive0')
        self.check('block-set-write-threshold', False, node_name='none', write_threshold=1)
        self.check('block-set-write-threshold', True, node_name='top', write_threshold=1)
        self.check('block-set-write-threshold', True, node_name='top', write_threshold=0)
        self.check('x-blockdev-change', False, parent='top', node='free')
        self.check('x-blockdev-change', False, parent='none', child='x')

    def test_children_of_a_quorum(self):
        null = {'driver': 'null-co', 'size': MIB, 'read-zeroes': True}
        for name in ('n2', 'n3'):
            self.vm.command('blockdev-add', **{**null, 'node-name': name})
        self.vm.command('blockdev-add', **{**null, 'node-name': 'short', 'size': 65536})
        self.vm.command('blockdev-add', driver='quorum', node_name='q', vote_threshold=2,
                        children=[{**null, 'node-name': 'n0'}, {**null, 'node-name': 'n1'}])
        self.check('x-blockdev-change', False, parent='q', child='children.0')
        self.check('x-blockdev-change', False, parent='q', node='short')
        self.check('x-blockdev-change', False, parent='q', node='n0')
        plan = self.check('x-blockdev-change', True, parent='q', node='n2')
        self.assertIn("link 'q' -children.2-> 'n2'", '\n'.join(plan['steps']))
        self.check('x-blockdev-change', False, parent='q', node='n2')
        self.check('x-blockdev-change', True, parent='q', child='children.0')
        self.check('x-blockdev-change', False, parent='q', child='children.0')
        self.check('x-blockdev-change', True, parent='q', node='n3')
        self.assertEqual(self.vm.io('q', 'read -P 0 0 64K'), '')
        names = {node['node-name'] for node in self.vm.command('query-named-block-nodes')}
        self.assertFalse('n0' in names)  # nobody else held it
        self.assertLessEqual({'q', 'n1', 'n2', 'n3'}, names)

    def test_blockdev_create(self):
        def options(**changes):
            return {'driver': 'file', 'filename': str(self.folder / 'made.img'), 'size': MIB,
                    **changes}
        self.check('blockdev-create', False, job_id='c')
        self.check('blockdev-create', False, job_id='c', options={'driver': 'none'})
        self.check('blockdev-create', False, job_id='c', options={'driver': 'null-co'})
        self.check('blockdev-create', False, job_id='c', options=options(none=1))
        self.check('blockdev-create', False, job_id='1', options=options())
        self.check('blockdev-create', True, job_id='c', options=options())
        self.wait_status('c', 'concluded')
        self.check('blockdev-create', False, job_id='c', options=options())
        # The older verbs know block jobs only.
        self.check('block-job-pause', False, device='c')
        self.check('block-job-dismiss', False, id='c')
        self.check('job-dismiss', True, id='c')

    def test_drive_mirror(self):
        target = str(self.folder / 'target.img')
        self.check('drive-mirror', False, device='none', target=target, sync='full')
        self.check('drive-mirror', False, device='mid', target=target, sync='full')
        self.check('drive-mirror', False, device='drive0', target=target, sync='bitmap')
        self.check('drive-mirror', False, device='drive0', target=target, sync='full',
                   format='null-co')
        self.check('drive-mirror', False, device='drive0', target=target, sync='full', job_id='1')
        self.check('drive-mirror', False, device='drive0', target=target, sync='full',
                   replaces='top')
        self.check('drive-mirror', False, device='drive0', target=target, sync='full',
                   replaces='none', node_name='t')
        self.assertNotIn('target.img', os.listdir(self.folder))
        plan = self.check('drive-mirror', True, device='drive0', target=target, sync='full',
                          node_name='t', job_id='m')
        self.assertEqual(plan['steps'][0], f"make the image '{target}' (qcow2)")
        # Until it is ready it reads and writes, which the graph's description counts.
        self.wait_ready('m', 'mirror')
        self.check('drive-mirror', False, device='drive0', target=target, sync='full')

    def test_drive_mirror_leaves_a_file_alone_if_its_job_cannot_be(self):
        with open(self.folder / 'target.img', 'w', encoding='ascii') as file:
            file.write('precious')
        self.start_and_pause_a_stream()
        for wrong in ({'job_id': 's'}, {'job_id': '1'},
                      {'job_id': 'm', 'replaces': 'none', 'node_name': 't'}):
            self.check('drive-mirror', False, device='spare', sync='full',
                       target=str(self.folder / 'target.img'), **wrong)
            with open(self.folder / 'target.img', encoding='ascii') as file:
                self.assertEqual(file.read(), 'precious')

    def test_queries_and_the_guest(self):
        for name in ('query-block', 'query-jobs', 'stop', 'cont'):
            self.check(name, True)
        self.check('query-block', False, none=1)
        self.check('qom-list', True, path='/objects')
        self.check('qom-get', False, path='/objects/none', property='type')
        self.check('x-debug-block-dirty-bitmap-sha256', False, node='top', name='none')

    def test_names_that_are_taken_say_by_whom(self):
        new = str(self.folder / 'new.img')
        self.vm.hmp('drive_add 0 if=none,id=empty')  # a drive without a medium is no node
        self.check('blockdev-snapshot-sync', False, device='drive0', snapshot_file=new,
                   snapshot_node_name='empty')
        error = self.vm.reply('blockdev-snapshot-sync', device='drive0', snapshot_file=new,
                              snapshot_node_name='empty')['error']
        self.assertEqual(error['desc'], 'node-name=empty is conflicting with a device id')
        self.assertEqual([holder['id'] for holder in error['data']['holders']], ['empty'])
        # Nobody overwrites what somebody has open.
        error = self.vm.reply('blockdev-snapshot-sync', device='drive0', snapshot_node_name='n',
                              snapshot_file=str(self.folder / 'spare.img'))['error']
        self.assertEqual(error['desc'], 'Failed to get "write" lock')
        self.assertEqual(error['data']['reason'], 'image-locked')
        self.assertNotEqual(error['data']['holders'], [])

    def test_properties(self):
        group = {'path': '/objects/tg', 'property': 'limits'}
        self.check('qom-set', False, **group, value=1)
        self.check('qom-set', False, **group, value={'none': 1})
        self.check('qom-set', False, **group, value={'bps-total': 1, 'bps-read': 1})
        self.check('qom-set', False, path='/objects/none', property='limits', value={})
        self.check('qom-set', False, path='/objects/tg', property='none', value={})
        self.check('qom-set', True, **group, value={'bps-total': 1 << 30})

    def test_iothreads_and_histograms(self):
        move = 'x-blockdev-set-iothread'
        self.check(move, False, node_name='none', iothread=None)
        self.check(move, False, node_name='top', iothread=None)
        self.check(move, False, node_name='spare', iothread='none')
        self.check(move, False, node_name='spare', iothread=1)
        self.check(move, True, node_name='spare', iothread=None)
        self.vm.command('device_add', driver='virtio-scsi', id='scsi')
        self.vm.command('device_add', driver='scsi-hd', id='d', drive='spare')
        histogram = 'block-latency-histogram-set'
        self.check(histogram, False, id='none')
        self.check(histogram, False, id='d', boundaries=[2, 1])
        self.check(histogram, False, id='d', boundaries=['x'])
        self.check(histogram, False, id='d', boundaries_read=[1], boundaries_write=[0])
        self.check(histogram, True, id='d', boundaries=[1, 2])

    def test_changes_of_jobs(self):
        change = 'block-job-change'
        self.start_and_pause_a_stream()
        self.check(change, False, id='none', type='mirror', copy_mode='write-blocking')
        self.check(change, False, id='s', type='stream')
        self.check(change, False, id='s', type='none')
        self.vm.command('blockdev-mirror', device='spare', target='free', sync='full', job_id='m')
        self.wait_ready('m', 'mirror')
        mode = {'id': 'm', 'type': 'mirror'}
        self.check(change, True, **mode, copy_mode='background')
        self.check(change, True, **mode, copy_mode='write-blocking')
        self.check(change, False, **mode, copy_mode='background')
        self.check(change, False, id='m', type='backup')

    def test_descriptors(self):
        with open(self.paths[0], 'rb') as file:
            for command, more in (('getfd', dict(fdname='x')), ('add-fd', {})):
                self.check(command, False, **more)
                self.vm.qmp.pass_descriptor(file.fileno())
                self.check(command, True, **more)  # the plan leaves it to the command
        self.vm.qmp.pass_descriptor(0)
        self.check('add-fd', False, fdset_id=-1)
        self.vm.qmp.pass_descriptor(0)
        self.check('getfd', False, fdname='0')
        self.check('closefd', True, fdname='x')
        self.check('closefd', False, fdname='x')
        self.check('remove-fd', False, fdset_id=0, fd=9999)
        self.check('remove-fd', False, fdset_id=7)
        self.check('remove-fd', True, fdset_id=0)

    def test_the_session_and_the_machine(self):
        self.check('qmp_capabilities', False)
        self.check('qmp_capabilities', False, none=1)
        self.check('system_reset', True)

    def test_commands_that_are_refused_by_name(self):
        for name in ('blockdev-backup', 'drive-backup', 'blockdev-snapshot-internal-sync',
                     'blockdev-snapshot-delete-internal-sync', 'x-blockdev-amend'):
            self.check(name, False)

    def test_every_command_is_planned_or_says_why_not(self):
        """And the daemon's README names those that are not, all of them and no others."""
        left_out = {}
        for command in self.vm.command('query-commands'):
            name = command['name']
            reply = self.vm.reply('x-millrace-plan', command=name, arguments={})
            if 'error' in reply:
                said = re.fullmatch(f'The command {name} cannot be planned: (.+)',
                                    reply['error']['desc'])
                self.assertIsNotNone(said, f'{name} has no planner, and no reason: {reply}')
                left_out[name] = said.group(1)
        readme = (pathlib.Path(__file__).resolve().parents[3] /
                  'examples/hypervisor/README.md').read_text()
        told = re.search(r'Not planned: (.*?)\. ', readme, re.S).group(1)
        self.assertEqual(set(re.findall(r'`([^`]+)`', told)), set(left_out))


if __name__ == '__main__':
    unittest.main()
