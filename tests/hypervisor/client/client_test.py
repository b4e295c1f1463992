#!/usr/bin/env python3
"""The QMP client against a peer that says exactly what a test wants."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / 'examples/hypervisor/client'))
from qmp import QmpClient, QmpClosed, QmpError, QmpTimeout  # noqa: E402

GREETING = b'{"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}\r\n'


class Peer:
    """Answers each request with what `answer(request)` gives: a list of messages or bytes."""

    def __init__(self, answer=lambda request: [{'return': {}}], greeting=GREETING):
        self.ours, self.theirs = socket.socketpair()
        self.requests = []
        self._answer = answer
        self.theirs.sendall(greeting)  # before anybody can shut the socket down
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with self.theirs, self.theirs.makefile('rb') as lines:
            for line in lines:
                request = json.loads(line)
                self.requests.append(request)
                if request['execute'] == 'vanish':
                    self.theirs.shutdown(socket.SHUT_RDWR)
                    return
                for message in self._answer(request):
                    if isinstance(message, dict):
                        if 'event' not in message:
                            message = dict(message, id=request['id'])
                        message = json.dumps(message).encode() + b'\r\n'
                    self.theirs.sendall(message)


class Client(unittest.TestCase):
    def client(self, *arguments, timeout=30, **options):
        self.peer = Peer(*arguments, **options)
        client = QmpClient.from_fd(self.peer.ours, timeout=timeout)
        self.addCleanup(client.close)
        return client

    def test_it_negotiates_and_turns_underscores_into_dashes(self):
        qmp = self.client()
        self.assertEqual(qmp.greeting['version']['qemu']['major'], 7)
        self.assertEqual(qmp.command('block-stream', job_id='j', device='d'), {})
        self.assertEqual(self.peer.requests[0]['execute'], 'qmp_capabilities')
        self.assertEqual(self.peer.requests[1]['arguments'], {'job-id': 'j', 'device': 'd'})

    def test_a_refusal_carries_class_text_and_data(self):
        def refuse(request):
            if request['execute'] == 'qmp_capabilities':
                return [{'return': {}}]
            return [{'error': {'class': 'GenericError', 'desc': 'no', 'data': {'holders': []}}}]
        qmp = self.client(refuse)
        with self.assertRaises(QmpError) as refused:
            qmp.command('anything')
        self.assertEqual((refused.exception.error_class, refused.exception.description,
                          refused.exception.data), ('GenericError', 'no', {'holders': []}))

    def test_an_event_before_the_reply_is_kept(self):
        def with_event(request):
            return [{'event': 'STOP', 'data': {'a-b': 1}}, {'return': request['execute']}]
        qmp = self.client(with_event)
        qmp.command('one')
        self.assertEqual(len(qmp.events()), 2)
        self.assertEqual(qmp.wait_event('STOP', a_b=1)['event'], 'STOP')
        self.assertEqual(len(qmp.take_events('STOP')), 1)
        with self.assertRaisesRegex(QmpTimeout, 'no STOP; events not taken: .* within 0.01 s'):
            qmp.wait_event('STOP', timeout=0.01)

    def test_a_late_reply_is_not_taken_for_the_next(self):
        held = []

        def late(request):
            if request['execute'] == 'slow':
                held.append({'return': 'slow', 'id': request['id']})
                return []
            before = [json.dumps(message).encode() + b'\n' for message in held]
            return before + [{'return': request['execute']}]
        qmp = self.client(late)
        with self.assertRaises(QmpTimeout):
            qmp.execute('slow', timeout=0.01)
        self.assertEqual(qmp.command('next'), 'next')

    def test_a_peer_that_vanishes_is_an_error_and_not_a_wait(self):
        qmp = self.client()
        with self.assertRaisesRegex(QmpClosed, 'closed'):
            qmp.command('vanish')
        with self.assertRaises(QmpClosed):
            qmp.wait_event('STOP')
        qmp.wait_closed()

    def test_what_is_no_json_is_told(self):
        with self.assertRaisesRegex(QmpClosed, 'no QMP greeting.*not JSON'):
            peer = Peer(greeting=b'hello\n')
            peer.theirs.shutdown(socket.SHUT_WR)
            QmpClient.from_fd(peer.ours, timeout=30)

    def test_values_over_several_lines_are_read(self):
        qmp = self.client(lambda request: [json.dumps(
            {'return': [1, 2], 'id': request['id']}, indent=4).encode() + b'\n'])
        self.assertEqual(qmp.command('pretty'), [1, 2])

    def test_several_threads_get_their_own_replies(self):
        qmp = self.client(lambda request: [{'return': request.get('arguments')}])
        wrong = []

        def ask(number):
            for i in range(100):
                if qmp.command('echo', value=[number, i]) != {'value': [number, i]}:
                    wrong.append((number, i))
        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_it_waits_for_a_daemon_that_listens_later(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'sock')
            with self.assertRaisesRegex(QmpTimeout, 'nobody listens'):
                QmpClient.connect(path, timeout=0.05)
            listener = socket.socket(socket.AF_UNIX)
            self.addCleanup(listener.close)
            listener.bind(path)
            listener.listen()
            connected = []
            thread = threading.Thread(target=lambda: connected.append(
                QmpClient.connect(path, timeout=30, negotiate=False)))
            thread.start()
            peer, _ = listener.accept()
            peer.sendall(GREETING)
            thread.join()
            self.assertEqual(connected[0].greeting['capabilities'], [])
            connected[0].close()
            peer.close()


if __name__ == '__main__':
    unittest.main()
