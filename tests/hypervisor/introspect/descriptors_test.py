"""Descriptors that millraced inherits, is given and makes are for no program that it might start.
QEMU hands on the sockets that it inherits."""

import os
import socket
import unittest

from support.case import Case, TIMEOUT
from support.images import MIB
from support.machine import QmpClient


class Descriptors(Case):
    def setUp(self):
        super().setUp()
        self.path = self.images.create('a.img', MIB)
        self.file = open(self.path, 'r+b')
        self.addCleanup(self.file.close)
        self.served = str(self.folder / 'served')

    def listener(self):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(self.served)
        listener.listen()
        return listener.fileno()

    def assert_none_is_handed_on(self):
        told = self.vm.descriptors()
        self.assertNotEqual(told, {})
        self.assertEqual([os.readlink(f'/proc/{self.vm.process.pid}/fd/{number}')
                          for number, closes_on_exec in told.items() if not closes_on_exec], [])

    def test_what_it_inherits(self):
        listener = self.listener()
        self.vm.add_fd(self.file.fileno(), 1)
        self.vm.inherited.append(listener)
        self.vm.chardev(f'socket,id=served,server=on,wait=off,fd={listener}')
        self.vm.monitor('chardev=served,mode=control')
        self.vm.launch()  # its monitor's connection is inherited too
        self.assert_none_is_handed_on()
        QmpClient.connect(self.served, TIMEOUT).close()

    def test_what_it_is_given_and_makes(self):
        self.vm.chardev(f'socket,id=served,server=on,wait=off,path={self.served}')
        self.vm.monitor('chardev=served,mode=control')
        self.vm.pidfiles.append(str(self.folder / 'pid'))
        self.vm.drive(self.path).launch()
        other = QmpClient.connect(self.served, TIMEOUT)
        self.addCleanup(other.close)
        self.vm.qmp.pass_descriptor(self.file.fileno())
        self.vm.command('getfd', fdname='got')
        self.vm.qmp.pass_descriptor(self.file.fileno())
        self.vm.command('add-fd', fdset_id=2)
        self.vm.command('blockdev-add', driver='file', node_name='n', locking='off',
                        filename='/dev/fdset/2')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {
            'path': str(self.folder / 'nbd')}})
        self.vm.command('x-millrace-trace', action='start',
                        filename=str(self.folder / 'trace.json'))
        self.assertEqual(len(self.vm.descriptors(self.path)), 4)  # the drive's, two and the node's
        self.assert_none_is_handed_on()


if __name__ == '__main__':
    unittest.main()
