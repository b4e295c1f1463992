"""Every command the daemon has, in every state that a job can be seen in: it is answered, the daemon
lives, and the job can still be ended. Only against millraced: QEMU is not ours to break.

Nobody sees a job in the states created, waiting and aborting for long enough to ask something: it
leaves them by itself, since no command starts a job that waits for another one's end."""

import os
import re
import shutil
import unittest

from support.case import Case
from support.images import MIB

# One call in so many, in every state: a daemon with sanitizers takes ten times as long.
CASE_STRIDE = int(os.environ.get('CASE_STRIDE', 1))

# Not asked here: it ends the daemon, or the conversation.
LEFT_OUT = {'quit', 'qmp_capabilities'}

# Lines for human-monitor-command: each command there is, but for quit.
HUMAN = (
    'info block', 'info block -v drive0', 'info block -n', 'info block none', 'info blockstats',
    'info block-jobs', 'info status', 'info version', 'info iothreads', 'info name', 'info uuid',
    'block_job_set_speed job 1k', 'block_job_set_speed job -1', 'block_job_set_speed none 0',
    'block_job_pause job', 'block_job_resume job', 'block_job_complete job',
    'block_job_cancel job', 'block_job_cancel -f job', 'block_job_cancel none',
    'block_stream drive0', 'block_stream mid 1M none', 'drive_mirror -n drive0 spare.img qcow2',
    'drive_mirror -f drive0 /nonexistent/x', 'snapshot_blkdev drive0',
    'snapshot_blkdev drive0 over.img qcow2', 'snapshot_blkdev -n drive0 /nonexistent/x',
    'block_resize drive0 8', 'block_resize top 0', 'eject drive0', 'eject -f drive0',
    'change drive0 /nonexistent/x', 'change drive0 spare.img qcow2',
    'block_set_io_throttle drive0 0 0 0 0 0 0', 'block_set_io_throttle drive0 1 1 1 1 1 1',
    'nbd_server_stop', 'nbd_server_start -a unix:nbd', 'nbd_server_add -w drive0 name',
    'nbd_server_remove drive0', 'nbd_server_stop', 'stop', 's', 'cont', 'c', 'system_reset',
    'commit drive0', 'drive_backup drive0 x', 'savevm x', 'loadvm x', 'delvm x',
    'snapshot_blkdev_internal drive0 x', 'snapshot_delete_blkdev_internal drive0 x',
    'object_add throttle-group,id=g', 'object_add help', 'object_del g', 'object_del none',
    'device_add virtio-blk-pci,drive=drive0', 'device_add virtio-blk-pci,drive=spare,id=disk',
    'device_del disk', 'drive_add 0 if=none,format=help', 'drive_add 0 if=none,file=/nonexistent/x',
    'drive_del none', 'drive_del drive0', 'qemu-io drive0 "read 0 64k"',
    'qemu-io drive0 "write 0 64k"', 'qemu-io top "aio_write 1M 64k"', 'qemu-io none "read 0 1"',
    'qemu-io spare "nonsense"', 'qemu-io drive0 "truncate 0"')
# And lines that are none.
NOT_HUMAN = ('', 'none', 'info none', '"', 'x' * 4000)

# Refusals that somebody is the reason for: who it is, is told beside them.
IN_THE_WAY = re.compile(r"is busy|in use|frozen|^Cannot freeze|^Permission conflict|root block node|"
                        r"implicit \w+ child|already has a parent|cannot accept command verb|"
                        r"already paused|was not paused|conflicting with a device id|"
                        r"Failed to get .*lock|Duplicate ID '.*' for drive|Duplicate nodes")

