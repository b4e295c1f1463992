"""The NBD server: commands and their refusals, the protocol, and clients while jobs run."""

import os
import shutil
import socket
import struct
import subprocess
import time
import unittest

from support import nbd
from support.case import Case
from support.images import KIB, MIB
from support.nbd import Closed, Nbd, contexts, text


def tool(name):
    return unittest.skipUnless(shutil.which(name), f'{name} is not installed')


class NbdCase(Case):
    def setUp(self):
        super().setUp()
        self.socket = str(self.folder / 'nbd.sock')
        self.unix = {'type': 'unix', 'data': {'path': self.socket}}
        self.images.create('a.img', 4 * MIB)
        self.images.create('b.img', 4 * MIB)
        self.vm.blockdev(self.qcow2('a')).blockdev({**self.qcow2('b'), 'read-only': True})

    def qcow2(self, name, **more):
        return {'driver': 'qcow2', 'node-name': name,
                'file': {'driver': 'file', 'filename': self.images.path(f'{name}.img')}, **more}

    def serve(self, **options):
        self.vm.launch()
        self.vm.command('nbd-server-start', addr=self.unix, **options)

    def export(self, node='a', ident='e', **options):
        self.vm.command('block-export-add', type='nbd', id=ident, node_name=node, **options)

    def serve_writable(self, **options):
        self.serve(**options)
        self.export(writable=True)

    def client(self, name=b'a', **options):
        client = Nbd(self.socket)
        self.addCleanup(client.close)
        return client.go(name, **options)

    def wait_deleted(self, ident):
        return self.vm.qmp.wait_event('BLOCK_EXPORT_DELETED', id=ident)


