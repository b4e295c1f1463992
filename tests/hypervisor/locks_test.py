"""Image locks: who refuses whom, in both directions, and when locks go (as QEMU's 153 asks for)."""

import contextlib
import fcntl
import os
import struct

from support.case import Case, QmpClosed
from support.images import MIB

WRITE_LOCK = 'Failed to get "write" lock'
SHARED_WRITE_LOCK = 'Failed to get shared "write" lock'


F_OFD_SETLK = 37  # Linux; the fcntl module of Python 3.8 does not name it


@contextlib.contextmanager
def asking_for(path):
    """Another program asks whether it may read the image, and holds its locks until it is told."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for byte in (100, 201, 203):  # reads; tolerates no writer and no resizer
            lock = struct.pack('hhqqi', fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(fd, F_OFD_SETLK, lock)
        yield
    finally:
        os.close(fd)


class Locks(Case):
    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', MIB)
        self.top = self.images.create('top.img', backing=self.base)

    def qemu_io(self, name, *words):
        """qemu-io's output on a file that somebody else may use."""
        return self.images.run('qemu-io', *words, '-f', 'qcow2', '-c', 'read 0 512',
                               self.images.path(name), expect=(0, 1))

    def assert_locked(self, name, *words, lock=WRITE_LOCK):
        text = self.qemu_io(name, *words)
        self.assertIn(lock, text)
        self.assertIn(f'Is another process using the image [{self.images.path(name)}]?', text)

    def assert_free(self, name, *words):
        self.assertIn('read 512/512', self.qemu_io(name, *words))


class Ours(Locks):
    """What qemu-io and qemu-img may do with an image that the machine uses."""

    def test_a_writable_drive(self):
        self.vm.drive(self.top).launch()
        self.assert_locked('top.img')
        self.assert_locked('top.img', '-r', lock=SHARED_WRITE_LOCK)
        self.assert_free('top.img', '-r', '-U')

    def test_its_backing_file_may_be_read(self):
        self.vm.drive(self.top).launch()
        self.assert_free('base.img', '-r')
        self.assert_locked('base.img')

    def test_a_read_only_drive(self):
        self.vm.drive(self.top, 'read-only=on').launch()
        self.assert_free('top.img', '-r')
        self.assert_locked('top.img')

    def test_qemu_img_refuses_too(self):
        self.vm.drive(self.top).launch()
        for words in (('info',), ('check',), ('resize', '-f', 'qcow2'), ('rebase', '-u', '-b', ''),
                      ('commit',)):
            with self.subTest(words=words):
                arguments = [self.top] + (['2M'] if words[0] == 'resize' else [])
                text = self.images.run('qemu-img', *words, *arguments, expect=(1,))
                self.assertIn('lock', text)
        self.images.run('qemu-img', 'info', '-U', self.top)

    def test_locking_off(self):
        self.vm.drive(self.top, 'file.locking=off').launch()
        self.assert_free('top.img')

    def test_a_node_is_unlocked_by_the_reply_to_its_deletion(self):
        self.vm.launch()
        for _ in range(5):
            self.vm.command('blockdev-add', driver='qcow2', node_name='top',
                            file={'driver': 'file', 'filename': self.top})
            self.assert_locked('top.img')
            self.vm.command('blockdev-del', node_name='top')
            self.assert_free('top.img')
            self.assert_free('base.img')

    def test_a_file_node_alone_locks_nothing_against_others(self):
        self.vm.launch()
        self.vm.command('blockdev-add', driver='file', node_name='file', filename=self.top)
        self.assert_free('top.img')

    def test_a_commit_takes_and_gives_back_the_write_lock_of_its_base(self):
        self.images.io('top.img', 'write -P 1 0 1M')
        over = self.images.create('over.img', backing=self.top)
        self.vm.drive(over, 'node-name=over,backing.node-name=top,backing.backing.node-name=base')
        self.vm.launch()
        self.assert_free('base.img', '-r')
        self.vm.command('block-commit', device='drive0', top_node='top', base_node='base', speed=1)
        self.assert_locked('base.img', '-r', lock=SHARED_WRITE_LOCK)
        self.vm.command('block-job-set-speed', device='drive0', speed=0)
        self.wait_ended()
        self.assert_free('base.img', '-r')
        self.assert_free('top.img')

    def test_streamed_layers_are_unlocked(self):
        self.images.io('base.img', 'write -P 1 0 1M')
        self.vm.drive(self.top).launch()
        self.assert_locked('base.img')
        self.vm.command('block-stream', device='drive0')
        self.wait_ended()
        self.assert_free('base.img')


