"""x-millrace-plan where another program has an image locked: the plan is refused as the command is,
and holds nothing afterwards. Only millraced."""

import contextlib
import fcntl
import os
import struct
import unittest

from support.images import MIB
from support.plan_case import PlanCase

F_OFD_SETLK = 37  # Linux; the fcntl module of Python 3.8 does not name it


@contextlib.contextmanager
def locked(path, *places, kind=fcntl.F_RDLCK):
    """Another open file has locks on these bytes; a length of 0 reaches to the end."""
    fd = os.open(path, os.O_RDWR)
    try:
        for place in places:
            start, length = place if isinstance(place, tuple) else (place, 1)
            lock = struct.pack('hhqqi', kind, os.SEEK_SET, start, length, 0)
            fcntl.fcntl(fd, F_OFD_SETLK, lock)
        yield
    finally:
        os.close(fd)


READER = (100, 201, 203)  # reads; tolerates no writer and no resizer


class PlanOfLockedImages(PlanCase):
    """top (drive0) <- mid <- base, of which only top is written."""

    def setUp(self):
        super().setUp()
        self.paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.drive(self.paths[-1], 'node-name=top,backing.node-name=mid,'
                                      'backing.backing.node-name=base').launch()
        self.commit = self.refuser('block-commit', device='drive0', top_node='mid', job_id='j')

    def test_a_reader_keeps_a_base_from_becoming_writable(self):
        with locked(self.paths[0], *READER):
            self.commit('Failed to get "write" lock')
            self.refused('Failed to get "write" lock', 'block-commit', device='drive0', job_id='j')
        self.done('block-commit', device='drive0', top_node='mid', job_id='j')

    def test_a_reader_is_in_the_way_of_other_jobs_too(self):
        with locked(self.paths[1], *READER):
            self.refused('Failed to get "write" lock', 'block-stream', device='mid', job_id='j')
            self.refused('Failed to get "write" lock', 'block-commit', device='drive0',
                         base_node='mid', job_id='j')
            self.commit('Failed to get shared "consistent read" lock')
        self.done('block-stream', device='mid', job_id='j')

    def test_somebody_who_needs_what_the_job_writes(self):
        with locked(self.paths[0], 100, 200):
            self.done('block-commit', device='drive0', top_node='mid', job_id='j')

    def test_a_program_that_locks_for_itself_alone(self):
        with locked(self.paths[0], (101, 1), kind=fcntl.F_WRLCK):
            self.commit('keeps all others out')

    def test_a_reopen(self):
        options = [{'driver': 'qcow2', 'node-name': 'n', 'read-only': False, 'file': 'f'},
                   {'driver': 'file', 'node-name': 'f', 'read-only': False,
                    'filename': self.images.create('n.img', MIB)}]
        self.vm.command('blockdev-add', **{**options[1], 'read-only': True})
        self.vm.command('blockdev-add', **{**options[0], 'read-only': True})
        with locked(self.images.path('n.img'), *READER):
            self.refused('Failed to get "write" lock', 'blockdev-reopen', options=options)
        self.done('blockdev-reopen', options=options)

    def test_a_reopen_of_what_nobody_writes(self):
        options = [{'driver': 'raw', 'node-name': 'n', 'read-only': False, 'file': 'f'},
                   {'driver': 'file', 'node-name': 'f', 'read-only': False,
                    'filename': self.images.create('n.img', MIB, 'raw')}]
        self.vm.command('blockdev-add', **{**options[1], 'read-only': True})
        self.vm.command('blockdev-add', **{**options[0], 'read-only': True})
        with locked(self.images.path('n.img'), *READER):
            self.refused('Failed to get "write" lock', 'blockdev-reopen', options=options)
        self.done('blockdev-reopen', options=options)

    def test_a_plan_keeps_nobody_out(self):
        self.ask('block-commit', {'device': 'drive0', 'top-node': 'mid', 'job-id': 'j'})
        self.images.run('qemu-io', '-r', '-f', 'qcow2', '-c', 'read 0 512', self.paths[0])
        self.images.run('qemu-io', '-r', '-f', 'qcow2', '-c', 'read 0 512', self.paths[1])


if __name__ == '__main__':
    unittest.main()