class Commands(NbdCase):
    def refused(self, message, name, **arguments):
        reply = self.vm.reply(name, **arguments)
        self.assertEqual(reply.get('error', {}).get('desc'), message, (name, arguments))

    def test_without_a_server(self):
        self.vm.launch()
        self.refused('NBD server not running', 'nbd-server-stop')
        self.refused('NBD server not running', 'nbd-server-add', device='a')
        self.refused('NBD server not running', 'block-export-add', type='nbd', id='e',
                     node_name='a')
        self.assertEqual(self.vm.qmp.execute('nbd-server-remove', {'name': 'a'})['error']['desc'],
                         "Export 'a' is not found")

    def test_starting(self):
        self.vm.launch()
        start = 'nbd-server-start'
        self.refused("Parameter 'addr' is missing", start)
        self.refused("Parameter 'type' does not accept value 'x'", start, addr={'type': 'x'})
        self.refused("Parameter 'addr.data.path' is missing", start,
                     addr={'type': 'unix', 'data': {}})
        self.refused("Parameter 'addr.data.port' is missing", start,
                     addr={'type': 'inet', 'data': {'host': '127.0.0.1'}})
        self.refused('Failed to bind socket to /no/such/folder: No such file or directory', start,
                     addr={'type': 'unix', 'data': {'path': '/no/such/folder'}})
        self.refused(f"UNIX socket path '{'x' * 200}' is too long", start,
                     addr={'type': 'unix', 'data': {'path': 'x' * 200}})
        self.refused("No TLS credentials with id 'none'", start, addr=self.unix, tls_creds='none')
        self.refused("Parameter 'max-connections' expects uint32_t", start, addr=self.unix,
                     max_connections=-1)
        self.vm.command(start, addr=self.unix)
        self.refused('NBD server already running', start, addr=self.unix)

    def test_adding(self):
        self.serve()
        add = 'block-export-add'
        good = {'type': 'nbd', 'id': 'e', 'node_name': 'a'}
        self.refused("Parameter 'type' is missing", add)
        self.refused("Parameter 'id' is missing", add, type='nbd')
        self.refused("Parameter 'node-name' is missing", add, type='nbd', id='e')
        self.refused("Parameter 'type' does not accept value 'x'", add, **{**good, 'type': 'x'})
        self.refused("Parameter 'foo' is unexpected", add, **good, foo=1)
        self.refused('Invalid block export id', add, **{**good, 'id': '1x'})
        self.refused("Cannot find device='' nor node-name='none'", add,
                     **{**good, 'node_name': 'none'})
        self.refused('Cannot export read-only node as writable', add,
                     **{**good, 'node_name': 'b', 'writable': True})
        self.refused('iothread "none" not found', add, **good, iothread='none')
        self.refused("Bitmap 'x' is not found", add, **good, bitmaps=['x'])
        self.vm.command(add, **good)
        self.refused("Block export id 'e' is already in use", add, **good)
        self.refused("NBD server already has export named 'a'", add, **{**good, 'id': 'e2'})
        self.assertEqual(self.vm.command('query-block-exports'), [
            {'node-name': 'a', 'shutting-down': False, 'type': 'nbd', 'id': 'e'}])

    def test_names_that_are_too_long(self):
        self.serve()
        for member, words in (('name', 'export name'), ('description', 'description')):
            reply = self.vm.qmp.execute('block-export-add', {
                'type': 'nbd', 'id': 'e', 'node-name': 'a', member: 'n' * 4097})
            self.assertEqual(reply['error']['desc'], f"{words} '{'n' * 4097}' too long")
        self.assertEqual(self.vm.qmp.execute('block-export-add', {
            'type': 'nbd', 'id': 'e', 'node-name': 'a', 'name': 'n' * 4096}), {'return': {}})
        self.client(b'n' * 4096)

    def test_the_older_commands(self):
        self.serve()
        self.refused("Cannot find device='none' nor node-name='none'", 'nbd-server-add',
                     device='none')
        self.refused("Bitmap 'bm' is not found", 'nbd-server-add', device='a', bitmap='bm')
        # "Writable" means "if it can be" here.
        self.vm.qmp.execute('nbd-server-add', {'device': 'b', 'name': 'x', 'writable': True,
                                               'description': 'hello'})
        self.assertTrue(self.client(b'x').flags & 2)
        self.refused("export 'x' still in use", 'block-export-del', id='x')
        self.assertEqual(self.vm.qmp.execute('nbd-server-remove', {'name': 'x', 'mode': 'hard'}),
                         {'return': {}})
        self.wait_deleted('x')
        self.assertEqual(self.vm.command('query-block-exports'), [])

    def test_removing(self):
        self.serve()
        self.export()
        self.refused("Export 'none' is not found", 'block-export-del', id='none')
        self.refused("Parameter 'mode' does not accept value 'x'", 'block-export-del', id='e',
                     mode='x')
        client = self.client()
        self.refused("export 'e' still in use", 'block-export-del', id='e')
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, bytes(512)))
        self.vm.command('block-export-del', id='e', mode='hard')
        self.wait_deleted('e')
        self.assertTrue(client.is_closed())
        self.refused("Export 'e' is not found", 'block-export-del', id='e')

    def test_an_exported_node_is_in_use(self):
        self.serve()
        self.export(writable=True)
        self.refused('Node a is in use', 'blockdev-del', node_name='a')
        self.refused("Permission conflict on node 'a': permissions 'resize' are both required by "
                     "an unnamed block device (uses node 'a' as 'root' child) and unshared by an "
                     "unnamed block device (uses node 'a' as 'root' child).", 'block_resize',
                     node_name='a', size=8 * MIB)
        self.vm.command('block-export-del', id='e')
        self.wait_deleted('e')
        self.vm.command('block_resize', node_name='a', size=8 * MIB)
        self.vm.command('blockdev-del', node_name='a')

    def test_stopping_ends_exports_and_clients(self):
        self.serve_writable()
        clients = [self.client() for _ in range(3)]
        self.vm.command('nbd-server-stop')
        self.wait_deleted('e')
        for client in clients:
            self.assertTrue(client.is_closed())
        self.assertFalse(os.path.exists(self.socket))
        self.vm.command('nbd-server-start', addr=self.unix)
        self.export()
        self.client()

    def test_stopping_cuts_off_who_is_in_the_handshake(self):
        self.serve_writable()
        idle = Nbd(self.socket)
        self.addCleanup(idle.close)
        self.vm.command('nbd-server-stop')
        self.wait_deleted('e')
        self.assertTrue(idle.is_closed())

    def test_on_a_descriptor_that_a_client_has_passed(self):
        self.vm.launch()
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.socket)
        with open('/dev/null', 'rb') as null:
            self.vm.qmp.pass_descriptor(null.fileno())
            self.vm.command('getfd', fdname='n')
        self.vm.qmp.pass_descriptor(listener.fileno())
        self.vm.command('getfd', fdname='l')
        start = 'nbd-server-start'
        self.refused("File descriptor 'n' is not a socket", start,
                     addr={'type': 'fd', 'data': {'str': 'n'}})
        self.refused("File descriptor named 'n' has not been found", start,
                     addr={'type': 'fd', 'data': {'str': 'n'}})
        # A number is no name: it might be a monitor's own socket.
        self.refused("File descriptor named '3' has not been found", start,
                     addr={'type': 'fd', 'data': {'str': '3'}})
        self.vm.command(start, addr={'type': 'fd', 'data': {'str': 'l'}})
        self.refused("File descriptor named 'l' not found", 'closefd', fdname='l')
        self.export(writable=True)
        self.assertEqual(self.client().request(nbd.READ, 0, 512), (0, bytes(512)))

    def test_over_tcp(self):
        self.vm.launch()
        probe = socket.socket()
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
        probe.close()
        self.vm.command('nbd-server-start', addr={'type': 'inet', 'data': {
            'host': '127.0.0.1', 'port': str(port)}})
        self.export(writable=True)
        with Nbd(address=('127.0.0.1', port)) as client:
            client.go(b'a')
            self.assertEqual(client.request(nbd.WRITE, 0, payload=b'x' * MIB), (0, b''))
            self.assertEqual(client.request(nbd.READ, 0, MIB), (0, b'x' * MIB))

    def test_as_many_clients_as_allowed(self):
        self.serve(max_connections=2)
        self.export()
        first, second = self.client(), self.client()
        third = socket.socket(socket.AF_UNIX)
        self.addCleanup(third.close)
        third.connect(self.socket)
        third.settimeout(0.3)
        with self.assertRaises(TimeoutError):
            third.recv(1)
        second.close()
        third.settimeout(nbd.TIMEOUT)
        self.assertEqual(third.recv(1), b'N')
        self.assertEqual(first.request(nbd.READ, 0, 512), (0, bytes(512)))


    def test_many_connections_are_promised_where_more_than_one_is_let_in(self):
        for options, is_promised in (({}, True), ({'max_connections': 1}, False),
                                     ({'max_connections': 2}, True),
                                     ({'max_connections': 0}, True)):
            for writable in (False, True):
                with self.subTest(options=options, writable=writable):
                    if self.vm.qmp is None:
                        self.vm.launch()
                    self.vm.command('nbd-server-start', addr=self.unix, **options)
                    self.export(writable=writable)
                    client = self.client()
                    self.assertEqual(bool(client.flags & nbd.CAN_MULTI_CONN), is_promised)
                    client.close()
                    self.vm.command('nbd-server-stop')
                    self.wait_deleted('e')

    def depths(self, node):
        self.export(node, ident=node, allocation_depth=True)
        client = Nbd(self.socket)
        self.addCleanup(client.close)
        client.go(node.encode(), context=b'qemu:allocation-depth')
        return client.status(0, client.size)

    def test_how_deep_it_is_allocated(self):
        self.images.io('a.img', 'write 0 1M')
        self.images.create('mid.img', backing=self.images.path('a.img'))
        self.images.io('mid.img', 'write 512K 1M')
        self.images.create('top.img', size=5 * MIB, backing=self.images.path('mid.img'))
        self.images.io('top.img', 'write 1M 1M')
        self.images.io('top.img', 'write -z 2M 512K')
        self.vm.object('throttle-group,id=group')
        self.serve()
        self.vm.command('blockdev-add', **self.qcow2('top', read_only=True, backing=self.qcow2(
            'mid', backing='a')))
        throttle = {'driver': 'throttle', 'throttle-group': 'group', 'read-only': True}
        self.vm.command('blockdev-add', node_name='filter', file='top', **throttle)
        self.vm.command('blockdev-add', node_name='below', file='mid', **throttle)
        self.vm.command('blockdev-add', driver='qcow2', node_name='above', read_only=True,
                        file=self.qcow2('top')['file'], backing='below')
        # Filters count, but for those right above what decides; so does the end of a short image.
        self.assertEqual(self.depths('top'), [(512 * KIB, 3), (512 * KIB, 2), (1536 * KIB, 1),
                                              (1536 * KIB, 0), (MIB, 2)])
        self.assertEqual(self.depths('filter'), [(512 * KIB, 4), (512 * KIB, 3), (1536 * KIB, 1),
                                              (1536 * KIB, 0), (MIB, 3)])
        self.assertEqual(self.depths('above'), [(512 * KIB, 4), (512 * KIB, 2), (1536 * KIB, 1),
                                                (1536 * KIB, 0), (MIB, 2)])
        self.assertEqual(self.depths('a'), [(MIB, 1), (3 * MIB, 0)])

    @tool('nbdinfo')
    def test_nbdinfo_shows_how_deep_it_is_allocated(self):
        self.images.io('a.img', 'write 0 1M')
        self.images.create('top.img', backing=self.images.path('a.img'))
        self.images.io('top.img', 'write 1M 1M')
        self.serve()
        self.vm.command('blockdev-add', **self.qcow2('top', backing='a'))
        self.export('top', allocation_depth=True)
        uri = f'nbd+unix:///top?socket={self.socket}'
        shown = self.images.run('nbdinfo', '--map=qemu:allocation-depth', uri)
        self.assertEqual([line.split(maxsplit=3) for line in shown.splitlines()],
                         [['0', '1048576', '2', 'backing depth 2'],
                          ['1048576', '1048576', '1', 'local'],
                          ['2097152', '2097152', '0', 'absent']])
        shown = self.images.run('nbdinfo', '--list', '--no-content', uri)
        self.assertIn('\t\tbase:allocation\n\t\tqemu:allocation-depth\n', shown)