class WhileOthersAsk(Locks):
    """Who asks about an image that the machine writes holds locks too, until it is refused."""

    def test_a_second_user_of_a_file_comes_and_goes(self):
        self.vm.launch()
        self.vm.command('blockdev-add', driver='file', node_name='f', filename=self.base)
        self.vm.command('blockdev-add', driver='raw', node_name='disk', file='f')
        self.vm.command('device_add', driver='virtio-blk-pci', id='dev', drive='disk')
        self.vm.command('blockdev-add', driver='raw', node_name='r', file='f', read_only=True)
        with asking_for(self.base):
            self.vm.command('blockdev-del', node_name='r')
            self.vm.command('blockdev-add', driver='raw', node_name='r', file='f', read_only=True)
            self.vm.command('blockdev-del', node_name='r')
        self.assert_locked('base.img')

    def test_a_base_becomes_read_only_again(self):
        self.images.io('top.img', 'write -P 1 0 1M')
        over = self.images.create('over.img', backing=self.top)
        self.vm.drive(over, 'node-name=over,backing.node-name=top,backing.backing.node-name=base')
        self.vm.launch()
        self.vm.command('block-commit', device='drive0', top_node='top', base_node='base', speed=1)
        with asking_for(self.base):
            self.vm.command('block-job-set-speed', device='drive0', speed=0)
            self.wait_ended()
        self.assert_free('base.img', '-r')

    def test_a_job_is_cancelled(self):
        self.images.io('top.img', 'write -P 1 0 1M')
        over = self.images.create('over.img', backing=self.top)
        self.vm.drive(over, 'node-name=over,backing.node-name=top,backing.backing.node-name=base')
        self.vm.launch()
        self.vm.command('block-commit', device='drive0', top_node='top', base_node='base', speed=1)
        with asking_for(self.base), asking_for(self.top), asking_for(over):
            self.vm.command('block-job-cancel', device='drive0')
            self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='drive0')
            self.vm.command('query-block')
        self.assert_free('base.img', '-r')


class Theirs(Locks):
    """What the machine may do with an image that another machine uses."""

    def setUp(self):
        super().setUp()
        self.other = self.machine()

    def tearDown(self):
        self.end(self.other)
        super().tearDown()

    def refused(self, vm, text):
        with self.assertRaises((QmpClosed, OSError)):
            vm.launch()
        self.assertEqual(vm.wait_exit(), 1)
        self.assertIn(text, vm.errors())

    def test_two_writers(self):
        self.vm.drive(self.top).launch()
        self.refused(self.other.drive(self.top), WRITE_LOCK)

    def test_a_writer_and_a_reader(self):
        self.vm.drive(self.top).launch()
        self.refused(self.other.drive(self.top, 'read-only=on'), SHARED_WRITE_LOCK)

    def test_two_readers(self):
        self.vm.drive(self.top, 'read-only=on').launch()
        self.other.drive(self.top, 'read-only=on').launch()

    def test_two_overlays_share_their_base(self):
        second = self.images.create('second.img', backing=self.base)
        self.vm.drive(self.top).launch()
        self.other.drive(second).launch()

    def test_a_base_somebody_writes(self):
        self.vm.drive(self.base).launch()
        self.refused(self.other.drive(self.top), SHARED_WRITE_LOCK)

    def test_force_share(self):
        self.vm.drive(self.top).launch()
        self.other.drive(self.top, 'read-only=on,force-share=on').launch()

    def test_blockdev_add_of_a_locked_file(self):
        self.vm.drive(self.top).launch()
        self.other.launch()
        reply = self.other.reply('blockdev-add', driver='qcow2', node_name='n',
                                 file={'driver': 'file', 'filename': self.top})
        self.assertEqual(reply['error']['desc'], WRITE_LOCK)
        self.assertEqual(self.vm.quit(), 0)
        self.other.command('blockdev-add', driver='qcow2', node_name='n',
                           file={'driver': 'file', 'filename': self.top})

    def test_a_commit_into_a_base_that_another_reads(self):
        self.images.io('top.img', 'write -P 1 0 64K')
        second = self.images.create('second.img', backing=self.base)
        over = self.images.create('over.img', backing=self.top)
        self.other.drive(second).launch()
        self.vm.drive(over, 'backing.node-name=top,backing.backing.node-name=base').launch()
        self.assert_refused(WRITE_LOCK, 'block-commit', device='drive0', top_node='top',
                            base_node='base')
        self.assert_no_job()
        self.assertEqual(self.other.quit(), 0)
        self.vm.command('block-commit', device='drive0', top_node='top', base_node='base')
        self.wait_ended()
