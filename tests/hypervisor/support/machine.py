"""A machine under test: described neutrally, started, driven over QMP, ended."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / 'examples/hypervisor/client'))
from qmp import QmpClient, QmpClosed, QmpError, QmpTimeout  # noqa: E402,F401  (for the cases)

TIMEOUT = float(os.environ.get('HYPERVISOR_TIMEOUT', '60'))


class Machine:
    """Options in the order of the calls, per kind; launch() starts the program.

    It is started as QEMU's own test harness does it: one end of a socketpair is inherited and
    becomes the chardev of a monitor, `qmp` is the client on the other end.
    """

    def __init__(self, backend, folder):
        self.backend = backend
        self.folder = folder
        self.fd_sets, self.chardevs, self.objects, self.blockdevs = [], [], [], []
        self.drives, self.devices, self.monitors, self.pidfiles = [], [], [], []
        self.strict_gate, self.open_root = False, None  # of millraced: what image headers may open
        self.inherited = []
        self.process = None
        self.qmp = None
        self.environment = None

    # ---- The description -------------------------------------------------------------------------

    def add_fd(self, fd, fd_set, opaque=None):
        """The program inherits `fd` as a member of a set: /dev/fdset/N opens it."""
        self.inherited.append(fd)
        self.fd_sets.append(f'fd={fd},set={fd_set}' + (f',opaque={opaque}' if opaque else ''))
        return self

    def chardev(self, text):
        self.chardevs.append(text)
        return self

    def monitor(self, text):
        self.monitors.append(text)
        return self

    def object(self, text):
        self.objects.append(text)
        return self

    def blockdev(self, options):
        """key=value text, or a dictionary, which is passed as JSON."""
        self.blockdevs.append(options if isinstance(options, str) else json.dumps(options))
        return self

    def drive(self, path=None, options='', interface='virtio', image_format='qcow2', ident=None):
        """A drive as QEMU's test harness spells it; the ids are drive0, drive1 …"""
        ident = ident or f'drive{len(self.drives)}'
        words = [f'if={interface}', f'id={ident}']
        if path is not None:
            words += [f'file={path}', f'format={image_format}', 'cache=writeback', 'aio=threads']
        self.drives.append(','.join(words + ([options] if options else [])))
        return self

    def raw_drive(self, text):
        self.drives.append(text)
        return self

    def device(self, text):
        self.devices.append(text)
        return self

    # ---- Life ------------------------------------------------------------------------------------

    def launch(self, negotiate=True):
        """Starts the program and connects. If it ends at once, QmpClosed carries its stderr."""
        ours, theirs = socket.socketpair()
        try:
            self.chardevs.insert(0, f'socket,id=mon,fd={theirs.fileno()}')
            self.monitors.insert(0, 'chardev=mon,mode=control')
            self.start(pass_fds=(theirs.fileno(),))
        finally:
            theirs.close()
        try:
            self.qmp = QmpClient.from_fd(ours, TIMEOUT, negotiate)
        except QmpClosed as error:
            raise QmpClosed(f'{error}; stderr: {self.errors() or "empty"}') from None
        return self

    def start(self, pass_fds=(), stdin=subprocess.DEVNULL, stdout=None):
        """Starts the program without connecting to it."""
        with open(self.folder / 'stdout.txt', 'ab') as output, \
             open(self.folder / 'stderr.txt', 'ab') as errors:
            self.process = subprocess.Popen(
                self.backend.command_line(self), cwd=self.folder, stdin=stdin,
                stdout=stdout or output, stderr=errors, env=self.environment,
                pass_fds=(*pass_fds, *self.inherited))
        return self

    def output(self):
        return (self.folder / 'stdout.txt').read_text(errors='replace')

    def errors(self):
        return (self.folder / 'stderr.txt').read_text(errors='replace')

    def descriptors(self, path=None):
        """The program's descriptors, of one file or all but the standard ones, and whether each is
        closed when it starts another program."""
        folder = f'/proc/{self.process.pid}'
        told = {}
        for number in os.listdir(f'{folder}/fd'):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                is_asked = path is None or os.path.samefile(f'{folder}/fd/{number}', path)
                lines = pathlib.Path(f'{folder}/fdinfo/{number}').read_text(encoding='ascii')
                flags = next(line for line in lines.splitlines() if line.startswith('flags:'))
                if is_asked and int(number) > 2:
                    told[int(number)] = bool(int(flags.split()[1], 8) & os.O_CLOEXEC)
        return told

    def wait_exit(self):
        """The exit status; a program that does not end in time is a failure."""
        return self.process.wait(TIMEOUT)

    def quit(self):
        """Ends the program by QMP and returns its exit status."""
        self.qmp.command('quit')
        status = self.wait_exit()
        self.qmp.close()
        return status

    def kill(self):
        """For the end of a test that failed: leaves nothing behind."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.qmp:
            self.qmp.close()

    # ---- Driving it ------------------------------------------------------------------------------

    def command(self, name, **arguments):
        return self.qmp.command(name, **arguments)

    def reply(self, name, **arguments):
        """The whole reply, refusals included; underscores in argument names mean dashes."""
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()}
        return self.qmp.execute(name, arguments or None)

    def hmp(self, text):
        return self.command('human-monitor-command', command_line=text)

    def io(self, drive, command, device_id=False):
        """qemu-io on a drive, a node, or (device_id) the drive of a guest device."""
        return self.hmp(f'qemu-io {"-d " if device_id else ""}{drive} "{command}"')
