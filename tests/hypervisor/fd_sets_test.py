"""Descriptors that a client passes over the control socket, and the sets that they are kept in."""

import os

from support.case import TIMEOUT, Case
from support.images import MIB
from support.machine import QmpClient


class FdSets(Case):
    def setUp(self):
        super().setUp()
        self.path = self.images.create('a.img', MIB)
        self.file = open(self.path, 'r+b')
        self.addCleanup(self.file.close)

    def sets(self):
        """{set: [opaque or None]}, and the descriptors beside."""
        shown = self.vm.command('query-fdsets')
        return ([one['fdset-id'] for one in shown],
                {one['fdset-id']: [fd.get('opaque') for fd in one['fds']] for one in shown},
                {one['fdset-id']: [fd['fd'] for fd in one['fds']] for one in shown})

    def pass_descriptor(self):
        self.vm.qmp.pass_descriptor(self.file.fileno())

    def test_sets_of_the_command_line(self):
        for number, opaque in ((1, 'a:r'), (1, 'a:rw'), (2, 'b')):
            self.vm.add_fd(os.dup(self.file.fileno()), number, opaque)
        self.vm.launch()
        order, opaque, fds = self.sets()
        self.assertEqual(order, [2, 1])
        self.assertEqual({number: sorted(each) for number, each in opaque.items()},
                         {1: ['a:r', 'a:rw'], 2: ['b']})
        self.assert_refused("File descriptor named 'fdset-id:3' not found", 'remove-fd', fdset_id=3)
        self.assert_refused("File descriptor named 'fdset-id:2, fd:999' not found", 'remove-fd',
                            fdset_id=2, fd=999)
        self.assert_refused('No file descriptor supplied via SCM_RIGHTS', 'add-fd', fdset_id=2)
        self.vm.command('cont')  # a machine that stands still keeps what is removed
        self.vm.command('remove-fd', fdset_id=1, fd=fds[1][0])
        self.assertEqual(len(self.sets()[2][1]), 1)
        self.vm.command('remove-fd', fdset_id=1)
        self.assertEqual(self.sets()[0], [2])

    def held(self):
        """How many descriptors of the file the program has; none is for programs that it starts."""
        held = self.vm.descriptors(self.path)
        self.assertEqual([number for number, closes_on_exec in held.items() if not closes_on_exec],
                         [])
        return len(held)

    def test_of_what_is_inherited_for_a_set_only_the_set_s_is_left(self):
        for number in (1, 2):
            self.vm.add_fd(self.file.fileno(), number)
        self.vm.launch()
        self.assertEqual(self.held(), 2)
        self.vm.command('blockdev-add', driver='file', node_name='n', filename='/dev/fdset/2')
        self.assertEqual(self.held(), 3)
        self.vm.command('blockdev-del', node_name='n')
        self.assertEqual(self.held(), 2)

    def test_what_is_taken_back_is_closed(self):
        self.vm.launch()
        self.vm.command('cont')  # a machine that stands still keeps what is removed
        self.pass_descriptor()
        self.vm.command('getfd', fdname='got')
        self.pass_descriptor()
        self.vm.command('getfd', fdname='got')
        self.pass_descriptor()
        self.vm.command('add-fd', fdset_id=2)
        self.assertEqual(self.held(), 2)
        self.vm.command('closefd', fdname='got')
        self.vm.command('remove-fd', fdset_id=2)
        self.assertEqual(self.held(), 0)

    def test_a_client_passes_one(self):
        self.vm.launch()
        self.vm.command('cont')
        self.pass_descriptor()
        added = self.vm.reply('add-fd', fdset_id=5, opaque='mine')['return']
        self.assertEqual(added['fdset-id'], 5)
        self.assertEqual(self.sets()[1], {5: ['mine']})
        self.pass_descriptor()
        self.assertEqual(self.vm.reply('add-fd')['return']['fdset-id'], 0)
        self.assert_refused('No file descriptor supplied via SCM_RIGHTS', 'add-fd')
        self.vm.command('blockdev-add', driver='qcow2', node_name='n',
                        file={'driver': 'file', 'filename': '/dev/fdset/5'})
        self.vm.io('n', 'write -P 7 0 64K')
        self.vm.command('blockdev-del', node_name='n')
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('a.img', 7, 0, 65536))

    def test_belongs_to_the_client_that_passed_it(self):
        path = self.images.path('other.sock')
        self.vm.chardev(f'socket,id=other,path={path},server=on,wait=off')
        self.vm.monitor('chardev=other,mode=control')
        self.vm.launch()
        self.vm.command('cont')
        other = QmpClient.connect(path, TIMEOUT)
        self.addCleanup(other.close)
        self.pass_descriptor()
        self.vm.command('query-version')  # takes nothing
        self.assertEqual(other.execute('add-fd')['error']['desc'],
                         'No file descriptor supplied via SCM_RIGHTS')
        other.pass_descriptor(self.file.fileno())
        self.assertEqual(self.vm.reply('add-fd', fdset_id=1)['return']['fdset-id'], 1)
        self.assertEqual(other.execute('add-fd', {'fdset-id': 2})['return']['fdset-id'], 2)
        for client in (self.vm.qmp, other):
            self.assertEqual(client.execute('add-fd')['error']['desc'],
                             'No file descriptor supplied via SCM_RIGHTS')

    def test_of_several_in_one_message_the_first_is_taken(self):
        self.vm.launch()
        self.vm.command('cont')
        with open(self.path, 'rb') as readable:
            self.vm.qmp.pass_descriptors(readable.fileno(), self.file.fileno())
            self.vm.command('add-fd', fdset_id=1)
        reply = self.vm.reply('blockdev-add', driver='file', node_name='n',
                              filename='/dev/fdset/1')
        self.assertIn('Permission denied', reply['error']['desc'])
        self.vm.command('blockdev-add', driver='file', node_name='n', filename='/dev/fdset/1',
                        read_only=True)

    def test_names(self):
        self.vm.launch()
        self.assert_refused('No file descriptor supplied via SCM_RIGHTS', 'getfd', fdname='x')
        self.assert_refused("File descriptor named 'x' not found", 'closefd', fdname='x')
        self.pass_descriptor()
        self.assert_refused("Parameter 'fdname' expects a name not starting with a digit", 'getfd',
                            fdname='0x')
        for _ in range(2):  # the second takes the place of the first
            self.pass_descriptor()
            self.vm.command('getfd', fdname='x')
        self.vm.command('closefd', fdname='x')
        self.assert_refused("File descriptor named 'x' not found", 'closefd', fdname='x')
