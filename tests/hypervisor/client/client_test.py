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


class Program(unittest.TestCase):
    """qmp.py run by hand: `qmp.py SOCKET COMMAND [KEY=VALUE...]` and `qmp.py SOCKET --events`."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix='millrace-qmp-')
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, 'qmp')
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.settimeout(60)
        self.listener.bind(self.path)
        self.listener.listen(1)

    def start(self, *words):
        """The program, connected, and the peer's lines from and to it."""
        program = subprocess.Popen([sys.executable, '-B', sys.modules['qmp'].__file__, self.path,
                                    *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        peer, _ = self.listener.accept()
        self.addCleanup(peer.close)
        peer.settimeout(60)
        peer.sendall(GREETING)
        lines = peer.makefile('rw')
        self.addCleanup(lines.close)
        self.answer(lines, {'return': {}})  # qmp_capabilities
        return program, peer, lines

    def answer(self, lines, reply):
        request = json.loads(lines.readline())
        self.tell(lines, {**reply, 'id': request.pop('id')})
        return request

    def tell(self, lines, message):
        lines.write(json.dumps(message) + '\n')
        lines.flush()

    def test_a_command_with_arguments(self):
        program, _, lines = self.start('block-stream', 'device=drive0', 'speed=7', 'auto=true',
                                       'file={"driver": "null-co"}', 'name=a=b', 'job-id="9"')
        request = self.answer(lines, {'return': {'a': [1, 2]}})
        self.assertEqual(request, {'execute': 'block-stream', 'arguments': {
            'device': 'drive0', 'speed': 7, 'auto': True, 'file': {'driver': 'null-co'},
            'name': 'a=b', 'job-id': '9'}})
        output, errors = program.communicate(timeout=60)
        self.assertEqual((json.loads(output), errors, program.returncode), ({'a': [1, 2]}, '', 0))

    def test_a_command_without_arguments(self):
        program, _, lines = self.start('query-jobs')
        self.assertEqual(self.answer(lines, {'return': []}), {'execute': 'query-jobs'})
        self.assertEqual(program.communicate(timeout=60), ('[]\n', ''))

    def test_a_refusal(self):
        program, _, lines = self.start('nope')
        error = {'class': 'CommandNotFound', 'desc': 'The command nope has not been found'}
        self.answer(lines, {'error': error})
        output, _ = program.communicate(timeout=60)
        self.assertEqual((json.loads(output), program.returncode), ({'error': error}, 1))

    def test_events_until_the_daemon_ends(self):
        program, peer, lines = self.start('--events')
        for number in range(3):
            event = {'event': f'E{number}', 'data': {'number': number}}
            self.tell(lines, event)
            self.assertEqual(json.loads(program.stdout.readline()), event)  # each at once
        peer.shutdown(socket.SHUT_RDWR)
        output, errors = program.communicate(timeout=60)
        self.assertEqual((output, program.returncode), ('', 1))
        self.assertIn('qmp.py: ', errors)
        self.assertIn('the daemon closed the connection', errors)

    def test_words_that_are_wrong(self):
        for words, status, text in (((), 2, 'qmp.py SOCKET COMMAND'),
                                    (('--help',), 0, 'qmp.py SOCKET --events'),
                                    ((self.path,), 2, 'qmp.py SOCKET COMMAND')):
            done = subprocess.run([sys.executable, '-B', sys.modules['qmp'].__file__, *words],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((done.returncode, text in done.stdout), (status, True), words)


if __name__ == '__main__':
    unittest.main()