# What an argument of some name may plausibly be; all combinations are too many, so each command gets
# the first values of all its arguments, then the second, and so on.
VALUES = {
    'device': ['drive0', 'mid', 'job', 'none'],
    'id': ['job', 'none', 'drive0', 'mon'],
    'node-name': ['top', 'mid', 'spare', 'none'],
    'node': ['drive0', 'mid', 'spare', 'top'],
    'overlay': ['spare', 'mid', 'top', 'none'],
    'target': ['spare', 'base', 'top', 'none'],
    'job-id': ['other', 'job', '1', 'again'],
    'base-node': ['base', 'mid', 'none', 'top'],
    'top-node': ['mid', 'top', 'base', 'none'],
    'bottom': ['mid', 'base', 'none', 'top'],
    'image-node-name': ['top', 'mid', 'none', 'base'],
    'backing-file': ['base.img', '', 'x' * 2000, '/nonexistent/x'],
    'snapshot-file': ['over.img', '/nonexistent/x', 'over.img', ''],
    'snapshot-node-name': ['over', 'top', 'over', '1'],
    'sync': ['full', 'top', 'none', 'incremental'],
    'size': [2 * MIB, 0, -1, MIB],
    'speed': [0, 1, -1, 1 << 40],
    'driver': ['null-co', 'qcow2', 'virtio-blk', 'none'],
    'qom-type': ['throttle-group', 'iothread', 'none', ''],
    'filename': ['/nonexistent/x', '', 'x', 'y'],
    'command': ['block-stream', 'job-pause', 'blockdev-del', 'none'],
    'arguments': [{'device': 'drive0'}, {'id': 'job'}, {'node-name': 'spare'}, {}],
    'action': ['start', 'stop', 'stop', 'start'],
}
BY_TYPE = {'str': ['drive0', 'top', 'none', ''], 'int': [0, 1, -1, 4096], 'bool': [True, False],
           'boolean': [True, False], 'string': ['drive0', 'top', 'none', ''],
           'integer': [0, 1, -1, 4096], 'number': [0, 1]}