class Negotiation(NbdCase):
    def setUp(self):
        super().setUp()
        self.serve_writable()

    def open(self, **options):
        client = Nbd(self.socket, **options)
        self.addCleanup(client.close)
        return client

    def test_options_in_pieces_of_a_byte(self):
        client = self.open()
        self.assertEqual(client.greeting, nbd.GREETING)
        self.assertEqual(client.option(nbd.LIST, piece=1)[0], (nbd.SERVER, text(b'a')))
        self.assertEqual(client.option(nbd.GO, text(b'a') + struct.pack('>H', 0), piece=1)[-1],
                         (nbd.ACK, b''))

    def test_refusals_leave_the_client_connected(self):
        client = self.open()
        for number, payload, kind in (
                (99, b'', nbd.ERR_UNSUPPORTED), (99, b'x' * 70000, nbd.ERR_UNSUPPORTED),
                (nbd.LIST, b'x', nbd.ERR_INVALID), (nbd.STRUCTURED, b'x', nbd.ERR_INVALID),
                (nbd.STARTTLS, b'', nbd.ERR_POLICY), (nbd.GO, b'', nbd.ERR_INVALID),
                (nbd.GO, text(b'none') + b'\0\0', nbd.ERR_UNKNOWN),
                (nbd.INFO, text(b'a') + b'\0\0zz', nbd.ERR_INVALID),
                (nbd.INFO, struct.pack('>I', 500) + b'a\0\0', nbd.ERR_INVALID)):
            self.assertEqual(client.option(number, payload)[-1][0], kind, (number, payload[:20]))
        self.assertEqual(client.go(b'a').size, 4 * MIB)

    def test_contexts(self):
        client = self.open()
        self.assertEqual(client.option(nbd.STRUCTURED)[0][0], nbd.ACK)
        self.assertEqual(client.option(nbd.STRUCTURED)[0][0], nbd.ERR_INVALID)
        allocation = (nbd.META, struct.pack('>I', 0) + b'base:allocation')
        done = (nbd.ACK, b'')
        for number, queries, expected in (
                (nbd.LIST_META, (), [allocation, done]),
                (nbd.LIST_META, (b'base:',), [allocation, done]),
                (nbd.LIST_META, (b'x:y', b'base:nope'), [done]),
                (nbd.SET_META, (), [done]),
                (nbd.SET_META, (b'base:allocation', b'base:allocation'), [allocation, done]),
                (nbd.SET_META, (b'x' * 5000, b'base:allocation'), [allocation, done])):
            self.assertEqual(client.option(number, contexts(b'a', *queries)), expected)
        self.assertEqual(client.option(nbd.SET_META, contexts(b'none'))[0][0], nbd.ERR_UNKNOWN)

    def test_what_is_no_client_is_cut_off(self):
        self.assertTrue(self.open(flags=7).is_closed())
        for garbage in (b'IHAVEOPX' + bytes(8), b'IHAVEOPT' + struct.pack('>II', 1, 0xffffffff),
                        b'IHAVEOPT' + struct.pack('>II', nbd.EXPORT_NAME, 4) + b'none'):
            client = self.open()
            client.send(garbage)
            self.assertTrue(client.is_closed(), garbage)
        self.client()

    def test_abort_is_acknowledged(self):
        client = self.open()
        self.assertEqual(client.option(nbd.ABORT), [(nbd.ACK, b'')])
        self.assertTrue(client.is_closed())

    def test_the_old_way_in(self):
        client = self.open(flags=1)
        client.send(b'IHAVEOPT' + struct.pack('>II', nbd.EXPORT_NAME, 1) + b'a')
        size, flags = struct.unpack('>QH124x', client.receive(134))
        self.assertEqual(size, 4 * MIB)
        self.assertTrue(flags & 1)
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, bytes(512)))


