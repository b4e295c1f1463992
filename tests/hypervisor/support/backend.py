"""The programs under test, behind one face: a neutral description becomes each one's command line.

QEMU is the oracle: every case is first made to pass against it. A case never asks which program
it talks to; where the two differ on purpose, the difference is listed (expected_failures.txt,
allowed_differences.py), with the reason.
"""

import os
import shutil


class Backend:
    """One program: where it is, and how it spells what a machine consists of."""

    name = ''
    missing = ''  # why cases cannot run against it here; empty if they can
    has_devices = True
    reads_blocks = True  # QEMU reads its monitor one byte at a time: a mebibyte takes seconds

    def program(self):
        raise NotImplementedError

    def command_line(self, machine):
        """The words of the command that starts `machine` (machine.py), program first."""
        raise NotImplementedError


def _each(option, values):
    return [word for value in values for word in (option, value)]


class Qemu(Backend):
    """qemu-system-x86_64 with nothing in it but what the description says; no guest ever runs."""

    name = 'qemu'
    reads_blocks = False

    def __init__(self):
        if not shutil.which(self.program()):
            self.missing = f'{self.program()} is not installed (Debian: qemu-system-x86)'

    def program(self):
        return os.environ.get('QEMU_SYSTEM', 'qemu-system-x86_64')

    def command_line(self, machine):
        return [self.program(), '-nodefaults', '-display', 'none', '-vga', 'none', '-S',
                '-machine', 'pc', '-accel', 'tcg,tb-size=1', '-m', '16',
                *_each('-add-fd', machine.fd_sets),
                *_each('-chardev', machine.chardevs),
                *_each('-object', machine.objects),
                *_each('-blockdev', machine.blockdevs),
                *_each('-drive', machine.drives),
                *_each('-device', machine.devices),
                *_each('-mon', machine.monitors),
                *_each('-pidfile', machine.pidfiles)]


class StorageDaemon(Backend):
    """qemu-storage-daemon: millraced's own command line, without drives and devices."""

    name = 'qemu-storage-daemon'
    has_devices = False
    reads_blocks = False

    def __init__(self):
        if not shutil.which(self.program()):
            self.missing = f'{self.program()} is not installed (Debian: qemu-system-common)'

    def program(self):
        return 'qemu-storage-daemon'

    def command_line(self, machine):
        if machine.drives or machine.devices or machine.fd_sets:
            raise ValueError('qemu-storage-daemon knows no drives, devices and fd sets')
        return [self.program(), *_daemon_words(machine)]


class Millraced(Backend):
    """millraced, whose path is in the environment (MILLRACED), with more words for its command line
    in MILLRACED_OPTIONS."""

    name = 'millraced'

    def __init__(self):
        if not os.access(self.program(), os.X_OK):
            self.missing = 'MILLRACED does not name the millraced program'

    def program(self):
        return os.environ.get('MILLRACED', '')

    def command_line(self, machine):
        # Images of QEMU's tests have names like blkdebug:… in their headers.
        gate = [] if machine.strict_gate else ['--open-gate', 'qemu']
        if machine.open_root:
            gate += ['--open-root', machine.open_root]
        more = os.environ.get('MILLRACED_OPTIONS', '').split()
        return [self.program(), *gate, *more, *_daemon_words(machine)]


def _daemon_words(machine):
    return [*_each('--add-fd', machine.fd_sets),
            *_each('--chardev', machine.chardevs),
            *_each('--object', machine.objects),
            *_each('--blockdev', machine.blockdevs),
            *_each('--drive', machine.drives),
            *_each('--device', machine.devices),
            *_each('--monitor', machine.monitors),
            *_each('--pidfile', machine.pidfiles)]


def find(name):
    for backend in (Qemu, StorageDaemon, Millraced):
        if backend.name == name:
            return backend()
    raise SystemExit(f'no backend {name!r}: qemu, qemu-storage-daemon or millraced')
