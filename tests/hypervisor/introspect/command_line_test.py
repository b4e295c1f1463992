"""millraced's own command line, end to end: each option as KEY=VALUE and as JSON does what it says;
--daemonize. QEMU's machines have no such options, and its storage daemon has no drives."""

import json
import os
import select
import signal
import socket
import subprocess
import unittest

from support import nbd
from support.case import BACKEND, Case, TIMEOUT
from support.images import MIB
from support.machine import QmpClient
from support.nbd import Nbd

PROGRAM = os.path.basename(BACKEND.program())


class Started(Case):
    def setUp(self):
        super().setUp()
        self.path = self.images.create('x.img', MIB)
        self.images.io('x.img', 'write -P 7 0 64K')
        self.socket = str(self.folder / 'qmp')
        self.server = str(self.folder / 'nbd')

    def start(self, *words):
        """Pairs of an option and its value, which is JSON if it is a dictionary."""
        words = [json.dumps(word) if isinstance(word, dict) else word for word in words]
        errors = open(self.folder / 'stderr.txt', 'ab')
        self.addCleanup(errors.close)
        process = subprocess.Popen([BACKEND.program(), *words], cwd=self.folder, stderr=errors,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        return process

    def connected(self):
        client = QmpClient.connect(self.socket, TIMEOUT)
        self.addCleanup(client.close)
        return client

    def chardev(self):
        return '--chardev', f'socket,id=c,path={self.socket},server=on,wait=off'


class Options(Started):
    def check(self, *words):
        """A node, a drive with a device on it, a group, and an export that shows the node."""
        process = self.start(*words)
        qmp = self.connected()
        drive, = qmp.command('query-block')
        self.assertEqual((drive['device'], drive['qdev'], drive['inserted']['node-name']),
                         ('d', '/machine/peripheral/v/virtio-backend', 'null'))
        self.assertIs(drive['inserted']['ro'], True)
        self.assertEqual(qmp.command('qom-get', path='/objects/g', property='limits')['iops-read'],
                         17)
        export, = qmp.command('query-block-exports')
        self.assertEqual((export['id'], export['type'], export['node-name']), ('e', 'nbd', 'disk'))
        client = Nbd(self.server).go(b'shown')
        self.addCleanup(client.close)
        self.assertEqual(client.size, MIB)
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, b'\7' * 512))
        self.assertEqual(client.request(nbd.WRITE, 65536, payload=b'\1' * 512)[0], 0)
        client.close()
        qmp.command('quit')
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertTrue(self.images.holds('x.img', 1, 65536, 512))

    def test_as_keys_and_values(self):
        self.check(
            *self.chardev(), '--monitor', 'chardev=c,mode=control',
            '--object', 'throttle-group,id=g,limits.iops-read=17',
            '--blockdev', f'qcow2,node-name=disk,file.driver=file,file.filename={self.path}',
            '--drive', 'if=none,id=d,driver=null-co,node-name=null,read-only=on',
            '--device', 'virtio-blk-pci,id=v,drive=d',
            '--nbd-server', f'addr.type=unix,addr.path={self.server}',
            '--export', 'type=nbd,id=e,node-name=disk,name=shown,writable=on')

    def test_as_json(self):
        self.check(
            *self.chardev(), '--monitor', {'chardev': 'c', 'mode': 'control'},
            '--object', {'qom-type': 'throttle-group', 'id': 'g', 'limits': {'iops-read': 17}},
            '--blockdev', {'driver': 'qcow2', 'node-name': 'disk',
                           'file': {'driver': 'file', 'filename': self.path}},
            # QEMU takes no JSON for a drive, but for the file's name in it.
            '--drive', 'if=none,id=d,read-only=on,file=json:' + json.dumps(
                {'driver': 'null-co', 'node-name': 'null'}).replace(',', ',,'),
            '--device', {'driver': 'virtio-blk-pci', 'id': 'v', 'drive': 'd'},
            '--nbd-server', {'addr': {'type': 'unix', 'path': self.server}},
            '--export', {'type': 'nbd', 'id': 'e', 'node-name': 'disk', 'name': 'shown',
                         'writable': True})

    def test_an_export_that_is_not_writable(self):
        for export in ('nbd,id=e,node-name=disk',
                       {'type': 'nbd', 'id': 'e', 'node-name': 'disk', 'writable': False}):
            with self.subTest(export=export):
                process = self.start(
                    *self.chardev(), '--monitor', 'c', '--blockdev',
                    f'qcow2,node-name=disk,file.driver=file,file.filename={self.path}',
                    '--nbd-server', f'addr.type=unix,addr.path={self.server}', '--export', export)
                qmp = self.connected()
                with Nbd(self.server).go(b'disk') as client:
                    self.assertEqual(client.request(nbd.WRITE, 0, payload=b'\1' * 512)[0], 1)
                qmp.command('quit')
                self.assertEqual(process.wait(TIMEOUT), 0)
        self.assertTrue(self.images.holds('x.img', 7, 0, 512))

    def test_a_pretty_monitor(self):
        for monitor in ('c,pretty=on', 'chardev=c,mode=control,pretty=on',
                        {'chardev': 'c', 'pretty': True}):
            with self.subTest(monitor=monitor):
                process = self.start(*self.chardev(), '--monitor', monitor)
                qmp = QmpClient.connect(self.socket, TIMEOUT, negotiate=False)
                qmp.close()
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(self.socket)
                    self.assertEqual(client.makefile().readline(), '{\n')
                process.terminate()
                self.assertEqual(process.wait(TIMEOUT), 0)

    def test_what_is_wrong_in_json_is_refused_as_elsewhere(self):
        for option, value, text in (
                ('--monitor', {'chardev': 'none'}, 'chardev "none" not found'),
                ('--object', {'qom-type': 'no-such', 'id': 'x'}, 'no-such'),
                ('--device', {'driver': 'no-such'}, "'no-such' is not a valid device model name"),
                ('--nbd-server', {'addr': {'type': 'unix'}}, "Parameter 'addr.path' is missing"),
                ('--export', {'type': 'nbd', 'id': 'e', 'node-name': 'none'},
                 'Cannot find device='),
                ('--export', {'type': 'nbd', 'id': 'e'}, "Parameter 'node-name' is missing")):
            with self.subTest(option=option, value=value):
                process = self.start(option, value)
                self.assertEqual(process.wait(TIMEOUT), 1)
                told = self.vm.errors()
                self.assertTrue(told.startswith(f'{PROGRAM}: {option} '), told)
                self.assertIn(text, told)
                os.truncate(self.folder / 'stderr.txt', 0)