class Requests(NbdCase):
    def test_every_command(self):
        self.serve_writable()
        client = self.client(context=b'base:allocation')
        for bit in (0, 2, 3, 5, 6, 7, 8, 10, 11):
            self.assertTrue(client.flags & 1 << bit, bit)
        self.assertFalse(client.flags & 2)
        good = (0, b'')
        self.assertEqual(client.request(nbd.WRITE, 65536, payload=b'x' * 131072), good)
        self.assertEqual(client.request(nbd.WRITE, 1, payload=b'y' * 3, flags=nbd.FUA), good)
        self.assertEqual(client.request(nbd.READ, 0, 5), (0, b'\0yyy\0'))
        self.assertEqual(client.request(nbd.READ, 0, 5, flags=nbd.DF), (0, b'\0yyy\0'))
        self.assertEqual(client.request(nbd.FLUSH), good)
        self.assertEqual(client.request(nbd.CACHE, 0, MIB), good)
        self.assertEqual(client.request(nbd.ZEROES, 65536, 65536, flags=nbd.FUA), good)
        self.assertEqual(client.request(nbd.ZEROES, 131072, 512, flags=nbd.NO_HOLE), good)
        self.assertEqual(client.request(nbd.TRIM, 2 * MIB, MIB, flags=nbd.FUA), good)
        self.assertEqual(client.request(nbd.READ, 65536, 131072),
                         (0, bytes(65536 + 512) + b'x' * (65536 - 512)))
        self.assertEqual(client.status(0, 4 * MIB),
                         [(65536, 0), (65536, 3), (65536, 0), (4 * MIB - 3 * 65536, 3)])
        self.assertEqual(client.status(100, 4 * MIB - 100, nbd.REQ_ONE), [(65436, 0)])
        self.assertEqual(client.request(nbd.READ, 7, 0), good)

    def test_fast_zeroes_are_done_or_not_begun(self):
        self.serve_writable()
        client = self.client()
        self.assertEqual(client.request(nbd.WRITE, 0, payload=b'x' * 512), (0, b''))
        error, _ = client.request(nbd.ZEROES, 0, 512, flags=nbd.FAST_ZERO)
        self.assertIn(error, (0, nbd.ENOTSUP))
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, b'x' * 512 if error else bytes(512)))
        self.assertEqual(client.request(nbd.TRIM, 0, 512, flags=nbd.FAST_ZERO)[0], nbd.EINVAL)

    def test_simple_replies(self):
        self.serve_writable()
        client = self.client(structured=False)
        self.assertFalse(client.flags & 1 << 7)
        self.assertEqual(client.request(nbd.WRITE, 0, payload=b'z' * 512), (0, b''))
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, b'z' * 512))
        self.assertEqual(client.request(nbd.READ, 4 * MIB, 1)[0], nbd.EINVAL)
        self.assertEqual(client.request(nbd.STATUS, 0, 512)[0], nbd.EINVAL)

    def test_refusals_leave_the_client_connected(self):
        self.serve_writable()
        client = self.client()
        for command, offset, length, flags in (
                (77, 0, 0, 0), (nbd.READ, 4 * MIB, 1, 0), (nbd.READ, 2 ** 64 - 1, 2, 0),
                (nbd.READ, 0, (32 << 20) + 1, 0), (nbd.READ, 0, 512, nbd.NO_HOLE),
                (nbd.READ, 0, 512, 0x8000), (nbd.TRIM, 4 * MIB, 1, 0),
                (nbd.TRIM, 0, 512, nbd.NO_HOLE), (nbd.CACHE, 0, 40 << 20, 0),
                (nbd.STATUS, 0, 512, 0)):
            self.assertEqual(client.request(command, offset, length, flags)[0], nbd.EINVAL,
                             (command, offset, length, flags))
        # The protocol says ENOSPC; QEMU 7.2 makes every refusal EINVAL.
        for command, more in ((nbd.WRITE, {'payload': b'x' * 512}), (nbd.ZEROES, {'length': 512})):
            error, _ = client.request(command, 4 * MIB, **more)
            self.assertIn(error, (nbd.ENOSPC, nbd.EINVAL))
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, bytes(512)))

    def test_a_read_only_export(self):
        self.serve()
        self.export()
        client = self.client()
        self.assertTrue(client.flags & 2)
        # The protocol says EPERM; QEMU 7.2 makes every refusal EINVAL.
        for command, more in ((nbd.WRITE, {'payload': b'x' * 512}), (nbd.ZEROES, {'length': 512}),
                              (nbd.TRIM, {'length': 512})):
            self.assertIn(client.request(command, 0, **more)[0], (nbd.EPERM, nbd.EINVAL))
        self.assertEqual(client.request(nbd.READ, 0, 512), (0, bytes(512)))

    def test_what_is_no_request_is_the_end(self):
        self.serve_writable()
        client = self.client()
        client.send(bytes(28))
        with self.assertRaises(Closed):
            client.receive(1000)  # QEMU says why, and ends
        self.client().request(nbd.READ, 0, 512)

    def test_sixteen_at_once_answered_before_the_farewell(self):
        self.serve_writable()
        client = self.client()
        cookies = {client.submit(nbd.WRITE, i * 65536, payload=bytes([i + 1]) * 65536)
                   for i in range(16)}
        client.submit(nbd.DISC)
        self.assertEqual({client.answer()[0] for _ in range(16)}, cookies)
        self.assertTrue(client.is_closed())
        reader = self.client()
        for i in range(16):
            self.assertEqual(reader.request(nbd.READ, i * 65536, 1), (0, bytes([i + 1])))

    def test_clients_that_vanish_with_sixteen_under_way(self):
        self.serve_writable()
        for cut in (0, 1, 28, 30, 28 + 65536, 40000 * 3):
            client = self.client()
            data = b''.join(struct.pack('>IHHQQI', 0x25609513, 0, nbd.WRITE, i, i * 65536, 65536)
                            + bytes(65536) for i in range(16))
            client.send(data[:cut] if cut else data)
            client.close()
        self.assertEqual(self.client().request(nbd.READ, 0, 512), (0, bytes(512)))

    def test_connections_see_what_others_wrote(self):
        self.serve_writable()
        one, two = self.client(), self.client()
        self.assertTrue(one.flags & 1 << 8)
        self.assertEqual(one.request(nbd.WRITE, 0, payload=b'1' * 4096), (0, b''))
        self.assertEqual(two.request(nbd.FLUSH), (0, b''))
        self.assertEqual(two.request(nbd.READ, 0, 4096), (0, b'1' * 4096))


