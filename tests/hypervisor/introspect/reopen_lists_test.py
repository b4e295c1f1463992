"""blockdev-reopen of lists whose elements have to do with each other. (QEMU 7.2 does not survive it
when one element lets go of the node of another.) Only against millraced."""

import contextlib
import os
import time
import unittest

from support.case import Case


class ReopenLists(Case):
    def setUp(self):
        super().setUp()
        self.base, self.top = self.images.chain('base.img', 'top.img')
        self.images.io('base.img', 'write -P 1 0 64K')
        self.vm.launch()

    @staticmethod
    def file(name, path, **more):
        return {'driver': 'file', 'node-name': name, 'filename': path, **more}

    def add(self):
        self.vm.command('blockdev-add', **{
            'driver': 'qcow2', 'node-name': 'A', 'file': self.file('Af', self.top),
            'backing': {'driver': 'qcow2', 'node-name': 'B', 'file': self.file('Bf', self.base)}})

    def reopen(self, *options):
        self.vm.command('blockdev-reopen', options=list(options))

    def nodes(self):
        nodes = self.vm.command('query-named-block-nodes', flat=True)
        return {node['node-name']: node['ro'] for node in nodes}

    def open_images(self):
        folder = f'/proc/{self.vm.process.pid}/fd'
        names = []
        for fd in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):  # closed since
                names.append(os.readlink(f'{folder}/{fd}'))
        return sorted(name for name in names if name.endswith('.img'))

    def assert_open_images(self, expected):
        """A descriptor that a reopen has replaced is closed by a coroutine of its own, soon."""
        end = time.monotonic() + 60
        while self.open_images() != expected and time.monotonic() < end:
            self.vm.command('query-version')
        self.assertEqual(self.open_images(), expected)

    def test_an_element_lets_go_of_the_node_of_another(self):
        without = {'driver': 'qcow2', 'node-name': 'A', 'file': 'Af', 'backing': None}
        for more in ({'read-only': True}, {'read-only': False}, {'lazy-refcounts': True}):
            base = {'driver': 'qcow2', 'node-name': 'B', 'file': 'Bf', **more}
            for options in ((without, base), (base, without)):
                with self.subTest(options=options):
                    self.add()
                    self.reopen(*options)
                    self.assertEqual(self.nodes(), {'A': False, 'Af': False})
                    self.assert_open_images([self.top])
                    self.vm.command('blockdev-del', node_name='A')
                    self.assert_open_images([])
                    self.images.run('qemu-io', '-f', 'qcow2', '-c', 'read -P 1 0 64K', self.base)

    def test_a_node_that_stands_twice_is_opened_once(self):
        self.add()
        for read_only in (True, False, True, False):
            whole = {'driver': 'qcow2', 'node-name': 'A', 'file': 'Af', 'read-only': read_only,
                     'backing': 'B'}
            file = self.file('Af', self.top, **{'read-only': read_only})
            for options in ((whole, file), (file, whole), (whole, whole, file, file)):
                with self.subTest(options=options):
                    self.reopen(*options)
                    self.assertEqual(self.nodes()['Af'], read_only)
                    self.assert_open_images([self.base, self.top])
        self.vm.command('blockdev-del', node_name='A')
        self.assert_open_images([])
        self.images.run('qemu-io', '-f', 'qcow2', '-c', 'write 0 512', self.top)


if __name__ == '__main__':
    unittest.main()
