#!/usr/bin/env python3
"""Boots a real Linux guest from an NBD export while jobs run below its disk; see README.md.

    run.py --daemon PATH [--minutes 1] [--accel auto|kvm|tcg] [--keep] [--cache FOLDER]

Prints a line per step. Exit status 0: all held; 1: something did not; 77: something is missing.
"""

import argparse
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / 'examples/hypervisor/client')]
import initramfs  # noqa: E402
from qmp import QmpClient  # noqa: E402

DISK_MIB = 512
BOOT_SECONDS = 300  # TCG on a busy machine; deadlines only end a broken run
SKIPPED = 77
SPEED = 16 << 20  # of jobs, in bytes a second: so that the guest writes meanwhile


class Failed(Exception):
    """What should have held did not."""


def say(text):
    print(f'{time.strftime("%H:%M:%S")} {text}', flush=True)


def qemu_img(*words):
    done = subprocess.run(['qemu-img', *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f'qemu-img {" ".join(words)}: {done.stdout}{done.stderr}')
    return done.stdout


class Guest:
    """qemu-system with one disk; what its process 1 says on the console, line by line."""

    def __init__(self, options, kernel, initrd, disk, mode):
        console = f'console=ttyS0 quiet loglevel=3 panic=-1 guest={mode}'
        self.process = subprocess.Popen(
            ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none',
             '-no-reboot', '-machine', f'q35,accel={options.accel}', '-m', '384', '-smp', '2',
             '-kernel', str(kernel), '-initrd', str(initrd), '-append', console,
             '-serial', 'stdio', '-blockdev',
             f'driver=nbd,node-name=disk,server.type=unix,server.path={disk},export=disk,'
             'discard=unmap,cache.direct=on,cache.no-flush=off',
             '-device', 'virtio-blk-pci,drive=disk,discard=on,write-zeroes=on'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors='replace')
        self.lines = queue.Queue()
        self.heard = []
        self.rounds = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip())
        self.lines.put(None)

    def take(self, seconds):
        """The next thing that the guest says within that time; '' for silence."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return ''
            if line is None:
                raise Failed('the guest ended unasked; its console:\n' + '\n'.join(self.heard[-40:]))
            self.heard.append(line)
            _, found, told = line.partition('GUEST: ')
            if not found:
                continue
            if told.startswith('FAILED'):
                raise Failed(f'the guest says: {told}\n' + '\n'.join(self.heard[-40:]))
            if told.startswith('round '):
                self.rounds = int(told.split()[1])
            return told

    def wait(self, beginning):
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            told = self.take(deadline - time.monotonic())
            if told.startswith(beginning):
                return told
        raise Failed(f'the guest did not say "{beginning}"; its console:\n'
                     + '\n'.join(self.heard[-40:]))

    def stop(self):
        """Ends the rounds; what the guest says in the end."""
        self.process.stdin.write('stop\n')
        self.process.stdin.flush()
        told = self.wait('done')
        self.end()
        return told

    def end(self):
        if self.process.wait(BOOT_SECONDS):
            raise Failed(f'qemu-system ended with {self.process.returncode}')

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Host:
    """The daemon, its chain of images, and the jobs."""

    def __init__(self, options, folder):
        self.folder = folder
        self.socket = folder / 'nbd.sock'
        self.chain = []  # bottom first, names of nodes; NAME.qcow2 is the image
        self.made = 0
        self.ran = {}
        self.log = open(folder / 'daemon.log', 'wb')
        self.daemon = subprocess.Popen(
            [options.daemon, '--chardev',
             f'socket,id=qmp,path={folder / "qmp.sock"},server=on,wait=off',
             '--monitor', 'chardev=qmp', '--object', 'throttle-group,id=limits,x-iops-total=2000'],
            stdout=self.log, stderr=self.log)
        self.qmp = QmpClient.connect(folder / 'qmp.sock')
        for name in ('base', 'mid', 'top'):
            self.add(name)
        self.qmp.command('nbd-server-start', addr={'type': 'unix',
                                                   'data': {'path': str(self.socket)}})
        self.qmp.execute('block-export-add', {
            'type': 'nbd', 'id': 'export', 'node-name': 'top', 'name': 'disk', 'writable': True})

    def path(self, name):
        return str(self.folder / f'{name}.qcow2')

    def add(self, name):
        backing = self.chain[-1] if self.chain else None
        words = ['create', '-q', '-f', 'qcow2']
        if backing:
            words += ['-b', self.path(backing), '-F', 'qcow2']
        qemu_img(*words, self.path(name), f'{DISK_MIB}M')
        more = {'backing': backing} if backing else {}
        self.qmp.command('blockdev-add', driver='qcow2', node_name=name, discard='unmap',
                         file={'driver': 'file', 'filename': self.path(name)}, **more)
        self.chain.append(name)

    def drop(self, name):
        self.chain.remove(name)
        self.qmp.command('blockdev-del', node_name=name)
        os.unlink(self.path(name))

    def count(self, what):
        self.ran[what] = self.ran.get(what, 0) + 1

    def ended(self, job):
        event = self.qmp.wait_event('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED', device=job)
        if 'error' in event['data'] or event['event'] != 'BLOCK_JOB_COMPLETED':
            raise Failed(f'job {job}: {event}')
        self.qmp.wait_event('JOB_STATUS_CHANGE', id=job, status='null')

    # ---- What happens below the guest --------------------------------------------------------------

    def snapshot(self):
        self.made += 1
        name = f's{self.made}'
        qemu_img('create', '-q', '-f', 'qcow2', '-b', self.path(self.chain[-1]), '-F', 'qcow2',
                 self.path(name), f'{DISK_MIB}M')
        self.qmp.command('blockdev-add', driver='qcow2', node_name=name, backing=None,
                         discard='unmap', file={'driver': 'file', 'filename': self.path(name)})
        self.qmp.command('blockdev-snapshot', node=self.chain[-1], overlay=name)
        self.chain.append(name)
        self.count('snapshots')

    def stream(self):
        """The layers between the active one and the base go up."""
        active, base = self.chain[-1], self.chain[0]
        self.qmp.command('block-stream', device=active, job_id='stream', base_node=base,
                         speed=SPEED)
        self.ended('stream')
        for name in self.chain[-2:0:-1]:
            self.drop(name)
        self.count('streams')

    def commit(self):
        """A layer in the middle goes down."""
        lower, upper = self.chain[-3], self.chain[-2]
        self.qmp.command('block-commit', device=self.chain[-1], job_id='commit', top_node=upper,
                         base_node=lower, speed=SPEED)
        self.ended('commit')
        self.drop(upper)
        self.count('commits')

    def active_commit(self):
        active, lower = self.chain[-1], self.chain[-2]
        self.qmp.command('block-commit', device=active, job_id='active', base_node=lower,
                         speed=SPEED)
        self.qmp.wait_event('BLOCK_JOB_READY', device='active')
        self.qmp.command('block-job-complete', device='active')
        self.ended('active')
        self.drop(active)
        self.count('active commits')

    def filter_in_and_out(self):
        reply = self.qmp.execute('x-millrace-insert-filter', {
            'job-id': 'in', 'node-name': self.chain[-1],
            'filter': {'driver': 'throttle', 'node-name': 'throttle', 'throttle-group': 'limits'}})
        if reply.get('error', {}).get('class') == 'CommandNotFound':
            return  # QEMU has no such command
        if 'error' in reply:
            raise Failed(f'x-millrace-insert-filter: {reply}')
        self.ended('in')
        self.qmp.command('x-millrace-remove-filter', job_id='out', node_name='throttle')
        self.ended('out')
        self.count('filters in and out')

    def together(self):
        """A stream and a commit in the middle, at once; a filter comes and goes above both."""
        while len(self.chain) < 6:
            self.snapshot()
        base, first, second, third, fourth, active = self.chain[-6:]
        self.qmp.command('block-stream', device=fourth, job_id='stream', base_node=second,
                         speed=SPEED)
        self.qmp.command('block-commit', device=active, job_id='commit', top_node=first,
                         base_node=base, speed=SPEED)
        self.filter_in_and_out()
        self.ended('stream')
        self.ended('commit')
        self.drop(third)
        self.drop(first)
        self.count('streams and commits together')

    def stop(self):
        self.qmp.command('nbd-server-stop')
        self.qmp.command('quit')
        if self.daemon.wait(60):
            raise Failed(f'the daemon ended with {self.daemon.returncode}')
        self.qmp.close()

    def kill(self):
        if self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()


def kvm_works(kernel, initrd):
    """Whether a guest gets as far as its process 1 under KVM: nested ones do not always."""
    if not os.access('/dev/kvm', os.W_OK):
        return False
    try:
        done = subprocess.run(
            ['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none',
             '-no-reboot', '-machine', 'q35,accel=kvm', '-m', '384', '-kernel', str(kernel),
             '-initrd', str(initrd), '-append', 'console=ttyS0 quiet panic=-1 guest=verify',
             '-serial', 'stdio'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors='replace', timeout=30, check=False)
    except subprocess.TimeoutExpired:
        return False
    return 'GUEST: FAILED mount' in done.stdout  # there was no disk


def write_while_jobs_run(options, guest, host):
    guest.wait('ready')
    say('guest: file system made and mounted')
    deadline = time.monotonic() + options.minutes * 60
    while time.monotonic() < deadline or min(host.ran.values(), default=0) < 1 or guest.rounds < 3:
        for step in (host.snapshot, host.filter_in_and_out, host.snapshot, host.commit,
                     host.together, host.stream, host.snapshot, host.active_commit):
            before, started = guest.rounds, time.monotonic()
            step()
            while guest.rounds == before:  # what the guest writes is what the next step moves
                guest.wait('round')
            say(f'host: {step.__name__} took {time.monotonic() - started:.2f} s; '
                f'guest went from round {before} to {guest.rounds}')
    say(f'guest: {guest.stop()}; unmounted, e2fsck -fn found nothing')


def check_from_outside(host):
    active = host.path(host.chain[-1])
    for name in host.chain:
        qemu_img('check', '-q', host.path(name))
    raw = str(host.folder / 'disk.raw')
    qemu_img('convert', '-O', 'raw', active, raw)
    fsck = shutil.which('e2fsck') or shutil.which('e2fsck', path='/sbin:/usr/sbin')
    done = subprocess.run([fsck, '-f', '-n', raw], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f'e2fsck on the host: {done.stdout}{done.stderr}')
    say('host: qemu-img check of every image and e2fsck -fn of the disk found nothing')


def run(options, folder):
    kernel, initrd = initramfs.build(options.cache)
    if options.accel == 'auto':
        options.accel = 'kvm' if kvm_works(kernel, initrd) else 'tcg'
    say(f'kernel {kernel.name}, {options.accel}')
    guest = None
    host = Host(options, folder)
    try:
        guest = Guest(options, kernel, initrd, host.socket, 'write')
        write_while_jobs_run(options, guest, host)
        rounds = guest.rounds
        guest = Guest(options, kernel, initrd, host.socket, 'verify')
        say(f'guest, booted again: {guest.wait("verified")}')
        guest.end()
        host.stop()
        check_from_outside(host)
    finally:
        if guest:
            guest.kill()
        host.kill()
    say('PASSED: ' + ', '.join([f'{rounds} rounds of the guest']
                               + [f'{count} {what}' for what, count in host.ran.items()]))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--daemon', required=True)
    parser.add_argument('--minutes', type=float, default=1)
    parser.add_argument('--accel', default='auto', choices=('auto', 'kvm', 'tcg'))
    parser.add_argument('--cache', type=pathlib.Path,
                        default=pathlib.Path(tempfile.gettempdir()) / 'millrace-guest')
    parser.add_argument('--keep', action='store_true', help='keep the images')
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-guest-run-'))
    try:
        for program in ('qemu-system-x86_64', 'qemu-img'):
            if not shutil.which(program):
                raise initramfs.Missing(f'{program} is not installed')
        run(options, folder)
        return 0
    except initramfs.Missing as missing:
        say(f'SKIPPED: {missing}')
        return SKIPPED
    except Failed as failure:
        say(f'FAILED: {failure}')
        print((folder / 'daemon.log').read_text(errors='replace')[-2000:])
        return 1
    finally:
        if options.keep:
            say(f'images are in {folder}')
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    sys.exit(main())
