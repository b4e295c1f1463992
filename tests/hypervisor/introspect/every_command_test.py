"""Every command the daemon has, in every state that a job can be seen in: it is answered, the daemon
lives, and the job can still be ended. Only against millraced: QEMU is not ours to break."""

import unittest

from support.case import Case
from support.images import MIB

# Not asked here: it ends the daemon, or the conversation.
LEFT_OUT = {'quit', 'qmp_capabilities', 'human-monitor-command'}

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
    def launch(self):
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 1M')
        spare = self.images.create('spare.img', MIB)
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=mid,'
                                 'backing.backing.node-name=base')
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'spare',
                          'file': {'driver': 'file', 'filename': spare}})
        self.vm.launch()


    def fresh(self):
        """Another daemon over the same images made anew."""
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

    def reach(self, status):
        """Starts 'job' and waits until it is in the state."""
        mirror = status in ('ready', 'standby')
        if mirror:
            self.vm.command('block-commit', device='drive0', job_id='job')
            self.wait_status('job', 'ready')
            if status == 'standby':
                self.vm.command('job-pause', id='job')
                self.wait_status('job', 'standby')
            return
        by_hand = status in ('pending', 'concluded')
        self.vm.command('block-stream', device='drive0', job_id='job', speed=0 if by_hand else 1024,
                        auto_finalize=status != 'pending', auto_dismiss=status != 'concluded')
        if status == 'paused':
            self.vm.command('job-pause', id='job')
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

    def run_all(self, status):
        self.launch()
        calls = list(self.argument_sets())
        self.assertGreater(len(calls), 100)
        self.fresh()
        self.reach(status)
        for name, arguments in calls:
            with self.subTest(status=status, command=name, arguments=arguments):
                reply = self.vm.qmp.execute(name, arguments)
                if 'error' in reply:
                    self.assertNotEqual(reply['error']['desc'], '')
                self.assertIsNone(self.vm.process.poll(), 'the daemon has ended')
                if self.status() != status:
                    # The command has ended it or moved it on: begin anew.
                    self.finish_if_there()
                    self.fresh()
                    self.reach(status)
        self.finish_if_there()

    def finish_if_there(self):
        status = self.status()
        if status in ('aborting', 'waiting'):
            return  # on its way
        if status is not None:
            self.finish()

    def test_running(self):
        self.run_all('running')

    def test_paused(self):
        self.run_all('paused')

    def test_ready(self):
        self.run_all('ready')

    def test_standby(self):
        self.run_all('standby')

    def test_pending(self):
        self.run_all('pending')

    def test_concluded(self):
        self.run_all('concluded')


if __name__ == '__main__':
    unittest.main()
