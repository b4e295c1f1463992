"""Clients that mean no good, beyond what tests/hypervisor/wire_*_test.py asks of QEMU too: many at
once, in the middle of jobs, and while the daemon ends."""

import json
import os
import pathlib
import socket
import unittest

from support.case import Case
from support.images import MIB
from support.machine import QmpClient


class Hostile(Case):
    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 1M')
        self.path = str(self.folder / 'qmp')
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=base')
        self.vm.chardev(f'socket,id=other,path={self.path},server=on,wait=off')
        self.vm.monitor('chardev=other,mode=control').launch()

    def raw(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self.path)
        self.addCleanup(connection.close)
        return connection

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.vm.process.pid}/fd'))

    def test_a_thousand_connections(self):
        before = self.descriptors()
        # They queue in the kernel, which turns away none of them; none disturbs the monitor that is
        # served.
        queue = int(pathlib.Path('/proc/sys/net/core/somaxconn').read_text())
        clients = []
        for _ in range(1000):
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            try:
                client.connect(self.path)
            except BlockingIOError:
                client.close()  # the queue is full
                continue
            clients.append(client)
        self.assertGreaterEqual(len(clients), min(1000, queue))
        self.assertEqual(self.vm.command('query-jobs'), [])
        for client in clients:
            client.close()
        # Whoever comes afterwards is served, and nothing is left of the others.
        with QmpClient.connect(self.path) as late:
            self.assertEqual(late.command('query-jobs'), [])
        self.vm.command('query-jobs')
        while self.descriptors() > before:
            self.vm.command('query-jobs')

    def test_a_client_goes_in_the_middle_of_starting_a_job(self):
        for stays_a_while in (False, True) * 10:
            self.vm.qmp.forget()
            client = self.raw()
            client.sendall(b'{"execute": "qmp_capabilities"}'
                           b'{"execute": "block-stream", "arguments": {"device": "drive0", '
                           b'"job-id": "s", "speed": 1}}')
            if stays_a_while:
                self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id='s', status='created')
            client.close()
            # Of who goes at once the command completes all the same, or was never read; once the
            # next client is served, that is settled.
            with QmpClient.connect(self.path) as following:
                following.command('query-jobs')
            if self.vm.command('query-jobs'):
                self.vm.reply('job-cancel', id='s')  # not found if it has just ended
            while self.vm.command('query-jobs'):
                pass

    def test_a_client_that_sends_a_byte_at_a_time_holds_nobody_up(self):
        slow = self.raw()
        request = b'{"execute": "qmp_capabilities"} {"execute": "query-jobs", "id": 7}'
        for byte in request:
            slow.sendall(bytes([byte]))
            self.assertEqual(self.vm.command('query-jobs'), [])
        replies = b''
        while b'"id": 7' not in replies:
            replies += slow.recv(65536)

    def test_a_storm_while_the_daemon_ends(self):
        storm = self.raw()
        storm.sendall(b'{"execute": "qmp_capabilities"}')
        self.vm.command('block-stream', device='drive0', job_id='s', speed=1)
        requests = b''.join(
            json.dumps({'execute': name, 'arguments': arguments}).encode()
            for name, arguments in (
                ('block-stream', {'device': 'drive0', 'job-id': 't'}),
                ('job-cancel', {'id': 's'}), ('job-pause', {'id': 's'}), ('query-block', {}),
                ('blockdev-add', {'driver': 'null-co', 'node-name': 'n'}),
                ('blockdev-del', {'node-name': 'n'}), ('x-millrace-explain', {})))
        storm.sendall(requests * 20)
        self.vm.qmp.send({'execute': 'quit'})
        storm.setblocking(False)
        try:
            while True:
                storm.sendall(requests)
        except OSError:
            pass  # it is not read any more, or the daemon is gone
        self.assertEqual(self.vm.wait_exit(), 0)
        self.assertEqual(self.vm.errors(), '')

    def test_a_bitmap_that_nobody_could_hash(self):
        self.vm.command('blockdev-add', driver='null-co', node_name='n', size=1 << 60)
        bitmap = {'node': 'n', 'name': 'b'}
        self.vm.qmp.execute('block-dirty-bitmap-add', {**bitmap, 'granularity': 512})
        reply = self.vm.qmp.execute('x-debug-block-dirty-bitmap-sha256', bitmap)
        self.assertIn('too large to be hashed', reply['error']['desc'])

    def test_out_of_band_requests_are_not_offered(self):
        reply = self.vm.qmp.request({'exec-oob': 'query-jobs'})
        self.assertEqual(reply['error']['class'], 'GenericError')
        self.assertEqual(self.vm.command('query-jobs'), [])

    def test_an_id_that_is_used_again_at_once(self):
        other = self.raw()
        other.sendall(b'{"execute": "qmp_capabilities"}'
                      + b'{"execute": "query-jobs", "id": 1}{"execute": "none", "id": 1}' * 50)
        lines = b''
        while lines.count(b'"id": 1') < 100:
            lines += other.recv(65536)
        told = [json.loads(line) for line in lines.splitlines() if b'"id": 1' in line]
        self.assertEqual(['return' in reply for reply in told], [True, False] * 50)

    def test_descriptors_that_no_command_takes_are_closed(self):
        before = self.descriptors()
        with QmpClient.connect(self.path) as client, open('/dev/null', 'rb') as null:
            held = self.descriptors()
            for _ in range(100):
                client.pass_descriptors(*[null.fileno()] * 20)
                client.command('query-jobs')
            self.assertLessEqual(self.descriptors(), held + 1)
            for _ in range(100):
                client.pass_descriptor(null.fileno())  # with a request that never comes
        while self.descriptors() > before:
            self.vm.command('query-jobs')

    def test_two_monitors_that_ask_for_one_name_at_once(self):
        """Whichever is served first is given it, and the other one hears so. One command runs at a
        time over all monitors, so nothing is shown here of names while a command waits."""
        other = QmpClient.connect(self.path)
        self.addCleanup(other.close)
        for i in range(20):
            node = {'driver': 'null-co', 'node-name': f'n{i}', 'size': MIB}
            self.vm.qmp.send({'execute': 'blockdev-add', 'arguments': node})
            second = other.execute('blockdev-add', node)
            first = self.vm.qmp.next_reply()
            refused, = (reply for reply in (first, second) if 'error' in reply)
            self.assertEqual(refused['error']['desc'], f"Duplicate nodes with node-name='n{i}'")
            self.assertIn({'return': {}}, (first, second))


if __name__ == '__main__':
    unittest.main()