class Jobs(NbdCase):
    """The export follows its node while the graph below changes."""

    def setUp(self):
        super().setUp()
        self.images.io('a.img', 'write -P 7 0 4M')
        self.images.create('top.img', backing=self.images.path('a.img'))
        self.vm = self.machine()
        self.vm.blockdev({'driver': 'file', 'node-name': 'base-file',
                          'filename': self.images.path('a.img')})
        self.vm.blockdev({'driver': 'qcow2', 'node-name': 'base', 'file': 'base-file'})
        self.vm.blockdev(self.qcow2('top', backing='base'))
        self.serve()
        self.vm.command('block-export-add', type='nbd', id='e', node_name='top', writable=True)
        self.disk = self.client(b'top')

    def check(self):
        self.assertEqual(self.disk.request(nbd.READ, MIB, 4096), (0, b'\7' * 4096))

    def test_a_stream(self):
        self.assertEqual(self.disk.request(nbd.WRITE, 0, payload=b'w' * 4096), (0, b''))
        self.vm.command('block-stream', device='top', job_id='job', speed=MIB)
        self.check()
        self.vm.command('block-job-set-speed', device='job', speed=0)
        self.wait_ended('job')
        self.check()
        self.assertEqual(self.disk.request(nbd.READ, 0, 4096), (0, b'w' * 4096))

    def test_an_active_commit_moves_the_export_to_the_base(self):
        self.assertEqual(self.disk.request(nbd.WRITE, 0, payload=b'w' * 4096), (0, b''))
        self.vm.command('block-commit', device='top', job_id='job')
        self.wait_ready('job')
        self.assertEqual(self.disk.request(nbd.WRITE, 65536, payload=b'v' * 4096), (0, b''))
        self.vm.command('block-job-complete', device='job')
        self.wait_ended('job')
        self.assertEqual(self.vm.command('query-block-exports')[0]['node-name'], 'base')
        self.assertEqual(self.disk.request(nbd.READ, 0, 4096), (0, b'w' * 4096))
        self.assertEqual(self.disk.request(nbd.READ, 65536, 4096), (0, b'v' * 4096))
        self.check()

    def test_a_mirror_moves_the_export_to_the_target(self):
        self.images.create('target.img', 4 * MIB)
        self.vm.command('blockdev-add', **self.qcow2('target'))
        self.vm.command('blockdev-mirror', device='top', target='target', sync='full',
                        job_id='job')
        self.wait_ready('job', 'mirror')
        self.assertEqual(self.disk.request(nbd.WRITE, 0, payload=b'w' * 4096), (0, b''))
        self.vm.command('block-job-complete', device='job')
        self.wait_ended('job')
        self.assertEqual(self.vm.command('query-block-exports')[0]['node-name'], 'target')
        self.assertEqual(self.disk.request(nbd.READ, 0, 4096), (0, b'w' * 4096))
        self.check()

    def test_a_snapshot_is_written_to(self):
        self.images.create('snap.img', 4 * MIB)
        self.vm.command('blockdev-add', driver='qcow2', node_name='snap', backing=None, file={
            'driver': 'file', 'filename': self.images.path('snap.img')})
        self.vm.command('blockdev-snapshot', node='top', overlay='snap')
        self.assertEqual(self.disk.request(nbd.WRITE, 0, payload=b'w' * 4096), (0, b''))
        self.assertEqual(self.vm.command('query-block-exports')[0]['node-name'], 'snap')
        self.check()

    def test_a_filter_comes_and_goes_under_a_client(self):
        insert = {'job-id': 'in', 'node-name': 'top', 'filter': {
            'driver': 'copy-on-read', 'node-name': 'filter'}}
        reply = self.vm.qmp.execute('x-millrace-insert-filter', insert)
        if reply.get('error', {}).get('class') == 'CommandNotFound':
            self.skipTest('QEMU puts no filter above a node of a live graph')
        self.wait_ended('in', offset=None)
        self.assertEqual(self.vm.command('query-block-exports')[0]['node-name'], 'filter')
        self.check()
        for wrong, text in (({'driver': 'qcow2'}, "Driver 'qcow2' is not a filter"),
                            ({'driver': 'copy-on-read', 'file': 'base'},
                             "The filter's child is the node that it is put above")):
            reply = self.vm.qmp.execute('x-millrace-insert-filter', {**insert, 'filter': wrong})
            self.assertEqual(reply['error']['desc'], text)
        self.vm.command('x-millrace-remove-filter', job_id='out', node_name='filter')
        self.wait_ended('out', offset=None)
        self.assertEqual(self.vm.command('query-block-exports')[0]['node-name'], 'top')
        self.check()

    def test_stopping_while_a_job_runs_and_requests_are_under_way(self):
        self.vm.command('block-stream', device='top', job_id='job', speed=MIB)
        for i in range(16):
            self.disk.submit(nbd.WRITE, i * 65536, payload=b'w' * 65536)
        self.vm.command('nbd-server-stop')
        self.wait_deleted('e')
        self.vm.command('block-job-set-speed', device='job', speed=0)
        self.wait_ended('job')


