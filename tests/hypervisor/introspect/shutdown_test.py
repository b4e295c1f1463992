"""The end comes, whatever a command waits for and wherever requests stand still. QEMU waits with
them."""

import json
import os
import signal
import unittest

from support import nbd
from support.case import Case
from support.images import KIB, MIB
from support.nbd import Nbd


class Shutdown(Case):
    """drive0 is qcow2 over blkdebug, so that requests stop where a test says; drive1 is slow."""

    def setUp(self):
        super().setUp()
        path = self.images.create('x.img', MIB)
        self.vm.object('throttle-group,id=group,x-bps-write=1,x-bps-read=1')
        self.vm.blockdev({'driver': 'throttle', 'node-name': 'slow', 'throttle-group': 'group',
                          'file': {'driver': 'null-co', 'size': MIB}})
        self.vm.raw_drive(f'if=none,id=drive0,node-name=top,driver=qcow2,file.driver=blkdebug,'
                          f'file.image.driver=file,file.image.filename={path}')
        self.vm.raw_drive('if=none,id=drive1,driver=null-co,size=1M,throttling.bps-write=1')

    def assert_ends_in_the_middle_of(self, name, **arguments):
        """The command has begun, and does not end by itself, when SIGTERM comes."""
        words = {key.replace('_', '-'): value for key, value in arguments.items()}
        # Both arrive at once, and are served without anything in between: with the reply to the
        # first the second has begun.
        self.vm.qmp.send(b''.join(json.dumps(request).encode() for request in (
            {'execute': 'query-version', 'id': 'before'},
            {'execute': name, 'arguments': words, 'id': 'held'})))
        self.assertEqual(self.vm.qmp.next_reply()['id'], 'before')
        self.vm.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.vm.qmp.next_reply()['id'], 'held')
        self.assert_ends()

    def assert_io_ends(self, drive, command):
        self.assert_ends_in_the_middle_of('human-monitor-command',
                                          command_line=f'qemu-io {drive} "{command}"')

    def assert_ends(self):
        self.assertEqual(self.vm.wait_exit(), 0)
        self.vm.qmp.wait_closed()
        self.assertEqual(self.vm.errors(), '')

    def stand_still(self):
        """A request of drive0 stands at a break point."""
        self.vm.io('drive0', 'break write_aio A')
        self.vm.io('drive0', 'aio_write 0 64k')
        self.vm.io('drive0', 'wait_break A')

    # ---- Commands that wait ----------------------------------------------------------------------

    def test_a_break_point_that_nobody_reaches(self):
        self.vm.launch()
        self.assert_io_ends('drive0', 'wait_break never')

    def test_a_request_that_stops_at_a_break_point(self):
        self.vm.launch()
        self.vm.io('drive0', 'break write_aio A')
        self.assert_io_ends('drive0', 'write 0 64k')
        self.assertIn('wrote 65536/65536 bytes', self.vm.output())

    def test_waiting_for_requests_that_stand_still(self):
        self.vm.launch()
        self.stand_still()
        self.assert_io_ends('drive0', 'aio_flush')

    def test_stop_while_a_request_stands_still(self):
        self.vm.launch()
        self.stand_still()
        self.assert_ends_in_the_middle_of('stop')

    def test_eject_while_a_request_stands_still(self):
        self.vm.launch()
        self.stand_still()
        self.assert_ends_in_the_middle_of('eject', device='drive0')

    def test_a_job_begins_while_a_request_stands_still(self):
        self.vm.launch()
        self.stand_still()
        self.vm.command('blockdev-add', driver='null-co', node_name='n', size=MIB)
        self.assert_ends_in_the_middle_of('blockdev-mirror', device='drive0', target='n',
                                          sync='full')

    def test_a_drive_with_a_limit(self):
        self.vm.launch()
        self.vm.io('drive1', 'write 0 64k')  # the first is let through, and to be paid for
        self.assert_io_ends('drive1', 'write 0 64k')

    def test_a_node_with_a_limit(self):
        self.vm.launch()
        self.vm.io('slow', 'write 0 64k')
        self.assert_io_ends('slow', 'write 0 64k')

    def test_a_sleep(self):
        self.vm.launch()
        self.assert_io_ends('drive0', 'sleep 600000')

    def test_an_nbd_server_that_stops_while_a_request_stands_still(self):
        client = self.write_by_nbd()
        self.assert_ends_in_the_middle_of('nbd-server-stop')
        client.close()

    # ---- Jobs that take long ---------------------------------------------------------------------

    def fill_an_image(self):
        """A job that would be busy for minutes, at 4 MiB a second, and has begun to fill."""
        path = self.images.create('holes.img', 1024 * MIB, image_format='raw')
        self.vm.object('throttle-group,id=pace,x-bps-write=4194304').launch()
        self.vm.command('blockdev-add', driver='throttle', node_name='target',
                        throttle_group='pace', file={'driver': 'file', 'filename': path})
        self.vm.command('blockdev-create', job_id='c', options={
            'driver': 'qcow2', 'file': 'target', 'size': 1000 * MIB, 'preallocation': 'full'})
        # The tables of a GiB take less than what has been written by then.
        while os.stat(path).st_blocks * 512 < MIB:
            self.assertEqual(self.vm.command('query-jobs')[0]['status'], 'running')

    def test_an_image_that_is_filled_may_be_cancelled(self):
        self.fill_an_image()
        self.vm.command('job-cancel', id='c')
        self.wait_status('c', 'concluded')
        self.vm.command('job-dismiss', id='c')
        self.assert_no_job()

    def test_quit_while_an_image_is_filled(self):
        self.fill_an_image()
        self.assertEqual(self.vm.quit(), 0)
        self.assertEqual(self.statuses('c'), ['created', 'running', 'aborting', 'concluded', 'null'])

    # ---- Clients of the NBD server ---------------------------------------------------------------

    def write_by_nbd(self):
        """A client whose write stands at a break point."""
        self.vm.launch()
        path = str(self.folder / 'nbd.sock')
        self.vm.command('nbd-server-start', addr={'type': 'unix', 'data': {'path': path}})
        self.vm.qmp.execute('nbd-server-add', {'device': 'drive0', 'name': 'x', 'writable': True})
        self.vm.io('drive0', 'break write_aio A')
        client = Nbd(path).go(b'x')
        self.addCleanup(client.close)
        client.submit(nbd.WRITE, payload=bytes(64 * KIB))
        self.vm.io('drive0', 'wait_break A')
        return client

    def test_quit_while_a_clients_request_stands_still(self):
        self.write_by_nbd()
        self.assertEqual(self.vm.quit(), 0)

    def test_a_signal_while_a_clients_request_stands_still(self):
        self.write_by_nbd()
        self.vm.process.send_signal(signal.SIGTERM)
        self.assert_ends()


if __name__ == '__main__':
    unittest.main()
