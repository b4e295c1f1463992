"""Requests that go on by themselves, and the drives that they are on."""

import json

from support.case import Case
from support.images import MIB


class Requests(Case):
    """Commands come in one piece: the second is there before the request of the first has begun."""

    def setUp(self):
        super().setUp()
        self.vm.drive(self.images.create('a.img', MIB), interface='none', ident='d')
        self.vm.blockdev('driver=qcow2,node-name=n,file.driver=file,'
                         f'file.filename={self.images.create("b.img", MIB)}')
        self.vm.device('virtio-scsi-pci,id=scsi0')
        self.vm.launch()

    def at_once(self, *commands):
        """[(name, arguments)]; none may be refused."""
        self.vm.qmp.send(b''.join(
            json.dumps({'execute': name, 'arguments': arguments}).encode()
            for name, arguments in commands))
        for _ in commands:
            self.assertIn('return', self.vm.qmp.next_reply())

    def io(self, words):
        return 'human-monitor-command', {'command-line': f'qemu-io {words}'}

    def test_a_write_is_done_before_its_drive_goes(self):
        self.at_once(self.io('d "aio_write -P 7 0 64k"'),
                     ('human-monitor-command', {'command-line': 'drive_del d'}))
        self.assertEqual(self.vm.command('query-block'), [])
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 7, 0, 65536))

    def test_what_a_file_holds_is_written_again_and_again(self):
        (self.folder / 'text').write_bytes(b'abc')
        (self.folder / 'empty').write_bytes(b'')
        for name in ('text', '/dev/zero'):  # of the second as much as is wanted
            self.vm.io('d', f'write -q -s {name} 0 64k')
        self.vm.io('d', 'write -q -s text 64k 512')
        self.assertEqual(self.vm.output() + self.vm.errors(), '')
        for name in ('nope', '.', 'empty'):
            self.vm.io('d', f'write -s {name} 0 64k')
        self.vm.io('d', 'write -s nope 2M 64k')
        self.vm.io('d', 'write -s text 2M 64k')
        self.assertEqual(self.vm.errors(), 'nope: No such file or directory\n'
                         '.: Is a directory\nempty: file is empty\n'
                         'nope: No such file or directory\n')
        self.assertEqual(self.vm.output(), 'write failed: Input/output error\n')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 0, 0, 65536))
        self.images.run('qemu-img', 'convert', '-O', 'raw', 'a.img', 'a.raw')
        with open(self.folder / 'a.raw', 'rb') as raw:
            raw.seek(65536)
            self.assertEqual(raw.read(512), (b'abc' * 171)[:512])

    def test_a_write_is_done_before_its_medium_goes(self):
        self.at_once(self.io('d "aio_write -P 7 0 64k"'), ('eject', {'device': 'd'}))
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 7, 0, 65536))

    def test_a_write_is_done_before_the_device_over_its_node_goes(self):
        self.vm.command('device_add', driver='scsi-hd', id='sd', drive='n')
        self.at_once(self.io('-d sd "aio_write -P 7 0 64k"'), ('device_del', {'id': 'sd'}))
        self.vm.qmp.wait_event('DEVICE_DELETED', device='sd')
        self.vm.command('blockdev-del', node_name='n')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('b.img', 7, 0, 65536))
