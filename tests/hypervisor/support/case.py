"""What the cases share: a folder of images, machines, and the life of a job told by its events."""

import os
import pathlib
import shutil
import tempfile
import unittest

from support import backend
from support.images import Images, was_read
from support.machine import Machine, QmpClosed, QmpError, QmpTimeout, TIMEOUT

BACKEND = backend.find(os.environ.get('HYPERVISOR_BACKEND', 'qemu'))
ENDS = ('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED')

__all__ = ['BACKEND', 'Case', 'Machine', 'QmpClosed', 'QmpError', 'QmpTimeout', 'TIMEOUT',
           'without_times']


def without_times(told):
    """A refusal without when each holder came: what is only planned came earlier."""
    if isinstance(told, dict):
        return {key: without_times(value) for key, value in told.items() if key != 'since-ns'}
    return [without_times(each) for each in told] if isinstance(told, list) else told


class Case(unittest.TestCase):
    """A folder for images in `images`, machines that are ended with the test."""

    maxDiff = None

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-hypervisor-'))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.images = Images(self.folder)
        self.vm = self.machine()

    def machine(self):
        machine = Machine(BACKEND, self.folder)
        self.addCleanup(machine.kill)
        return machine

    def tearDown(self):
        self.end(self.vm)

    def end(self, vm):
        """A machine that still runs must end well: every case checks quit that way."""
        if vm.qmp and vm.process.poll() is None:
            self.assertEqual(vm.quit(), 0, vm.errors())

    # ---- Refusals --------------------------------------------------------------------------------

    def assert_refused(self, text, name, error_class='GenericError', **arguments):
        """The command is refused with exactly this class and text."""
        reply = self.vm.reply(name, **arguments)
        self.assertIn('error', reply, f'{name} was not refused; events: {self.all_events()}')
        self.assertEqual((reply['error']['class'], reply['error']['desc']), (error_class, text))

    # ---- Content ---------------------------------------------------------------------------------

    def shows(self, drive, pattern, offset, length):
        """Whether a drive or node of the machine reads this pattern there."""
        before = len(self.vm.output())
        self.vm.io(drive, f'read -P {pattern} {offset} {length}')
        return was_read(self.vm.output()[before:], length)

    # ---- Jobs ------------------------------------------------------------------------------------

    def jobs(self):
        return self.vm.command('query-block-jobs')

    def job(self, ident='drive0'):
        found = [job for job in self.jobs() if job['device'] == ident]
        self.assertEqual(len(found), 1, f'no job {ident!r}')
        return found[0]

    def assert_no_job(self):
        self.assertEqual(self.jobs(), [])
        self.assertEqual(self.vm.command('query-jobs'), [])

    def wait_status(self, ident, status):
        return self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id=ident, status=status)

    def wait_ended(self, ident='drive0', error=None, offset='len', kind=None):
        """Waits until the job has completed, with this error or none, and is gone.

        `offset` is where it stood at the end: 'len', a number, or None for anywhere.
        """
        event = self.vm.qmp.wait_event(*ENDS, device=ident)
        self.assertEqual(event['event'], 'BLOCK_JOB_COMPLETED', event)
        data = event['data']
        self.assertEqual(data.get('error'), error, event)
        if offset is not None:
            self.assertEqual(data['offset'], data['len'] if offset == 'len' else offset, event)
        if kind:
            self.assertEqual(data['type'], kind)
        self.wait_status(ident, 'null')
        return data

    def wait_pending(self, ident='drive0'):
        """Lets a job with auto_finalize=False, held by its speed, run to where it waits for us.

        A held job may come to its end by itself: QEMU 7.2 lets it do a piece at each drain.
        """
        reply = self.vm.reply('block-job-set-speed', device=ident, speed=0)
        if 'error' in reply:
            self.assertEqual(reply['error']['desc'], f"Job '{ident}' in state 'pending' cannot "
                             "accept command verb 'set-speed'")
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING', id=ident)

    def wait_ready(self, ident='drive0', kind='commit'):
        event = self.vm.qmp.wait_event('BLOCK_JOB_READY', device=ident)
        self.assertEqual(event['data']['type'], kind)
        self.assertNotIn('error', event['data'])
        return event['data']

    def complete(self, ident='drive0', kind='commit'):
        self.wait_ready(ident, kind)
        self.vm.command('block-job-complete', device=ident)
        return self.wait_ended(ident)

    def cancel(self, ident='drive0', **options):
        """Cancels and waits; returns the event that told of it."""
        self.vm.command('block-job-cancel', device=ident, **options)
        event = self.vm.qmp.wait_event(*ENDS, device=ident)
        self.wait_status(ident, 'null')
        return event

    def pause(self, ident='drive0'):
        """Asks for a pause and waits until the job has really parked."""
        self.vm.command('block-job-pause', device=ident)
        self.vm.qmp.wait_event_that(
            lambda e: e['event'] == 'JOB_STATUS_CHANGE' and e['data']['id'] == ident and
            e['data']['status'] in ('paused', 'standby'), what=f'{ident} paused')
        job = self.job(ident)
        self.assertTrue(job['paused'])
        self.assertFalse(job['busy'])
        return job

    def statuses(self, ident):
        """The states the job has gone through so far, in order."""
        return [message['data']['status'] for message in self.vm.qmp.messages()
                if message.get('event') == 'JOB_STATUS_CHANGE' and message['data']['id'] == ident]

    def all_events(self):
        """What has come so far, for the message of a failure: who has ended, and how."""
        return [(message['event'], message.get('data')) for message in self.vm.qmp.messages()
                if 'event' in message]

    def events_of(self, ident):
        """All events of one job so far, as (name or status): the order on the wire."""
        told = []
        for message in self.vm.qmp.messages():
            data = message.get('data', {})
            if message.get('event') == 'JOB_STATUS_CHANGE' and data['id'] == ident:
                told.append(data['status'])
            elif message.get('event', '').startswith('BLOCK_JOB_') and (
                    ident in (data.get('device'), data.get('id'))):
                told.append(message['event'])
        return told

    # ---- The graph -------------------------------------------------------------------------------

    def named_nodes(self, flat=False):
        nodes = self.vm.command('query-named-block-nodes', flat=flat)
        return {node['node-name']: node for node in nodes}

    def backing_of(self, node):
        """The name of the node behind `node`'s backing edge, or None."""
        return self.child_of(node, 'backing')

    def child_of(self, node, edge_name):
        graph = self.vm.command('x-debug-query-block-graph')
        ids = {one['name']: one['id'] for one in graph['nodes'] if one['type'] == 'block-driver'}
        names = {one['id']: one['name'] for one in graph['nodes']}
        self.assertIn(node, ids)
        for edge in graph['edges']:
            if edge['parent'] == ids[node] and edge['name'] == edge_name:
                return names[edge['child']]
        return None