class Chardevs(Started):
    def test_a_socket_without_a_file(self):
        name = f'millrace-{self.folder.name}'
        for options, end in (('', b''), (',tight=on', b''), (',tight=off', bytes(107 - len(name)))):
            with self.subTest(options=options):
                process = self.start(
                    '--chardev', f'socket,id=c,path={name},abstract=on{options},server=on,wait=off',
                    '--monitor', 'c')
                self.answered(b'\0' + name.encode() + end, process)
                self.assertFalse((self.folder / name).exists())
        process = self.start('--chardev', f'socket,id=c,path={name},abstract=off,server=on,wait=off',
                             '--monitor', 'c')
        self.answered(str(self.folder / name), process)

    def answered(self, address, process):
        """A client at this address is greeted, and ends the program."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(TIMEOUT)
        while client.connect_ex(address) != 0:
            self.assertIsNone(process.poll(), self.vm.errors())
        with QmpClient.from_fd(client, TIMEOUT) as qmp:
            told = {one['label']: one['filename'] for one in qmp.command('query-chardev')}
            self.assertIn('unix:', told['c'])
            self.assertEqual(',abstract=on' in told['c'], isinstance(address, bytes))
            qmp.command('quit')
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_it_connects_to_a_socket_without_a_file(self):
        name = f'millrace-{self.folder.name}'
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind('\0' + name)
            listener.listen(1)
            process = self.start('--chardev', f'socket,id=c,path={name},abstract=on', '--monitor',
                                 'c')
            with QmpClient.accept(listener, TIMEOUT) as qmp:
                qmp.command('quit')
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_an_nbd_server_without_a_file(self):
        name = f'millrace-nbd-{self.folder.name}'
        process = self.start(
            *self.chardev(), '--monitor', 'c', '--blockdev', 'null-co,node-name=n,read-zeroes=on',
            '--nbd-server', f'addr.type=unix,addr.path={name},addr.abstract=on', '--export',
            'nbd,id=e,node-name=n')
        qmp = self.connected()
        with Nbd('\0' + name).go(b'n') as client:
            self.assertEqual(client.request(nbd.READ, 0, 512), (0, bytes(512)))
        self.assertFalse((self.folder / name).exists())
        qmp.command('quit')
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_what_a_chardev_does_not_do_is_refused_and_what_is_harmless_is_not(self):
        server = f'socket,id=c,path={self.socket},server=on,wait=off'
        for words, text in ((f'{server},logfile=log', "leave 'logfile' away"),
                            ('null,id=c,logfile=log', "leave 'logfile' away"),
                            (f'{server},mux=on', "leave 'mux' away"),
                            ('null,id=c,mux=on', "leave 'mux' away"),
                            ('stdio,id=c,mux=on', "leave 'mux' away"),
                            (f'{server},abstract=maybe', "Parameter 'abstract' expects 'on' or"),
                            (f'{server},delay=maybe', "Parameter 'delay' expects 'on' or 'off'"),
                            ('stdio,id=c,signal=maybe', "Parameter 'signal' expects 'on' or"),
                            (f'socket,id=c,path={"x" * 108},abstract=on', 'is too long')):
            with self.subTest(words=words):
                self.assertEqual(self.start('--chardev', words).wait(TIMEOUT), 1)
                self.assertIn(text, self.vm.errors())
                os.truncate(self.folder / 'stderr.txt', 0)
        self.assertFalse((self.folder / 'log').exists())
        process = self.start('--chardev', f'{server},mux=off,logappend=on,delay=on,nodelay=off',
                             '--chardev', 'null,id=n,mux=off', '--chardev', 'stdio,id=s,signal=off',
                             '--monitor', 'c')
        self.connected().command('quit')
        self.assertEqual(process.wait(TIMEOUT), 0)


class Daemonize(Started):
    def setUp(self):
        super().setUp()
        self.pid_file = self.folder / 'pid'

    def test_it_goes_to_the_background_when_it_can_be_reached(self):
        parent = self.start(*self.chardev(), '--monitor', 'c', '--pidfile', 'pid', '--daemonize',
                            '--drive', f'if=none,id=d,file={self.path},format=qcow2')
        self.assertEqual(parent.wait(TIMEOUT), 0)
        # All that follows was so when the parent ended.
        pid = int(self.pid_file.read_text())
        self.addCleanup(self.kill, pid)
        self.assertNotEqual(pid, parent.pid)
        self.assertEqual(parent.stdout.read(), b'')  # its end: nobody holds our pipe open
        self.assertEqual(self.vm.errors(), '')
        ended = os.pidfd_open(pid)
        self.addCleanup(os.close, ended)
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertEqual(os.readlink(f'/proc/{pid}/cwd'), '/')
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.socket)
        with QmpClient.from_fd(client, TIMEOUT) as qmp:
            self.assertEqual([drive['device'] for drive in qmp.command('query-block')], ['d'])
            qmp.command('quit')
        self.assertTrue(select.select([ended], [], [], TIMEOUT)[0], 'it does not end')
        self.assertFalse(self.pid_file.exists())
        self.assertFalse(os.path.exists(self.socket))
        self.images.io('x.img', 'write 0 512')  # it is not locked any more

    def kill(self, pid):
        """Only if the test did not come to its end, where the file is gone."""
        if self.pid_file.exists():
            os.kill(pid, signal.SIGKILL)

    def test_what_is_wrong_is_told_before_it_would_go_to_the_background(self):
        for words, text in ((('--drive', 'if=none,file=/nonexistent'),
                             "Could not open '/nonexistent': No such file or directory"),
                            (('--pidfile', '/nonexistent/pid'),
                             "cannot create PID file: Could not create '/nonexistent/pid'"),
                            (('--chardev', 'stdio,id=s'), 'cannot use stdio with -daemonize')):
            with self.subTest(words=words):
                parent = self.start('--daemonize', *self.chardev(), '--pidfile', 'pid', *words)
                self.assertEqual(parent.wait(TIMEOUT), 1)
                self.assertEqual(parent.stdout.read(), b'')
                told = self.vm.errors()
                self.assertTrue(told.startswith(f'{PROGRAM}: '), told)
                self.assertIn(text, told)
                self.assertFalse(self.pid_file.exists())
                self.assertFalse(os.path.exists(self.socket))
                os.truncate(self.folder / 'stderr.txt', 0)


if __name__ == '__main__':
    unittest.main()
