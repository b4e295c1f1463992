"""x-millrace-plan of lines of the human monitor. Such a line answers with a text, or prints one,
and is no error to QMP: a plan is refused with the text that the line would answer or print because
it does not do what it says. Only millraced."""

import unittest

from support.images import MIB
from support.plan_case import PlanCase, picture


class PlanOfLines(PlanCase):
    """top (drive0) <- mid <- base; 'free' and 'ro', null nodes; 'cd0', a drive without a medium."""

    def setUp(self):
        super().setUp()
        paths = self.images.chain('base.img', 'mid.img', 'top.img')
        self.images.io('mid.img', 'write -P 1 0 1M')
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'free', 'size': MIB})
        self.vm.blockdev({'driver': 'null-co', 'node-name': 'ro', 'size': MIB, 'read-only': True})
        self.vm.blockdev({'driver': 'blkdebug', 'node-name': 'dbg',
                          'image': {'driver': 'null-co', 'size': MIB}})
        self.vm.raw_drive('if=none,id=cd0')
        self.vm.drive(paths[-1], 'node-name=top,backing.node-name=mid,'
                                 'backing.backing.node-name=base', ident='drive0').launch()

    def printed(self):
        """Complaints go to stderr, the rest to stdout."""
        return self.vm.errors(), self.vm.output()

    def line_is_refused(self, text, line):
        """With what the line answers or prints; nothing changes by the plan or the line."""
        with self.subTest(line=line):
            before = self.printed()
            plan = self.ask('human-monitor-command', {'command-line': line})
            self.assertEqual(self.printed(), before)
            answer = self.vm.hmp(line)
            told = answer or ''.join(now[len(then):] for now, then in zip(self.printed(), before))
            self.assertFalse(plan['accepted'], f'planned, but: {told}')
            self.assertIn(text, told)
            self.assertEqual(plan['error']['class'], 'GenericError')
            self.assertEqual(plan['error']['desc'], told)

    def line_is_done(self, line, answer=''):
        with self.subTest(line=line):
            plan = self.ask('human-monitor-command', {'command-line': line})
            self.assertTrue(plan['accepted'], plan)
            self.assertEqual(self.vm.hmp(line), answer)
            return plan

    def test_qemu_io_that_is_refused(self):
        def qemu_io(text, rest):
            self.line_is_refused(text, f'qemu-io {rest}')
        qemu_io('block device name expected', '')
        qemu_io('string expected', 'drive0')
        qemu_io("Cannot find device='' nor node-name='none'", 'none "read 0 512"')
        qemu_io("Device 'none' not found", '-d none "read 0 512"')
        qemu_io('command "none" not found', 'drive0 "none"')
        qemu_io('bad argument count 1 to read', 'drive0 "read 0"')
        qemu_io('Parsing error', 'drive0 "read x 512"')
        qemu_io('invalid option', 'drive0 "read -X 0 512"')
        qemu_io('Only one of', 'drive0 "write -z -P 1 0 512"')
        qemu_io('No medium found', 'cd0 "read 0 512"')
        qemu_io('No medium found', 'cd0 "length"')
        qemu_io('Could not set breakpoint', 'drive0 "break write_aio A"')
        qemu_io('Could not resume request', 'drive0 "resume A"')
        qemu_io('Could not remove breakpoint A', 'drive0 "remove_break A"')
        qemu_io('Parsing error', 'drive0 "alloc x"')
        qemu_io('not a valid number', 'drive0 "sleep x"')
        qemu_io('Block node is read-only', 'ro "write 0 512"')
        qemu_io('Permission conflict on node', 'mid "write 0 512"')
        qemu_io('Permission conflict on node', 'mid "truncate 2M"')
        qemu_io('truncates the current file', 'drive0 "truncate -x 2M"')
        qemu_io('truncates the current file', 'drive0 "truncate -m off"')
        qemu_io('Parsing error', 'drive0 "truncate x"')
        qemu_io("Invalid preallocation mode 'x'", 'drive0 "truncate -m x 2M"')
        qemu_io('cannot preallocate', 'drive0 "truncate -m full 2M"')
        qemu_io('not a valid number', 'drive0 "sleep 600001"')
        qemu_io('Could not set breakpoint', 'dbg "break nonsense A"')
        qemu_io('Could not resume request', 'dbg "resume A"')
        qemu_io('Could not remove breakpoint A', 'dbg "remove_break A"')

    def test_qemu_io_that_no_image_takes(self):
        def qemu_io(text, rest):
            self.line_is_refused(f'{rest.split()[0]} failed: {text}', f'qemu-io drive0 "{rest}"')
        beyond, never = 'Input/output error', 'Operation not supported'
        qemu_io(beyond, 'read 1M 512')
        qemu_io(beyond, f'read {MIB - 511} 512')
        qemu_io(beyond, 'write 2M 0')
        qemu_io(beyond, 'write -z 1M 64k')
        qemu_io(beyond, 'discard 1M 64k')
        qemu_io(never, 'read -b 0 512')
        qemu_io(never, 'write -b 0 512')
        qemu_io(never, 'write -c 0 64k')
        qemu_io(never, 'write -z -n 0 512')
        self.line_is_done('qemu-io drive0 "write -q -z -n 64k 64k"')
        self.line_is_done('qemu-io drive0 "read -q 1M 0"')

    def test_what_only_reading_tells(self):
        plan = self.line_is_done('qemu-io drive0 "read -q -P 1 0 512"')
        self.assertIn('whether what is read has the pattern: only reading it tells',
                      plan['unknown'])
        plan = self.ask('human-monitor-command',
                        {'command-line': 'qemu-io drive0 "write -s /nonexistent 0 512"'})
        self.assertIn("whether '/nonexistent' can be read", plan['unknown'])

    def test_break_points(self):
        self.line_is_done('qemu-io dbg "break write_aio A"')
        self.line_is_done('qemu-io dbg "remove_break A"')
        self.line_is_refused('Could not remove breakpoint A', 'qemu-io dbg "remove_break A"')

    def test_reopen(self):
        def refused(text, rest, target='drive0'):
            self.line_is_refused(text, f'qemu-io {target} "reopen {rest}"')

        def done(rest, target='drive0', answer=''):
            plan = self.line_is_done(f'qemu-io {target} "reopen {rest}"', answer)
            self.assertEqual(picture(plan['graph']), self.graph(), rest)
        refused('Only one -r/-w', '-r -w')
        refused('reopens an image with new options', 'x')
        refused('Invalid cache option: x', '-c x')
        refused("Cannot change the option 'cache.direct'", '-c none')
        refused("Cannot change the option 'none'", '-o none=1')
        refused("Cannot set both -r/-w and 'read-only'", '-r -o read-only=on')
        refused('invalid parameter value: x', '-o detect-zeroes=x')
        refused('No medium found', '-r', 'cd0')
        refused('warning: short-form', '-o none')
        done('-o detect-zeroes=on')
        done('-c unsafe')
        done('-c writeback -o discard=unmap')
        self.vm.hmp('qemu-io drive0 "write -q 0 512"')
        refused("Read-only block node 'top' cannot support read-write users", '-o read-only=on')
        done('-r')
        done('-w')
        done('-w', 'mid')
        done('-r', 'mid')

    def test_qemu_io_that_is_done_leaves_the_graph_but_for_permissions(self):
        for line in ('qemu-io free "write 0 512"', 'qemu-io drive0 "read -q 0 512"',
                     'qemu-io drive0 "flush"', 'qemu-io mid "map"', 'qemu-io drive0 "w 0 512"',
                     'qemu-io drive0 "truncate 2M"', 'qemu-io mid "aio_read -q 0 512"'):
            plan = self.line_is_done(line)
            self.vm.hmp('qemu-io drive0 "aio_flush"')
            self.assertEqual(picture(plan['graph']), self.graph(), line)
        self.assertTrue(self.ask('human-monitor-command', {
            'command-line': 'qemu-io drive0 ""'})['accepted'])

    def test_lines_that_are_refused(self):
        refused = self.line_is_refused
        refused("unknown command: 'none'", 'none')
        refused("unknown command: 'info none'", 'info none')
        refused('savevm', 'savevm x')
        refused('block device name expected', 'block_job_cancel')
        refused("Error: Block job 'none' not found", 'block_job_complete none')
        refused("Error: Cannot find device='none'", 'block_stream none')
        refused("Error: Cannot find device='none'", 'drive_mirror none x')
        refused("Error: Parameter 'snapshot-file' is missing", 'snapshot_blkdev drive0')
        refused("Error: Cannot find device='none'", 'block_resize none 1')
        refused('-w only valid together with -a', 'nbd_server_start -w unix:x')
        refused('Error: NBD server not running', 'nbd_server_add drive0')
        refused("Device 'none' not found", 'drive_del none')
        refused("Node 'mid' is busy", 'drive_del mid')
        refused("Error: object 'none' not found", 'object_del none')
        refused("Error: Device 'none' not found", 'device_del none')

    def test_lines_that_are_done(self):
        self.line_is_done('')
        self.line_is_done('stop')
        self.line_is_done('info status', 'VM status: paused\r\n')
        plan = self.line_is_done('block_resize drive0 2')
        self.assertNotEqual(plan['steps'], [])
        plan = self.line_is_done(f"nbd_server_start -a unix:{self.folder / 'nbd'}")
        self.assertEqual(plan['unknown'], ['whether the host lets it listen at that address',
                                           'whether each drive can be exported'])
        self.line_is_done('nbd_server_stop')
        plan = self.line_is_done('drive_del drive0')
        self.assertEqual(picture(plan['graph']), self.graph())
        self.line_is_done('drive_del free')

    def line_comes_true(self, line, answer=''):
        plan = self.line_is_done(line, answer)
        self.assertEqual(picture(plan['graph']), self.graph(), line)
        return plan

    def test_drives_and_nodes(self):
        refused = self.line_is_refused
        image = self.images.create('x.img', MIB)
        refused("Can't hot-add drive to type 1", 'drive_add 0 if=ide')
        refused("Can't hot-add drive to type 1", f'drive_add 0 file={image}')
        refused("Duplicate ID 'drive0' for drive", 'drive_add 0 if=none,id=drive0')
        refused("Parameter 'id' expects an identifier", 'drive_add 0 if=none,id=1')
        refused('Must specify either driver or file', 'drive_add 0 if=none,id=x,node-name=x')
        refused("Unknown driver 'none'", f'drive_add 0 if=none,id=x,file={image},format=none')
        refused("Duplicate ID 'drive0'", f'drive_add 0 if=none,id=drive0,file={image},format=qcow2')
        refused("Duplicate nodes with node-name='mid'",
                f'drive_add 0 if=none,id=x,file={image},format=qcow2,node-name=mid')
        refused("'node-name' needs to be specified", 'drive_add -n 0 driver=null-co')
        refused("Duplicate nodes with node-name='mid'",
                'drive_add -n 0 driver=null-co,node-name=mid')
        refused("Invalid node-name: '1'", 'drive_add -n 0 driver=null-co,node-name=1')
        self.line_comes_true('drive_add -n 0 driver=null-co,node-name=n')
        plan = self.line_comes_true(f'drive_add 0 if=none,id=x,file={image},format=qcow2', 'OK\r\n')
        self.assertIn(f"whether '{image}' can be opened and locked", plan['unknown'])
        self.line_is_done('drive_add 0 if=none,id=y', 'OK\r\n')
        plan = self.ask('human-monitor-command',
                        {'command-line': 'drive_add 0 if=none,format=help'})
        self.assertEqual(plan['steps'], ['answer; nothing changes'])

    def test_objects_and_devices(self):
        refused = self.line_is_refused
        refused("Parameter 'qom-type' does not accept value 'none'", 'object_add none,id=x')
        refused("Parameter 'id' is missing", 'object_add iothread')
        self.line_is_done('object_add iothread,id=io')
        refused("attempt to add duplicate property 'io'", 'object_add iothread,id=io')
        refused("'none' is not a valid device model name", 'device_add none')
        refused("Bus 'ide.1' does not support hotplugging", 'device_add ide-hd,drive=drive0')
        self.line_is_done('device_add virtio-scsi,id=scsi')
        refused("Duplicate device ID 'scsi'", 'device_add virtio-scsi,id=scsi')
        refused("Property 'scsi-hd.drive' can't find value 'none'", 'device_add scsi-hd,drive=none')
        plan = self.line_comes_true('device_add scsi-hd,drive=free')
        self.assertIn(plan['steps'][0], [f"plug in '{drive.get('qdev')}', a scsi-hd"
                                         for drive in self.vm.command('query-block')])
        for line in ('object_add help', 'device_add help'):
            plan = self.ask('human-monitor-command', {'command-line': line})
            self.assertEqual(plan['steps'], ['answer; nothing changes'])

    def test_commit(self):
        self.line_is_refused("Device 'none' not found", 'commit none')
        self.line_is_refused("Device 'cd0' has no medium", 'commit cd0')
        self.vm.hmp('drive_add 0 if=none,id=flat,file=null-co://')
        self.line_is_refused('Operation not supported', 'commit flat')
        plan = self.line_is_done('commit drive0')
        self.assertEqual(plan['steps'], ["copy what the image of 'drive0' holds into its backing",
                                         "empty the image of 'drive0'"])
        self.assertEqual(len(self.line_is_done('commit all')['steps']), 2)
        self.vm.command('block-stream', device='drive0', job_id='s', speed=1, base_node='base')
        for device in ('drive0', 'all'):
            self.line_is_refused(f"'commit' error for '{device}': Device or resource busy",
                                 f'commit {device}')

    def test_the_end_and_the_machine(self):
        self.line_is_done('system_reset')
        plan = self.ask('human-monitor-command', {'command-line': 'q'})
        self.assertEqual(plan['steps'], ['close all drives and nodes', 'end the program'])
        self.assertEqual(plan['graph']['nodes'], [])


if __name__ == '__main__':
    unittest.main()
