"""Images whose format nobody states: what is guessed, and what may be written to a guess of raw."""

import struct

from support.case import Case
from support.images import MIB

WARNING = ("WARNING: Image format was not specified for '{}' and probing guessed raw.\n"
           '         Automatically detecting the format is dangerous for raw images, write '
           'operations on block 0 will be restricted.\n'
           "         Specify the 'raw' format explicitly to remove the restrictions.\n")
QCOW2 = b'QFI\xfb' + struct.pack('>I', 3)
# Whatever QEMU tells by its content, whether there is a driver for it here or not.
HEADERS = {
    'qcow2': QCOW2, 'a later qcow2': b'QFI\xfb' + struct.pack('>I', 7),
    'qcow': b'QFI\xfb' + struct.pack('>I', 1), 'qed': b'QED\0', 'vdi': bytes(64) + b'\x7f\x10\xda\xbe',
    'vhdx': b'vhdxfile', 'vmdk': b'KDMV', 'an old vmdk': b'COWD', 'vpc': b'conectix',
    "a vmdk's text": b'# Disk DescriptorFile\n \nversion=1\n', 'luks': b'LUKS\xba\xbe\0\1',
    'parallels': b'WithoutFreeSpace\2\0\0\0', 'large parallels': b'WithouFreSpacExt\2\0\0\0',
    'bochs': b'Bochs Virtual HD Image'.ljust(32, b'\0') + b'Redolog'.ljust(16, b'\0') +
             b'Growing'.ljust(16, b'\0') + b'\0\0\2\0',
    'cloop': b'#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'}
HARMLESS = {
    'nothing': b'\0', 'the start of a magic': b'QFI', 'version 0': b'QFI\xfb\0\0\0\0',
    'another version of luks': b'LUKS\xba\xbe\0\3', 'text': b'version=4\n', 'no magic': b'xQED\0'}


class GuessedRaw(Case):
    def setUp(self):
        super().setUp()
        self.path = self.images.create('disk.raw', MIB, 'raw')

    def write(self, data, where='0', drive='d0', length=512):
        """What qemu-io prints when this is written, without its figures."""
        (self.folder / 'data').write_bytes(data.ljust(length, b'\0'))
        before = len(self.vm.output())
        self.vm.io(drive, f'write -s {self.folder}/data {where} {length}')
        return self.vm.output()[before:].splitlines()[0]

    def test_is_written_to_and_warned_of(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path}').launch()
        self.assertEqual(self.vm.errors(), WARNING.format(self.path))
        self.assertFalse(self.vm.command('query-block')[0]['inserted']['ro'])
        self.assertEqual(self.write(b'guest'), 'wrote 512/512 bytes at offset 0')
        self.assertEqual(self.write(QCOW2, where='512'), 'wrote 512/512 bytes at offset 512')
        self.vm.quit()
        data = (self.folder / 'disk.raw').read_bytes()
        self.assertEqual((data[:5], data[512:516]), (b'guest', b'QFI\xfb'))

    def test_never_looks_like_another_format(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path}').launch()
        self.assertEqual(self.write(b'guest'), 'wrote 512/512 bytes at offset 0')
        for name, header in HEADERS.items():
            self.assertEqual(self.write(header), 'write failed: Operation not permitted', name)
            self.assertEqual(self.write(header, length=65536),
                             'write failed: Operation not permitted', name)
        self.assertTrue(self.shows('d0', 0, 1024, 4096), 'no part of it is written')
        self.vm.quit()
        self.assertEqual((self.folder / 'disk.raw').read_bytes()[:512], b'guest'.ljust(512, b'\0'))

    def test_takes_all_else(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path}').launch()
        for name, header in HARMLESS.items():
            self.assertEqual(self.write(header), 'wrote 512/512 bytes at offset 0', name)
        self.vm.io('d0', 'write -z 0 64k')
        self.vm.io('d0', 'discard 0 64k')
        self.assertTrue(self.shows('d0', 0, 0, 65536))

    def test_is_no_less_a_guess_piece_by_piece(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path}').launch()
        self.assertEqual(self.write(QCOW2[4:], '4', length=4), 'wrote 4/4 bytes at offset 4')
        self.assertEqual(self.write(QCOW2[:4], '0', length=4),
                         'write failed: Operation not permitted')
        self.assertEqual(self.write(QCOW2[:3], '0', length=3), 'wrote 3/3 bytes at offset 0')
        self.assertEqual(self.write(QCOW2[3:4], '3', length=1),
                         'write failed: Operation not permitted')

    def test_who_states_it_writes_what_he_likes(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path},format=raw').launch()
        self.assertEqual(self.vm.errors(), '')
        self.assertEqual(self.write(QCOW2), 'wrote 512/512 bytes at offset 0')

    def test_who_only_reads_is_not_warned(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path},read-only=on').launch()
        self.assertEqual(self.vm.errors(), '')

    def test_stays_a_guess_when_it_is_reopened(self):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path},read-only=on,node-name=n,'
                          'file.node-name=f').launch()
        self.vm.command('blockdev-reopen', options=[
            {'driver': 'file', 'node-name': 'f', 'filename': self.path, 'read-only': False},
            {'driver': 'raw', 'node-name': 'n', 'file': 'f', 'read-only': False}])
        self.assertEqual(self.write(QCOW2, drive='n'), 'write failed: Operation not permitted')
        self.assertEqual(self.write(b'guest', drive='n'), 'wrote 512/512 bytes at offset 0')

    def test_takes_no_header_from_a_job(self):
        self.images.create('source.raw', MIB, 'raw')
        (self.folder / 'source.raw').write_bytes(QCOW2.ljust(MIB, b's'))
        self.vm.raw_drive(f'if=none,id=d0,file={self.path},node-name=n')
        self.vm.raw_drive(f'if=none,id=d1,file={self.folder}/source.raw,format=raw').launch()
        self.vm.command('blockdev-add', driver='raw', node_name='x',
                        file={'driver': 'file', 'filename': self.images.create('x', MIB, 'raw')})
        self.vm.command('drive-mirror', device='d1', job_id='m', sync='full', mode='existing',
                        target=self.images.create('t.raw', MIB, 'raw'))
        self.assertIn(WARNING.format(f'{self.folder}/t.raw'), self.vm.errors())
        event = self.vm.qmp.wait_event('BLOCK_JOB_COMPLETED', device='m')
        self.assertEqual(event['data']['error'], 'Operation not permitted')
        self.assertNotEqual((self.folder / 't.raw').read_bytes()[:4], b'QFI\xfb')


class GuessedOthers(Case):
    def test_an_image_without_a_format_is_what_it_looks_like(self):
        path = self.images.create('a.img', MIB)
        self.vm.raw_drive(f'if=none,id=d0,file={path}').launch()
        self.assertEqual(self.vm.errors(), '')
        self.assertEqual(self.vm.command('query-block')[0]['inserted']['drv'], 'qcow2')