class Tools(NbdCase):
    """Clients that others wrote."""

    def setUp(self):
        super().setUp()
        self.serve_writable()
        self.uri = f'nbd+unix:///a?socket={self.socket}'

    def pattern(self):
        path = self.folder / 'pattern.raw'
        path.write_bytes(bytes((i * 7 + i // 4096) % 251 for i in range(2 * MIB)) + bytes(2 * MIB))
        return path

    @tool('nbdinfo')
    def test_nbdinfo(self):
        # Where file(1) is not installed, nbdinfo 1.14 shows what lies in its memory as the content.
        shown = self.images.run('nbdinfo', '--no-content', self.uri)
        for line in ('export-size: 4194304 (4M)', 'base:allocation', 'can_multi_conn: true',
                     'can_zero: true', 'is_read_only: false', 'block_size_preferred: 4096'):
            self.assertIn(line, shown)
        self.assertIn('hole,zero', self.images.run('nbdinfo', '--map', self.uri))

    @tool('nbdcopy')
    def test_nbdcopy_both_ways(self):
        path = self.pattern()
        self.images.run('nbdcopy', '--flush', str(path), self.uri)
        self.images.run('nbdcopy', self.uri, str(self.folder / 'copy.raw'))
        self.assertEqual((self.folder / 'copy.raw').read_bytes(), path.read_bytes())

    def test_qemu_img_and_qemu_io(self):
        path = self.pattern()
        self.images.run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', str(path), self.uri)
        self.images.run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', str(path), self.uri)
        self.assertIn('"data": true', self.images.run('qemu-img', 'map', '--output=json', '-f',
                                                      'raw', self.uri))
        self.images.run('qemu-io', '-f', 'raw', '-c', 'write -P 9 -f 1k 3k', '-c',
                        'write -z -u 64k 64k', '-c', 'discard 1M 64k', '-c', 'flush', '-c',
                        'read -P 9 1k 3k', '-c', 'read -P 0 64k 64k', self.uri)

    @tool('fio')
    def test_fio_verifies_what_it_writes(self):
        if 'nbd' not in subprocess.run(['fio', '--enghelp'], capture_output=True,
                                       text=True, check=False).stdout:
            self.skipTest('this fio has no nbd engine')
        self.images.run('fio', '--name=verify', '--ioengine=nbd', f'--uri={self.uri}',
                        '--rw=randwrite', '--bs=4k', '--iodepth=16', '--size=4M', '--verify=crc32c',
                        '--randrepeat=1')


class Tls(NbdCase):
    def certificates(self):
        if not shutil.which('certtool'):
            self.skipTest('certtool is not installed (Debian: gnutls-bin)')
        folder = self.folder / 'tls'
        folder.mkdir()
        run = lambda *words: self.images.run('certtool', *words)  # noqa: E731

        def made(name, template, *signed):
            (folder / f'{name}.info').write_text(template)
            run('--generate-privkey', '--bits', '2048', '--outfile', str(folder / f'{name}-key.pem'))
            run(*signed, '--load-privkey', str(folder / f'{name}-key.pem'),
                '--template', str(folder / f'{name}.info'), '--outfile',
                str(folder / f'{name}-cert.pem'))

        made('ca', 'cn = CA\nca\ncert_signing_key\n', '--generate-self-signed')
        signed = ('--generate-certificate', '--load-ca-certificate', str(folder / 'ca-cert.pem'),
                  '--load-ca-privkey', str(folder / 'ca-key.pem'))
        made('server', 'cn = localhost\ndns_name = localhost\ntls_www_server\nencryption_key\n'
             'signing_key\n', *signed)
        made('client', 'cn = guest\ntls_www_client\nencryption_key\nsigning_key\n', *signed)
        return folder

    def launch(self, folder, **options):
        self.vm.object(f'tls-creds-x509,id=tls,dir={folder},endpoint=server')
        self.serve_writable(tls_creds='tls', **options)

    def read_by_qemu(self, folder, expect=(0,)):
        client = f'tls-creds-x509,id=tls,dir={folder},endpoint=client'
        return self.images.run('qemu-io', '--object', client, '-c', 'write -P 5 0 1M', '-c',
                               'read -P 5 0 1M', '--image-opts',
                               f'driver=nbd,path={self.socket},export=a,tls-creds=tls,'
                               'tls-hostname=localhost', expect=expect)

    def test_a_client_with_a_certificate(self):
        folder = self.certificates()
        self.launch(folder)
        self.assertIn('read 1048576/1048576', self.read_by_qemu(folder))
        plain = Nbd(self.socket)
        self.addCleanup(plain.close)
        self.assertEqual(plain.option(nbd.LIST)[0][0], nbd.ERR_TLS_REQUIRED)
        self.assertEqual(plain.option(nbd.STARTTLS), [(nbd.ACK, b'')])
        plain.send(b'this is no TLS' * 10)
        with self.assertRaises(Closed):
            plain.receive(1000)
        self.assertIn('read 1048576/1048576', self.read_by_qemu(folder))

    def test_only_the_client_who_is_authorized(self):
        folder = self.certificates()
        self.vm.object('authz-simple,id=who,identity=CN=somebody')
        self.launch(folder, tls_authz='who')
        self.assertNotIn('read 1048576/1048576', self.read_by_qemu(folder, expect=(0, 1)))
        self.vm.command('object-del', id='who')
        self.vm.command('object-add', qom_type='authz-simple', id='who', identity='CN=guest')
        self.assertIn('read 1048576/1048576', self.read_by_qemu(folder))

    def test_credentials_that_are_not_there(self):
        self.vm.launch()
        self.assert_refused('Unable to access credentials /no/such/ca-cert.pem: '
                            'No such file or directory', 'object-add', qom_type='tls-creds-x509',
                            id='tls', dir='/no/such', endpoint='server')
        self.vm.command('object-add', qom_type='tls-creds-anon', id='tls', endpoint='client')
        self.assert_refused('Expected TLS credentials for a server endpoint', 'nbd-server-start',
                            addr=self.unix, tls_creds='tls')


class Addresses(NbdCase):
    def test_an_empty_path_is_no_place_for_a_socket(self):
        self.vm.launch()
        self.assert_refused("Parameter 'path' is empty: name the file that the socket is, or a name "
                            'with abstract=on', 'nbd-server-start',
                            addr={'type': 'unix', 'data': {'path': ''}})
        self.vm.command('nbd-server-start', addr=self.unix)


class Throttled(NbdCase):
    def test_what_a_throttle_group_holds_back_does_not_hold_up_the_end(self):
        self.vm.object('throttle-group,id=limits,x-iops-total=1')
        self.vm.blockdev({'driver': 'throttle', 'node-name': 'slow', 'throttle-group': 'limits',
                          'file': 'a'})
        self.serve()
        self.export('slow', writable=True)
        client = self.client(b'slow')
        for i in range(32):
            client.submit(nbd.READ, i * 4096, 4096)
        started = time.monotonic()
        self.vm.command('nbd-server-stop')
        self.wait_deleted('e')
        self.assertLess(time.monotonic() - started, 20)


class SlowClients(NbdCase):
    def test_many_idle_clients_and_one_who_does_not_read_hurt_nobody(self):
        self.serve_writable()
        stuck = self.client()
        stuck.socket.settimeout(1)
        try:
            for _ in range(2000):
                stuck.submit(nbd.READ, 0, 512 * KIB)
        except TimeoutError:
            pass  # nobody reads from him any more
        for _ in range(60):
            self.addCleanup(Nbd(self.socket).close)
        other = self.client()
        started = time.monotonic()
        for i in range(100):
            self.assertEqual(other.request(nbd.READ, i * 4096, 4096), (0, bytes(4096)))
        self.assertLess(time.monotonic() - started, 10)


if __name__ == '__main__':
    unittest.main()
