"""BLOCK_IMAGE_CORRUPTED, and what stands on stderr with it, when qcow2 finds its tables broken."""

from support.case import Case
from support.images import KIB, MIB

CLUSTER = 64 * KIB
# Where they lie in an image that qemu-img has made and the first 256 KiB were written of.
REFCOUNT_TABLE, REFCOUNTS, L1, L2 = (n * CLUSTER for n in (1, 2, 3, 4))


class Corruption(Case):
    def setUp(self):
        super().setUp()
        self.make()

    def make(self, **options):
        self.path = self.images.create('a.img', MIB, **options)
        self.images.io('a.img', f'write -P 1 0 {4 * CLUSTER}')

    def poke(self, offset, data):
        with open(self.path, 'r+b') as image:
            image.seek(offset)
            image.write(data)

    def start(self, options=''):
        self.vm.raw_drive(f'if=none,id=d0,file={self.path},format=qcow2,node-name=n{options}')
        self.vm.launch()

    def io(self, command, drive='d0'):
        """The line that qemu-io prints first."""
        before = len(self.vm.output())
        self.vm.io(drive, command)
        return self.vm.output()[before:].splitlines()[0]

    def corruptions(self):
        return [message['data'] for message in self.vm.qmp.messages()
                if message.get('event') == 'BLOCK_IMAGE_CORRUPTED']

    def expect(self, message, fatal=True, device='d0', **place):
        """It was told once, by an event and on stderr."""
        self.vm.command('query-status')  # all events are there
        self.assertEqual(self.corruptions(), [{
            'device': device, 'node-name': 'n', 'msg': message, 'fatal': fatal, **place}])
        self.assertEqual(self.vm.errors(), (
            f'qcow2: Marking image as corrupt: {message}; further corruption events will be '
            'suppressed\n') if fatal else (
            f'qcow2: Image is corrupt: {message}; further non-fatal corruption events will be '
            'suppressed\n'))

    def is_marked(self):
        return self.images.info('a.img')['format-specific']['data']['corrupt']

    # ---- Entries that point to no cluster -----------------------------------------------------------

    def test_an_l1_entry_that_is_read(self):
        self.poke(L1 + 6, b'\x2a')
        self.start()
        self.assertEqual(self.io('read 0 64k'), 'read failed: Input/output error')
        self.expect('L2 table offset 0x42a00 unaligned (L1 index: 0)')
        self.vm.quit()
        self.assertTrue(self.is_marked())

    def test_an_l2_entry_that_is_read(self):
        self.poke(L2 + 8 + 6, b'\x2a')
        self.start()
        self.assertEqual(self.io('read 64k 64k'), 'read failed: Input/output error')
        self.expect('Cluster allocation offset 0x62a00 unaligned (L2 offset: 0x40000, L2 index: '
                    '0x1)')

    def test_an_l2_entry_that_is_written(self):
        self.poke(L2 + 6, b'\x2a')
        self.start()
        self.assertEqual(self.io('write 1000 100'), 'write failed: Input/output error')
        self.expect('Data cluster offset 0x52a00 unaligned (guest offset: 0x3e8)')

    def test_an_l2_entry_of_zeroes_that_is_written(self):
        self.poke(L2 + 6, b'\x2a\x01')
        self.start()
        self.assertEqual(self.io('write 0 64k'), 'write failed: Input/output error')
        self.expect('Preallocated zero cluster offset 0x52a00 unaligned (guest offset: 0)')

    def test_an_entry_of_the_refcount_table(self):
        self.poke(REFCOUNT_TABLE + 6, b'\x2a')
        self.start()
        self.assertEqual(self.io('write 512k 64k'), 'write failed: Input/output error')
        self.expect('Refblock offset 0x22a00 unaligned (reftable index: 0)')

    def test_a_zero_flag_of_version_3_in_version_2(self):
        self.images.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'compat=0.10', self.path,
                        '1M')
        self.images.io('a.img', f'write -P 1 0 {4 * CLUSTER}')
        self.poke(L2 + 7, b'\x01')
        self.start()
        self.assertEqual(self.io('read 0 64k'), 'read failed: Input/output error')
        self.expect('Zero cluster entry found in pre-v3 image (L2 offset: 0x40000, L2 index: 0)')

    # ---- Images that are not written ----------------------------------------------------------------

    def test_of_an_image_that_is_only_read_it_is_not_fatal_and_told_once(self):
        self.poke(L1 + 6, b'\x2a')
        self.start(',read-only=on')
        for _ in range(3):
            self.assertEqual(self.io('read 0 64k'), 'read failed: Input/output error')
        self.expect('L2 table offset 0x42a00 unaligned (L1 index: 0)', fatal=False)
        self.vm.quit()
        self.assertFalse(self.is_marked())

    def test_of_a_backing_image_no_device_is_named(self):
        self.poke(L2 + 6, b'\x2a')
        top = self.images.create('top.img', backing=self.path)
        self.vm.raw_drive(f'if=none,id=d0,file={top},format=qcow2,backing.node-name=n').launch()
        self.assertEqual(self.io('read 0 64k'), 'read failed: Input/output error')
        self.expect('Cluster allocation offset 0x52a00 unaligned (L2 offset: 0x40000, L2 index: 0)',
                    fatal=False, device='')

    # ---- What would be written over -----------------------------------------------------------------

    def test_clusters_that_count_as_free_and_are_not(self):
        for cluster, name in ((0, 'qcow2_header'), (REFCOUNT_TABLE, 'refcount table'),
                              (REFCOUNTS, 'refcount block'), (L1, 'active L1 table'),
                              (L2, 'active L2 table')):
            self.make()
            self.poke(REFCOUNTS + 2 * cluster // CLUSTER, b'\0\0')
            vm = self.vm = self.machine()
            (self.folder / 'stderr.txt').unlink(missing_ok=True)
            self.start()
            self.assertEqual(self.io('write 512k 64k'), 'write failed: Input/output error')
            self.expect(f'Preventing invalid write on metadata (overlaps with {name})',
                        offset=cluster, size=CLUSTER)
            vm.quit()
            self.assertTrue(self.is_marked())

    def test_an_l2_entry_that_points_to_a_table(self):
        self.poke(L2 + 5, b'\x03\x00')
        self.start()
        self.assertEqual(self.io('write 0 64k'), 'write failed: Input/output error')
        self.expect('Preventing invalid write on metadata (overlaps with active L1 table)',
                    offset=L1, size=CLUSTER)
