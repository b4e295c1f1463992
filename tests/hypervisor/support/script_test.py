#!/usr/bin/env python3
"""What a script waits for, told by messages that a test has written itself; no daemon, no QEMU."""

import json
import pathlib
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.machine import QmpClient, QmpTimeout  # noqa: E402
from support.script import ScriptRun  # noqa: E402

GREETING = {'QMP': {'version': {'qemu': {'major': 7}}, 'capabilities': []}}


def status(ident, state):
    return {'event': 'JOB_STATUS_CHANGE', 'data': {'status': state, 'id': ident}}


def told(event, ident, speed):
    """`speed` tells one event from another."""
    return {'event': event, 'data': {'device': ident, 'type': 'mirror', 'speed': speed}}


class Waits(unittest.TestCase):
    def waits(self, verb, ident, messages, timeout=30):
        """The speeds in the events that are still there when the script has waited."""
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        for message in [GREETING, *messages, {'event': 'STOP'}]:
            theirs.sendall(json.dumps(message).encode() + b'\n')
        client = QmpClient.from_fd(ours, timeout=30, negotiate=False)
        self.addCleanup(client.close)
        client.wait_event('STOP')  # as after a command's reply: what came before is there
        run = ScriptRun('', backend=None, timeout=timeout)
        self.addCleanup(run._folder.rmdir)
        run._vm.qmp = client
        run._wait(verb, [ident])
        return [event['data']['speed'] for event in client.events()
                if event['event'].startswith('BLOCK_JOB_')]

    def setUp(self):
        self.first = [status('job', 'created'), told('BLOCK_JOB_READY', 'job', 1),
                      told('BLOCK_JOB_CANCELLED', 'job', 1), status('job', 'null')]

    def test_ready_is_that_of_the_job_that_has_the_id_now(self):
        second = [status('job', 'created'), told('BLOCK_JOB_READY', 'job', 2)]
        self.assertEqual(self.waits('ready', 'job', self.first + second), [1, 1])

    def test_ended_is_that_of_the_job_that_has_the_id_now(self):
        second = [status('job', 'created'), told('BLOCK_JOB_COMPLETED', 'job', 2),
                  status('job', 'null')]
        self.assertEqual(self.waits('ended', 'job', self.first + second), [1, 1])

    def test_another_job_s_events_are_left(self):
        others = [status('other', 'created'), told('BLOCK_JOB_READY', 'other', 3)]
        self.assertEqual(self.waits('ready', 'job', self.first + others), [1, 3])

    def test_a_ready_that_never_comes_is_a_time_out(self):
        with self.assertRaisesRegex(QmpTimeout, 'no BLOCK_JOB_READY of job'):
            self.waits('ready', 'job', self.first + [status('job', 'created')], timeout=0.2)


if __name__ == '__main__':
    unittest.main()
