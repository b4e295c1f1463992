"""Several monitors at once, clients that vanish or do not read, and the kinds of chardev."""

import json
import os
import socket
import subprocess
import threading

from support.case import TIMEOUT, Case
from support.images import MIB
from support.machine import QmpClient


class Several(Case):
    def setUp(self):
        super().setUp()
        base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        top = self.images.create('top.img', backing=base)
        self.vm.drive(top)
        for name in ('a', 'b'):
            path = self.images.path(f'{name}.sock')
            self.vm.chardev(f'socket,id={name},path={path},server=on,wait=off')
            self.vm.monitor(f'chardev={name},mode=control')
        self.vm.launch()

    def another(self, name='a', negotiate=True):
        client = QmpClient.connect(self.images.path(f'{name}.sock'), TIMEOUT, negotiate)
        self.addCleanup(client.close)
        return client

    def raw(self, name='a'):
        """A connection that reads nothing by itself, negotiated."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(TIMEOUT)
        self.addCleanup(connection.close)
        connection.connect(self.images.path(f'{name}.sock'))
        connection.recv(4096)
        connection.sendall(b'{"execute": "qmp_capabilities"}')
        connection.recv(4096)
        return connection

    def test_each_negotiates_for_itself(self):
        one = self.another('a', negotiate=False)
        self.assertEqual(one.execute('query-block')['error']['class'], 'CommandNotFound')
        self.another('b').command('query-block')
        one.command('qmp_capabilities')
        one.command('query-block')

    def test_events_go_to_all_and_replies_to_the_one_that_asked(self):
        one, two = self.another('a'), self.another('b')
        one.command('block-stream', device='drive0')
        for client in (self.vm.qmp, one, two):
            client.wait_event('BLOCK_JOB_COMPLETED', device='drive0')
            client.wait_event('JOB_STATUS_CHANGE', status='null')
        told = [[m for m in client.messages() if 'event' in m] for client in (self.vm.qmp, one, two)]
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0], told[2])
        self.assertEqual(sum('return' in m for m in two.messages()), 1)

    def test_a_monitor_that_has_not_negotiated_gets_no_events(self):
        silent = self.another('a', negotiate=False)
        self.vm.command('block-stream', device='drive0')
        self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED')
        self.wait_status('drive0', 'null')
        silent.command('qmp_capabilities')
        silent.command('query-block-jobs')
        self.assertEqual(silent.events(), [])

    def test_a_job_outlives_the_client_that_started_it(self):
        one = self.another('a')
        one.command('block-stream', device='drive0', speed=65536)
        one.close()
        self.vm.command('block-job-set-speed', device='drive0', speed=0)
        self.wait_ended()

    def test_a_client_may_come_again(self):
        for _ in range(5):
            one = self.another('a')
            self.assertEqual(one.command('query-block-jobs'), [])
            one.close()

    def test_a_second_client_waits_until_the_first_has_gone(self):
        one = self.another('a')
        second = socket.socket(socket.AF_UNIX)
        self.addCleanup(second.close)
        second.connect(self.images.path('a.sock'))
        self.assertEqual(one.command('query-block-jobs'), [])
        second.setblocking(False)
        with self.assertRaises(BlockingIOError):
            second.recv(1)
        one.close()
        second.settimeout(TIMEOUT)
        self.assertTrue(second.recv(4096).startswith(b'{"QMP"'))

    def test_many_clients_one_after_the_other_leave_nothing_behind(self):
        descriptors = f'/proc/{self.vm.process.pid}/fd'
        self.another('a').close()
        before = len(os.listdir(descriptors))
        for _ in range(100):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self.images.path('a.sock'))
            connection.close()
        client = self.another('a')
        client.command('query-block-jobs')
        self.assertLessEqual(len(os.listdir(descriptors)), before + 2)

    def test_a_client_that_vanishes_in_the_middle_of_a_request(self):
        for part in (b'{"execute": "query-bl', b'{"execute": "query-block"', b'"', b'['):
            with self.subTest(part=part):
                connection = self.raw()
                connection.sendall(part)
                connection.close()
                again = self.another('a')
                self.assertEqual(again.command('query-block-jobs'), [])
                again.close()

    def test_a_client_that_vanishes_without_reading_its_replies(self):
        connection = self.raw()
        connection.sendall(b'{"execute": "query-block"}' * 50)
        connection.close()
        self.assertEqual(self.another('a').command('query-block-jobs'), [])

    def test_a_client_that_sends_no_more_still_gets_its_replies(self):
        connection = self.raw()
        connection.sendall(b'{"execute": "query-block-jobs", "id": 1}')
        # The answer is read before the other half closes too.
        with connection.makefile('rb') as lines:
            self.assertEqual(json.loads(lines.readline()), {'return': [], 'id': 1})

    def test_a_client_that_does_not_read_holds_nobody_up(self):
        deaf = self.raw('a')
        sent = threading.Event()

        def flood():
            try:
                for _ in range(2000):
                    deaf.sendall(b'{"execute": "query-named-block-nodes"}')
                    sent.set()
            except OSError:
                pass  # it may be thrown out, and is in the end
        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        self.assertTrue(sent.wait(TIMEOUT))
        for _ in range(20):
            self.assertEqual(self.vm.command('query-block-jobs'), [])
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assertEqual(self.vm.quit(), 0)
        deaf.close()
        thread.join()

    def test_commands_of_all_monitors_come_one_after_the_other(self):
        clients = [self.another('a'), self.another('b'), self.vm.qmp]
        wrong = []

        def use(number, client):
            for i in range(30):
                name = f'null-{number}-{i}'
                client.command('blockdev-add', driver='null-co', node_name=name, size=MIB)
                reply = client.execute('blockdev-add',
                                       {'driver': 'null-co', 'node-name': name, 'size': MIB})
                if 'error' not in reply:
                    wrong.append(reply)
                client.command('blockdev-del', node_name=name)
        threads = [threading.Thread(target=use, args=pair) for pair in enumerate(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


class Chardevs(Case):
    def test_a_chardev_that_connects_to_its_client(self):
        """As QEMU's machines do it: the client listens, the daemon connects."""
        path = self.images.path('client.sock')
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            self.vm.chardev(f'socket,id=out,path={path}').monitor('chardev=out,mode=control')
            self.vm.start()
            self.vm.qmp = QmpClient.accept(listener, TIMEOUT)
        self.assertEqual(self.vm.command('query-block-jobs'), [])

    def test_pretty_replies_span_lines(self):
        path = self.images.path('pretty.sock')
        self.vm.chardev(f'socket,id=p,path={path},server=on,wait=off')
        self.vm.monitor('chardev=p,mode=control,pretty=on').launch()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            with connection.makefile('rb') as lines:
                self.assertEqual(lines.readline().rstrip(), b'{')
                self.assertEqual(lines.readline().rstrip(), b'    "QMP": {')
        client = QmpClient.connect(path, TIMEOUT)
        self.assertIn('qemu', client.command('query-version'))
        client.close()

    def test_stdio(self):
        self.vm.chardev('stdio,id=std').monitor('chardev=std,mode=control')
        self.vm.start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        output, _ = self.vm.process.communicate(
            b'{"execute": "qmp_capabilities"}\n{"execute": "query-block-jobs", "id": 1}\n'
            b'{"execute": "quit", "id": 2}\n', TIMEOUT)
        told = [json.loads(line) for line in output.splitlines()]
        self.assertIn('QMP', told[0])
        self.assertEqual(told[1:3], [{'return': {}}, {'return': [], 'id': 1}])
        self.assertIn({'return': {}, 'id': 2}, told)
        self.assertEqual(self.vm.process.returncode, 0)
