"""How a daemon starts and ends: exit statuses, locks, pid file, bad options, fd sets."""

import json
import os
import signal
import socket
import subprocess
import time

from support.case import BACKEND, Case, QmpClosed, TIMEOUT
from support.images import MIB


class Ends(Case):
    def setUp(self):
        super().setUp()
        self.base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.top = self.images.create('top.img', backing=self.base)

    def assert_locks_are_gone(self):
        self.images.io('top.img', 'write -P 2 0 64K')
        self.images.io('base.img', 'write -P 2 0 64K')
        self.images.check('top.img')

    def shutdown_reason(self):
        data = self.vm.qmp.wait_event('SHUTDOWN')['data']
        self.assertIs(data['guest'], False)
        return data['reason']

    def test_quit(self):
        self.vm.drive(self.top).launch()
        self.assertEqual(self.vm.reply('quit'), {'return': {}})
        self.assertEqual(self.shutdown_reason(), 'host-qmp-quit')
        self.vm.qmp.wait_closed()
        self.assertEqual(self.vm.wait_exit(), 0)
        self.assert_locks_are_gone()
        self.assertEqual(self.vm.output() + self.vm.errors(), '')

    def test_quit_cancels_jobs(self):
        self.vm.drive(self.top).launch()
        self.vm.command('block-stream', device='drive0', speed=65536)
        self.assertEqual(self.vm.reply('quit'), {'return': {}})
        self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='drive0')
        self.assertEqual(self.vm.wait_exit(), 0)
        self.assertEqual(self.statuses('drive0')[-3:], ['aborting', 'concluded', 'null'])
        self.assert_locks_are_gone()
        self.assertEqual(self.images.backing_name('top.img'), self.base)

    def test_quit_ends_a_job_that_is_ready(self):
        self.vm.drive(self.top).launch()
        self.vm.command('block-commit', device='drive0')
        self.wait_ready()
        self.assertEqual(self.vm.quit(), 0)
        self.assert_locks_are_gone()

    def test_a_job_with_a_limit_has_done_one_step(self):
        """512 KiB of it, however low the limit is, and though a guest has just written."""
        mid = self.images.create('mid.img', backing=self.base)
        self.images.io('mid.img', 'write -P 2 0 4M')
        for command, options in (('block-stream', {}), ('block-commit', {'top': mid})):
            with self.subTest(command=command):
                self.vm = self.machine()
                top = self.images.create('upper.img', backing=mid)
                self.vm.drive(top).launch()
                self.vm.io('drive0', 'write -P 3 3M 1M')
                self.vm.command(command, device='drive0', speed=65536, **options)
                # Asked again and again, as no event tells of a step; the next one is 8 s away.
                answers = (self.vm.command('query-block-jobs')[0]['offset'] for _ in range(100_000))
                self.assertTrue(any(answers), 'the job does nothing')
                self.vm.command('quit')
                told = self.vm.qmp.wait_event('BLOCK_JOB_CANCELLED', device='drive0')['data']
                self.assertEqual((told['offset'], told['len']), (MIB // 2, 4 * MIB))
                self.assertEqual(self.vm.wait_exit(), 0)

    def test_signals(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(signal=number):
                self.vm = self.machine()
                self.vm.drive(self.top).launch()
                self.vm.command('block-stream', device='drive0', speed=65536)
                self.vm.process.send_signal(number)
                self.assertEqual(self.vm.wait_exit(), 0)
                self.vm.qmp.wait_closed()
                self.assertEqual(self.shutdown_reason(), 'host-signal')
                self.assert_locks_are_gone()

    def test_nothing_is_left_of_a_command_in_the_same_breath_as_quit(self):
        self.vm.drive(self.top).launch()
        self.vm.qmp.send(b'{"execute": "quit"}{"execute": "query-block"}')
        self.assertEqual(self.vm.qmp.next_reply(), {'return': {}})
        self.assertEqual(self.vm.wait_exit(), 0)

    def test_the_last_client_may_go(self):
        self.vm.drive(self.top).launch()
        self.vm.qmp.close()
        self.vm.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.vm.wait_exit(), 0)
        self.vm.qmp = None

    def test_pid_file(self):
        path = self.folder / 'pid'
        self.vm.pidfiles.append(str(path))
        self.vm.drive(self.top).launch()
        self.assertEqual(int(path.read_text()), self.vm.process.pid)
        self.assertEqual(self.vm.quit(), 0)
        self.assertFalse(path.exists())


class MonitorFirst:
    """The program's words with the monitor right behind its chardev, before images are opened."""

    @staticmethod
    def command_line(machine):
        words = BACKEND.command_line(machine)
        monitor = words.index('chardev=mon,mode=control') - 1
        pair = words[monitor:monitor + 2]
        del words[monitor:monitor + 2]
        chardev = next(i for i, word in enumerate(words) if word.startswith('socket,id=mon'))
        return [*words[:chardev + 1], *pair, *words[chardev + 1:]]


class BadOptions(Case):
    """`PROGRAM: …` on stderr and exit status 1; nothing is said on stdout."""

    def told_before_the_end(self, vm):
        """All that a client hears who was there from the start, of a program that does not start."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            vm.chardevs.insert(0, f'socket,id=mon,fd={theirs.fileno()}')
            vm.monitors.insert(0, 'chardev=mon,mode=control')
            vm.backend = MonitorFirst()
            vm.start(pass_fds=(theirs.fileno(),))
            theirs.close()
            ours.settimeout(TIMEOUT)
            told = ours.recv(4096)
        self.assertEqual(vm.wait_exit(), 1)
        return told

    def test_nobody_is_greeted_before_all_is_open(self):
        """Also who connects while the last image, here a pipe that is none, is being opened."""
        pipe = self.folder / 'pipe'
        os.mkfifo(pipe)
        for name in (str(pipe), str(self.folder / 'none')):
            with self.subTest(name=name):
                vm = self.machine()
                vm.object('throttle-group,id=tg')
                vm.blockdev({'driver': 'file', 'node-name': 'n', 'read-only': True,
                             'filename': name})
                # Whoever opens a pipe for reading waits for a writer, who need not wait for him.
                writer = os.open(pipe, os.O_RDWR)
                self.addCleanup(os.close, writer)
                self.assertEqual(self.told_before_the_end(vm), b'')

    def refused(self, vm):
        with self.assertRaises((QmpClosed, OSError)):
            vm.launch()
        self.assertEqual(vm.wait_exit(), 1)
        self.assertEqual(vm.output(), '')
        text = vm.errors()
        self.assertTrue(text.startswith(os.path.basename(BACKEND.program()) + ': '), text)
        os.truncate(self.folder / 'stderr.txt', 0)
        return text.partition(': ')[2].strip()

    def assert_says(self, vm, *parts):
        text = self.refused(vm)
        for part in parts:
            self.assertIn(part, text)

    def test_a_file_that_is_not_there(self):
        for vm in (self.machine().drive('/nonexistent/x.img', image_format='qcow2'),
                   self.machine().blockdev('file,node-name=n,filename=/nonexistent/x.img')):
            self.assert_says(vm, "Could not open '/nonexistent/x.img': No such file or directory")

    def test_blockdev(self):
        self.images.create('x.img', MIB)
        path = self.images.path('x.img')
        for text, *parts in (
                ('driver=no-such,node-name=n', "Parameter 'driver' does not accept value 'no-such'"),
                ('node-name=n', "Parameter 'driver' is missing"),
                ('driver=file,node-name=n', "Parameter 'filename' is missing"),
                ('driver=null-co', "'node-name' must be specified for the root node"),
                ('driver=null-co,node-name=n,x=y', "Parameter 'x' is unexpected"),
                ('driver=null-co,node-name=n,size=many', "Parameter 'size' expects integer"),
                ('driver=raw,node-name=n,file=none', "Cannot find device='none' nor node-name='none'"),
                ('driver=null-co,node-name=1n', "Invalid node-name: '1n'"),
                ('driver=null-co,node-name=', "Invalid node-name: ''"),
                ('driver=null-co,node-name=n,latency-ns=-1', 'latency-ns is invalid'),
                ('driver=file,node-name=n,filename.0=y',
                 "Parameters 'filename.*' are unexpected"),
                ('driver=io_uring,node-name=n',
                 "Parameter 'driver' does not accept value 'io_uring'"),
                ('driver=quorum,node-name=n,vote-threshold=1', "Parameter 'children' is missing"),
                ('driver=copy-on-read,node-name=n,file.driver=null-co,bottom=x',
                 "Bottom node 'x' not found"),
                ('driver=blkdebug,node-name=n,image.driver=null-co,inject-error.0.errno=5',
                 "Parameter 'inject-error.0.event' is missing"),
                ('help', 'Help is not available for this option'),
                ('{"driver": "null-co", "node-name": "n"', 'JSON parse error'),
                (f'driver=file,node-name=f,filename={path},read-only=maybe',
                 "Parameter 'read-only' expects 'on' or 'off'")):
            with self.subTest(text=text):
                self.assert_says(self.machine().blockdev(text), *parts)

    def test_two_nodes_of_one_name(self):
        vm = self.machine().blockdev('null-co,node-name=n').blockdev('null-co,node-name=n')
        self.assert_says(vm, "Duplicate nodes with node-name='n'")

    def test_drive(self):
        path = self.images.create('x.img', MIB)
        for text, *parts in (
                (f'if=virtio,id=d,file={path},format=no-such', "'no-such'"),
                (f'if=nonsense,id=d,file={path}', 'nonsense'),
                (f'if=none,id=d,file={path},format=qcow2,no-such-option=1', 'no-such-option'),
                (f'if=none,id=d,file={path},cache=nonsense', 'invalid cache option'),
                (f'if=none,id=d,node-name=d,file={path},format=qcow2',
                 "Device name 'd' conflicts with an existing node name"),
                (f'if=none,id=d,node-name=,file={path},format=qcow2', "Invalid node-name: ''"),
                (f'if=none,id=d,file={path},format=qcow2,index=x',
                 "Parameter 'index' expects a number"),
                (f'if=ide,id=d,file={path},format=qcow2,unit=9', 'unit 9 too big (max is 1)'),
                (f'if=ide,file={path},format=qcow2,bus=1,index=1',
                 'index cannot be used with bus and unit'),
                ('if=none,id=d,file.driver=file', "The 'file' block driver requires a file name"),
                ('if=none,id=d,file=blkdebug:x',
                 'blkdebug requires both config file and image path'),
                ('if=none,id=d,format=raw,file=json:{',
                 'Could not parse the JSON options: JSON parse error, premature EOI'),
                ('if=none,id=d,format=raw,file=json:',
                 'Could not parse the JSON options: Expecting a JSON value'),
                (f'if=none,id=1d,file={path}', "Parameter 'id' expects an identifier\n"
                 "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")):
            with self.subTest(text=text):
                self.assert_says(self.machine().raw_drive(text), *parts)

    def test_device(self):
        for text, *parts in (
                ('no-such-device,id=x', "'no-such-device' is not a valid device model name"),
                ('virtio-blk-pci,id=x,drive=none', "can't find value 'none'"),
                ('virtio-blk-pci,id=x', 'drive property not set'),
                ('virtio-blk-pci,logical_block_size=3',
                 "Property .logical_block_size doesn't take value 3 (minimum: 512, maximum: "
                 '2097152)'),
                ('virtio-blk-pci,physical_block_size=1536',
                 "Property .physical_block_size doesn't take value '1536', it's not a power of 2"),
                ('pci-bridge,id=x', 'Bridge chassis not specified. Each bridge is required to be '
                 'assigned a unique chassis id > 0.'),
                ('ide-hd,id=x', 'No drive specified')):
            with self.subTest(text=text):
                self.assert_says(self.machine().device(text), *parts)

    def test_object(self):
        for text, *parts in (
                ('no-such-object,id=x', 'no-such-object'),
                ('throttle-group', "Parameter 'id' is missing"),
                ('throttle-group,id=x,no-such=1', 'no-such'),
                ('throttle-group,id=x,x-bps-total=-1', 'Property values cannot be negative'),
                ('iothread,id=x,poll-max-ns=-1',
                 'poll-max-ns value must be in range [0, 9223372036854775807]'),
                ('secret,id=x', "Either 'file' or 'data' must be provided"),
                ('secret,id=x,file=/nonexistent', 'Unable to read /nonexistent: '
                 'Failed to open file “/nonexistent”: No such file or directory'),
                ('iothread,id=1', "Parameter 'id' expects an identifier\n"
                 "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.")):
            with self.subTest(text=text):
                self.assert_says(self.machine().object(text), *parts)

    def test_monitor(self):
        for text, *parts in (('chardev=none,mode=control', '"none"'),
                             ('mode=control', 'chardev')):
            with self.subTest(text=text):
                self.assert_says(self.machine().monitor(text), *parts)

    def test_an_image_in_use(self):
        path = self.images.create('x.img', MIB)
        self.vm.drive(path).launch()
        self.assert_says(self.machine().drive(path), 'Failed to get "write" lock',
                         f'Is another process using the image [{path}]?')
        self.assertIsNone(self.vm.process.poll())

    def test_a_secret_from_a_file(self):
        path = self.folder / 'secret.txt'
        path.write_text('QUJD')
        self.vm.object(f'secret,id=a,file={path},format=base64')
        self.vm.object('secret,id=b,data=letmein').launch()
        self.vm.command('object-del', id='a')

    def test_format_help(self):
        self.check_format_help('format=help')

    def test_format_help_by_its_other_name(self):
        self.check_format_help('format=?')

    def test_device_help(self):
        for text in ('help', '?'):
            with self.subTest(text=text):
                vm = self.machine()
                vm.device(text).start()
                self.assertEqual(vm.wait_exit(), 0)
                told = vm.output()
                self.assertIn('Storage devices:\n', told)
                for line in ('name "virtio-blk-pci", bus PCI, alias "virtio-blk"\n',
                             'name "virtio-scsi-pci", bus PCI, alias "virtio-scsi"\n',
                             'name "virtio-scsi-device", bus virtio-bus\n',
                             'name "ich9-ahci", bus PCI, alias "ahci"\n',
                             'name "lsi53c895a", bus PCI, alias "lsi"\n',
                             'name "usb-storage", bus usb-bus\n'):
                    self.assertIn(line, told)
                os.truncate(self.folder / 'stdout.txt', 0)

    def test_help_by_the_human_monitor_is_an_answer(self):
        self.vm.launch()
        told = self.vm.hmp('drive_add 0 if=none,format=help')
        self.assertTrue(told.startswith('Supported formats: '), told)
        self.assertIn(' qcow2 ', told)
        told = self.vm.hmp('object_add help')
        self.assertTrue(told.startswith('List of user creatable objects:\r\n'), told)
        self.assertIn('  throttle-group\r\n', told)
        self.assertIn('name "scsi-hd", bus SCSI', self.vm.hmp('device_add help'))
        self.assert_refused("'help' is not a valid device model name", 'device_add', driver='help')
        self.assertEqual(self.vm.output(), '')

    def check_format_help(self, text):
        self.vm.raw_drive(text).start()
        self.assertEqual(self.vm.process.wait(TIMEOUT), 0)
        lines = self.vm.output().splitlines()
        self.assertTrue(lines[0].startswith('Supported formats: '), lines)
        for name in ('raw', 'qcow2', 'file', 'null-co', 'blkdebug', 'quorum', 'throttle',
                     'copy-on-read'):
            self.assertIn(name, lines[0].split())
        self.assertTrue(lines[1].startswith('Supported formats (read-only): '), lines)
        self.assertIn('qcow2', lines[1].split())


class AsQemuIsStarted(Case):
    """The words with which QEMU's own harness and its users start a machine."""

    MACHINE = ('-display', 'none', '-vga', 'none', '-nodefaults', '-machine', 'pc', '-accel', 'tcg',
               '-m', '16', '-S', '-serial', 'none', '-parallel', 'none', '-monitor', 'none',
               '-boot', 'c', '-smp', '1', '-no-shutdown', '-no-reboot', '-no-user-config', '-net',
               'none', '-rtc', 'clock=vm', '-qtest-log', '/dev/null')

    def start(self, *words):
        errors = open(self.folder / 'stderr.txt', 'ab')
        self.addCleanup(errors.close)
        process = subprocess.Popen([BACKEND.program(), *self.MACHINE, *words], cwd=self.folder,
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stdin.close)
        return process

    def test_what_is_wrong_is_told_with_the_option_as_it_was_spelled(self):
        for words in (('-drive', 'if=nonsense'), ('--drive', 'if=nonsense'), ('-device', 'nope'),
                      ('-object', 'nope,id=x'), ('--blockdev', 'driver=file')):
            process = self.start(*words)
            self.assertEqual(process.wait(TIMEOUT), 1)
            told = self.vm.errors().splitlines()[-1]
            self.assertIn(f': {words[0]} {words[1]}: ', told)

    def test_a_list_of_machines_with_the_one_that_is_meant_where_none_is_named(self):
        for words in (('-machine', 'help'), ('-M', '?')):
            lines = subprocess.run([BACKEND.program(), *words], stdout=subprocess.PIPE, text=True,
                                   check=True, timeout=TIMEOUT).stdout.splitlines()
            self.assertEqual(lines[0], 'Supported machines are:')
            self.assertEqual(len([line for line in lines if line.endswith(' (default)')]), 1)

    def test_two_drives_of_one_place(self):
        process = self.start(*['-drive', 'if=virtio,index=1,driver=null-co'] * 2)
        self.assertEqual(process.wait(TIMEOUT), 1)
        self.assertIn('drive with bus=0, unit=1 (index=1) exists', self.vm.errors())

    def connected(self, process, name):
        """A client of a socket that the program makes."""
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(TIMEOUT)
        while client.connect_ex(str(self.folder / name)) != 0:
            self.assertIsNone(process.poll(), self.vm.errors())
            time.sleep(0.01)
        return client

    def listener(self, name):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.settimeout(TIMEOUT)
        listener.bind(str(self.folder / name))
        listener.listen(1)
        return listener

    def accepted(self, listener):
        client, _ = listener.accept()
        self.addCleanup(client.close)
        client.settimeout(TIMEOUT)
        return client

    def refused(self, *words):
        process = self.start(*words)
        self.assertEqual(process.wait(TIMEOUT), 1)
        text = self.vm.errors()
        os.truncate(self.folder / 'stderr.txt', 0)
        return text

    def test_a_monitor_on_standard_input_and_output(self):
        process = self.start('-qmp', 'stdio', '-name', 'guest=moon,debug-threads=on', '-uuid',
                             '12345678-1234-1234-1234-123456789ABC')
        said, _ = process.communicate(b'{"execute": "qmp_capabilities"}{"execute": "query-name"}'
                                      b'{"execute": "query-uuid"}{"execute": "quit"}', TIMEOUT)
        lines = [json.loads(line) for line in said.splitlines()]
        self.assertIn('QMP', lines[0])
        self.assertEqual(lines[1:4],
                         [{'return': {}}, {'return': {'name': 'moon'}},
                          {'return': {'UUID': '12345678-1234-1234-1234-123456789abc'}}])
        self.assertEqual(process.returncode, 0)

    def test_monitors_and_qtest_on_sockets_of_the_harness(self):
        qmp, pretty, qtest = (self.listener(name) for name in ('qmp', 'pretty', 'qtest'))
        process = self.start('-qmp', 'unix:qmp', '-qmp-pretty', 'unix:path=pretty', '-qtest',
                             'unix:path=qtest', '-name', 'sun')
        pretty = self.accepted(pretty).makefile('rw')
        self.assertEqual(pretty.readline(), '{\n')
        qtest = self.accepted(qtest).makefile('rw')
        for command, told in (('clock_step 100', 'clock_step'), ('frob', 'frob')):
            qtest.write(command + '\n')
            qtest.flush()
            self.assertEqual(qtest.readline(), f"FAIL Unknown command '{told}'\n")
        qmp = self.accepted(qmp).makefile('rw')
        self.assertIn('QMP', json.loads(qmp.readline()))
        qmp.write('{"execute": "qmp_capabilities"}{"execute": "query-name"}{"execute": "quit"}')
        qmp.flush()
        self.assertEqual(json.loads(qmp.readline()), {'return': {}})
        self.assertEqual(json.loads(qmp.readline()), {'return': {'name': 'sun'}})
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_monitors_on_sockets_of_its_own(self):
        for index, words in enumerate(('server=on,wait=off', 'server,nowait', 'server=on')):
            with self.subTest(words=words):
                name = f'socket{index}'
                process = self.start('-qmp', f'unix:{name},{words}')
                qmp = self.connected(process, name).makefile('rw')
                self.assertIn('QMP', json.loads(qmp.readline()))
                qmp.write('{"execute": "qmp_capabilities"}{"execute": "quit"}')
                qmp.flush()
                self.assertEqual(process.wait(TIMEOUT), 0)
                os.truncate(self.folder / 'stderr.txt', 0)

    def test_places_that_are_none(self):
        for words, part in (
                (('-qmp', 'frob:'), "'frob:' is not a valid char driver"),
                (('-qmp', 'none'), "'none' is not a valid char driver"),
                (('-qmp', 'chardev:c'), 'chardev "c" not found'),
                (('-qmp', 'unix:none'), "Failed to connect to 'none': No such file or directory"),
                (('-uuid', '1234'), 'failed to parse UUID string: wrong format'),
                (('-name', 'a,b=c'), "Invalid parameter 'b'")):
            with self.subTest(words=words):
                self.assertIn(part, self.refused(*words))


class FdSets(Case):
    """An image that the daemon may not open by its name comes as an inherited descriptor."""

    def opened(self, path, flags):
        file = os.fdopen(os.open(path, flags), 'rb', closefd=True)
        self.addCleanup(file.close)
        return file

    def test_a_drive_from_a_set(self):
        path = self.images.create('x.img', MIB)
        files = [self.opened(path, os.O_RDONLY), self.opened(path, os.O_RDWR)]
        for file in files:
            self.vm.add_fd(file.fileno(), 2, 'x.img')
        self.vm.drive('/dev/fdset/2').launch()
        for file in files:
            file.close()  # the locks belong to the open file, which we share
        self.vm.io('drive0', 'write -P 9 0 64K')
        self.images.io('x.img', 'write -P 1 0 64K', expect=(1,))  # it is locked
        self.assertEqual(self.vm.quit(), 0)
        self.assertTrue(self.images.holds('x.img', 9, 0, 65536))

    def test_a_set_without_a_writable_member_serves_readers_only(self):
        path = self.images.create('x.img', MIB)
        self.vm.add_fd(self.opened(path, os.O_RDONLY).fileno(), 7).launch()
        self.assert_refused('Could not dup FD for /dev/fdset/7 flags 2: Permission denied',
                            'blockdev-add', driver='file', node_name='f',
                            filename='/dev/fdset/7')
        self.vm.command('blockdev-add', driver='file', node_name='f', filename='/dev/fdset/7',
                        read_only=True)
        self.vm.command('blockdev-del', node_name='f')

    def test_a_set_that_is_not_there(self):
        self.vm.launch()
        self.assert_refused('Could not dup FD for /dev/fdset/9 flags 2: No such file or directory',
                            'blockdev-add', driver='file', node_name='f',
                            filename='/dev/fdset/9')