class EveryCommand(Case):
    def setUp(self):
        super().setUp()
        self.paths = self.images.chain('base.img', 'mid.img', 'top.img', size=4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.images.io('mid.img', 'write -P 2 0 4M')
        self.paths += [self.images.create(name, 4 * MIB) for name in ('spare.img', 'target.img')]
        for path in self.paths:
            shutil.copyfile(path, path + '.new')

    def launch(self):
        for path in self.paths:
            shutil.copyfile(path + '.new', path)
        self.vm.drive(self.paths[2], 'node-name=top,backing.node-name=mid,'
                                     'backing.backing.node-name=base')
        for name, path in zip(('spare', 'target'), self.paths[3:]):
            self.vm.blockdev({'driver': 'qcow2', 'node-name': name,
                              'file': {'driver': 'file', 'filename': path}})
        self.vm.launch()

    def fresh(self):
        """Another daemon over the images as they were."""
        if self.vm.qmp:
            self.end(self.vm)
        self.vm = self.machine()
        self.launch()

    # ---- What there is ---------------------------------------------------------------------------

    def argument_sets(self):
        """(command, arguments) for every command, by what query-qmp-schema says of it."""
        schema = {one['name']: one for one in self.vm.command('query-qmp-schema')}
        for command in self.vm.command('query-commands'):
            name = command['name']
            if name in LEFT_OUT:
                continue
            yield name, None
            if name == 'human-monitor-command':
                yield from ((name, {'command-line': line}) for line in HUMAN + NOT_HUMAN)
                continue
            members = schema.get(schema.get(name, {}).get('arg-type', ''), {}).get('members', [])
            if not members:
                continue
            for turn in range(4):
                yield name, {one['name']: self.value(one, turn) for one in members
                             if turn < 2 or 'default' not in one}

    def value(self, member, turn):
        values = VALUES.get(member['name']) or BY_TYPE.get(member['type']) or ['none']
        return values[turn % len(values)]

    # ---- Jobs in a state -------------------------------------------------------------------------

    def status(self):
        found = [job['status'] for job in self.vm.command('query-jobs') if job['id'] == 'job']
        return found[0] if found else None

    def reach(self, kind, status):
        """Starts 'job' and waits until it is in the state."""
        by_hand = status in ('pending', 'concluded')
        options = {'job_id': 'job', 'auto_finalize': status != 'pending',
                   'auto_dismiss': status != 'concluded',
                   'speed': 1024 if status in ('running', 'paused') else 0}
        if kind == 'mirror':
            self.vm.command('blockdev-mirror', device='drive0', target='target', sync='full',
                            **options)
        elif kind == 'commit':
            self.vm.command('block-commit', device='drive0', top_node='mid', base_node='base',
                            **options)
        elif kind == 'active commit':
            self.vm.command('block-commit', device='drive0', **options)
        else:
            self.vm.command('block-stream', device='drive0', **options)
        has_ready = kind in ('mirror', 'active commit')
        if has_ready and status not in ('running', 'paused'):
            self.wait_status('job', 'ready')
            if by_hand:
                self.vm.command('job-complete', id='job')
        if status in ('paused', 'standby'):
            self.vm.command('job-pause', id='job')
        if status != 'ready':
            self.wait_status('job', status)

    def finish(self):
        """Whatever state the job is in, it can be ended."""
        status = self.status()
        if status == 'concluded':
            self.vm.command('job-dismiss', id='job')
        elif status is not None:
            self.vm.reply('job-cancel', id='job')  # it may end by itself just now
            self.vm.qmp.wait_event_that(
                lambda e: e['event'] == 'JOB_STATUS_CHANGE' and e['data']['status'] == 'null',
                what='the end of the job')
        self.assertIsNone(self.status())

    def run_all(self, kind, status):
        self.launch()
        calls = list(self.argument_sets())
        self.assertGreater(len(calls), 100)
        states = ('running', 'paused', 'pending', 'concluded', 'ready', 'standby')
        calls = calls[states.index(status) % CASE_STRIDE::CASE_STRIDE]
        self.fresh()
        self.reach(kind, status)
        for name, arguments in calls:
            with self.subTest(kind=kind, status=status, command=name, arguments=arguments):
                self.check_reply(name, arguments, self.vm.qmp.execute(name, arguments))
                self.assertIsNone(self.vm.process.poll(), 'the daemon has ended')
                if self.status() != status:
                    # The command has ended it or moved it on: begin anew.
                    self.finish_if_there()
                    self.fresh()
                    self.reach(kind, status)
        self.finish_if_there()

    def check_reply(self, name, arguments, reply):
        if name == 'human-monitor-command' and arguments:
            line = arguments['command-line']
            # A person's mistake is what is printed, and no error.
            self.assertIsInstance(reply.get('return'), str, reply)
            self.assertEqual('unknown command' in reply['return'],
                             line in NOT_HUMAN and line != '', reply)
        elif 'error' in reply:
            error = reply['error']
            self.assertNotEqual(error['desc'], '')
            if IN_THE_WAY.search(error['desc']):
                self.assertNotEqual(error.get('data', {}).get('holders', []), [], error)
                self.assertNotEqual(error['data'].get('next-step', ''), '', error)

    def finish_if_there(self):
        status = self.status()
        if status in ('aborting', 'waiting'):
            return  # on its way
        if status is not None:
            self.finish()

    def test_a_stream_that_is_running(self):
        self.run_all('stream', 'running')

    def test_a_stream_that_is_paused(self):
        self.run_all('stream', 'paused')

    def test_a_stream_that_is_pending(self):
        self.run_all('stream', 'pending')

    def test_a_stream_that_is_concluded(self):
        self.run_all('stream', 'concluded')

    def test_a_commit_that_is_running(self):
        self.run_all('commit', 'running')

    def test_a_commit_that_is_paused(self):
        self.run_all('commit', 'paused')

    def test_a_commit_that_is_pending(self):
        self.run_all('commit', 'pending')

    def test_a_commit_that_is_concluded(self):
        self.run_all('commit', 'concluded')

    def test_an_active_commit_that_is_running(self):
        self.run_all('active commit', 'running')

    def test_an_active_commit_that_is_paused(self):
        self.run_all('active commit', 'paused')

    def test_an_active_commit_that_is_ready(self):
        self.run_all('active commit', 'ready')

    def test_an_active_commit_that_is_standby(self):
        self.run_all('active commit', 'standby')

    def test_an_active_commit_that_is_pending(self):
        self.run_all('active commit', 'pending')

    def test_an_active_commit_that_is_concluded(self):
        self.run_all('active commit', 'concluded')

    def test_a_mirror_that_is_running(self):
        self.run_all('mirror', 'running')

    def test_a_mirror_that_is_paused(self):
        self.run_all('mirror', 'paused')

    def test_a_mirror_that_is_ready(self):
        self.run_all('mirror', 'ready')

    def test_a_mirror_that_is_standby(self):
        self.run_all('mirror', 'standby')

    def test_a_mirror_that_is_pending(self):
        self.run_all('mirror', 'pending')

    def test_a_mirror_that_is_concluded(self):
        self.run_all('mirror', 'concluded')


if __name__ == '__main__':
    unittest.main()
