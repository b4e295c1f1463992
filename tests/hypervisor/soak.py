#!/usr/bin/env python3
"""Soak: iotest 030's parallel cases over and over, in random order, in one daemon, under a guest.

    soak.py --iterations N [--seed M]
    soak.py --seconds S --seed-start N      as a campaign (tests/campaign/campaign.h)
    soak.py --iterations N --seed-start N   as one of nightly.py --iterations

MILLRACED names the daemon. Each iteration lays down a chain of nine images, opens it node by node,
plugs a guest's disk on top and runs one of the cases while the guest writes to it and to another
disk; then what the guest's disk shows is compared with what it must, the disk is unplugged, nodes and
files are deleted. After each the graph is empty of all but the guest's other disk, no job is left,
and the daemon has as many descriptors as before. Its resident memory is looked at after each: from
the second thousand of iterations to the last its median may grow by GROWTH_MAX, and none of those
after a warm-up may be far above the first. QEMU's tools make the images once, in a few variants of
each; an iteration copies a random one for each place in the chain.
Exit status: 0, 1 a failure (told with its seed), 77 the daemon is not there.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from run import SKIPPED  # noqa: E402
from support import backend  # noqa: E402
from support.images import MIB, Images  # noqa: E402
from support.machine import Machine  # noqa: E402

LAYERS = 9
SIZE = 16 * MIB
VARIANTS = 4  # of each image
PIECE = MIB  # what one image holds
GUEST_AREA = SIZE - MIB  # from here on no image holds anything: the guest writes there
GUEST_PIECE = 4096
WARM_UP = 100  # iterations after which memory is compared
LEAP_MAX = 8 * MIB  # of any iteration over the one after the warm-up: such a run is ended early
WINDOW = 1000  # iterations, of whose memory the median is taken
GROWTH_MAX = MIB  # from the second window to the last
BUSY = "Node '{}' is busy: block device is in use by block job: {}"


class Failure(Exception):
    pass


class Memory:
    """What the daemon had resident after each iteration, and whether that grows."""

    def __init__(self):
        self._bytes = []

    def note(self, resident):
        """Fails if this one is far above what there was after the warm-up."""
        self._bytes.append(resident)
        if len(self._bytes) >= WARM_UP and resident > self._bytes[WARM_UP - 1] + LEAP_MAX:
            raise Failure(f'{resident} bytes resident, {self._bytes[WARM_UP - 1]} after '
                          f'{WARM_UP} iterations')

    def growth(self):
        """From the median of the second window to that of the last; None if they would meet."""
        if len(self._bytes) < 3 * WINDOW:
            return None
        return round(statistics.median(self._bytes[-WINDOW:])
                     - statistics.median(self._bytes[WINDOW:2 * WINDOW]))

    def judge(self):
        growth = self.growth()
        if growth is not None and growth > GROWTH_MAX:
            raise Failure(f'the median of the last {WINDOW} iterations is {growth} bytes resident '
                          f'above that of the second {WINDOW}')

    def counts(self):
        """For the ledger, in which "first …" and "last …" do not add up."""
        if not self._bytes:
            return {}
        counts = {'first resident bytes': self._bytes[0], 'last resident bytes': self._bytes[-1]}
        if (growth := self.growth()) is not None:
            counts['last growth of resident bytes'] = growth
        return counts


class Soak:
    def __init__(self, program, seed):
        self._random = random.Random(seed)
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-soak-'))
        self._images = Images(self._folder)
        self._variants = [[self._make_variant(i, k) for k in range(VARIANTS)]
                          for i in range(LAYERS)]
        self._vm = Machine(program, self._folder)
        self._vm.drive(self._images.create('guest.img', SIZE)).launch()
        self._cases = [self._four_streams, self._stream_and_commit, self._stream_and_active_commit,
                       self._stream_and_active_commit_below, self._refused_by_a_stream,
                       self._refused_by_a_commit, self._refused_by_an_active_commit,
                       self._stream_over_a_commits_filter, self._commit_below_a_stream,
                       self._stream_with_a_base_by_name]
        self._shows = {}  # offset: (pattern, length), of the iteration's chain
        self._has_disk = False
        self._descriptors = []  # how many there were after the first iteration, and the last
        self._memory = Memory()
        self.done = 0
        self._cases_run = collections.Counter()

    def _make_variant(self, i, k):
        """(path, [(offset, pattern)]): an image for place i in the chain, and what it holds.

        One piece is where no other image has one, so that each job has something to do and is held
        by its speed; the other may hide pieces below, and be hidden.
        """
        name = f'variant-{i}-{k}'
        pieces = [(i * PIECE, self._random.randrange(1, 255)),
                  (self._random.randrange(LAYERS, GUEST_AREA // PIECE) * PIECE,
                   self._random.randrange(1, 255))]
        self._images.create(name, SIZE)
        self._images.io(name, *(f'write -q -P {pattern} {offset} {PIECE}'
                                for offset, pattern in pieces))
        if i:
            # The header names the place of the image below, where there is none yet.
            self._images.run('qemu-img', 'rebase', '-u', '-F', 'qcow2',
                             '-b', f'{self._folder}/img-{i - 1}', self._images.path(name))
        return self._images.path(name), pieces

    def close(self):
        self._vm.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- One iteration ---------------------------------------------------------------------------

    def iterate(self):
        self._make_chain()
        case = self._random.choice(self._cases)
        case()
        self._compare()
        self._take_down()
        self.done += 1
        self._cases_run[case.__name__.strip('_').replace('_', ' ')] += 1
        self._look()

    def _make_chain(self):
        """Opens node0 … node8, and plugs in the guest's disk over node8."""
        self._shows = {}
        for i in range(LAYERS):
            path, pieces = self._random.choice(self._variants[i])
            shutil.copyfile(path, self._folder / f'img-{i}')
            self._shows.update((offset, (pattern, PIECE)) for offset, pattern in pieces)
        for i in range(LAYERS):
            options = {'driver': 'qcow2', 'node-name': f'node{i}',
                       'file': {'driver': 'file', 'filename': f'{self._folder}/img-{i}'}}
            if i:
                options['backing'] = f'node{i - 1}'
            if i < LAYERS - 1:
                options['read-only'] = True
            self._command('blockdev-add', **options)
        self._command('device_add', driver='virtio-blk-pci', id='disk', drive='node8')
        self._has_disk = True

    def _command(self, command, **arguments):
        self._write()
        return self._vm.qmp.command(command, **arguments)

    def _write(self):
        """The guest goes on working, on a disk of its own and on the one that jobs work below."""
        pattern = self._random.randrange(1, 255)
        if not self._has_disk:
            self._vm.io('drive0', f'aio_write -q -P {pattern} {self._random.randrange(256) * 64}K 64K')
            return
        # One place is written once: of two requests under way nobody could say which is the last.
        offset = GUEST_AREA + sum(o >= GUEST_AREA for o in self._shows) * GUEST_PIECE
        self._shows[offset] = pattern, GUEST_PIECE
        self._io_disk(f'aio_write -q -P {pattern} {offset} {GUEST_PIECE}')

    def _io_disk(self, command):
        if told := self._vm.hmp(f'qemu-io -d /machine/peripheral/disk/virtio-backend "{command}"'):
            raise Failure(f'{command}: {told}')

    def _start(self, command, ident, **arguments):
        self._command(command, job_id=ident, speed=1024, **arguments)

    def _unlimited(self, *idents):
        order = list(idents)
        self._random.shuffle(order)
        for ident in order:
            self._write()
            # A job that has nothing to copy may be about to end, or be gone.
            reply = self._vm.reply('block-job-set-speed', device=ident, speed=0)
            told = reply.get('error', {}).get('desc', '')
            if told and not told.endswith('not found') and "in state 'pending'" not in told \
                    and "in state 'waiting'" not in told:
                raise Failure(told)

    def _ended(self, *idents):
        for ident in idents:
            event = self._vm.qmp.wait_event('BLOCK_JOB_COMPLETED', device=ident)
            if 'error' in event['data']:
                raise Failure(f'{ident}: {event["data"]["error"]}')
            self._vm.qmp.wait_event('JOB_STATUS_CHANGE', id=ident, status='null')

    # ---- The cases of section B ------------------------------------------------------------------

    def _four_streams(self):
        idents = []
        for i in (2, 4, 6, 8):
            idents.append(f'stream{i}-{self.done}')
            self._start('block-stream', idents[-1], device=f'node{i}', bottom=f'node{i - 1}')
        self._unlimited(*idents)
        self._ended(*idents)

    def _stream_and_commit(self):
        ids = f's-{self.done}', f'c-{self.done}'
        self._start('block-commit', ids[1], device='node8', top_node='node3', base_node='node1')
        self._start('block-stream', ids[0], device='node7', base_node='node4')
        self._unlimited(*ids)
        self._ended(*ids)

    def _stream_and_active_commit(self):
        ids = f's-{self.done}', f'a-{self.done}'
        self._start('block-stream', ids[0], device='node4', base_node='node0')
        self._start('block-commit', ids[1], device='node8', base_node='node5')
        self._unlimited(*ids)
        self._vm.qmp.wait_event('BLOCK_JOB_READY', device=ids[1])
        self._command('block-job-complete', device=ids[1])
        self._ended(*ids)

    def _stream_and_active_commit_below(self):
        ids = f's-{self.done}', f'a-{self.done}'
        self._start('block-stream', ids[0], device='node2', base_node='node0')
        self._start('block-commit', ids[1], device='node8', base_node='node3')
        self._unlimited(*ids)
        self._vm.qmp.wait_event('BLOCK_JOB_READY', device=ids[1])
        self._command('block-job-complete', device=ids[1])
        self._ended(*ids)

    def _refused(self, text, command, **arguments):
        """The command is refused with exactly this text."""
        self._write()
        reply = self._vm.reply(command, job_id=f'x-{self.done}', **arguments)
        error = reply.get('error', {})
        if (error.get('class'), error.get('desc')) != ('GenericError', text):
            raise Failure(f'{command} {arguments}: {reply}, not {text!r}')

    def _busy(self, node, kind, command, **arguments):
        """The command is refused because of a node that a job of this kind is at work on."""
        self._refused(BUSY.format(node, kind), command, **arguments)

    def _refused_by_a_stream(self):
        ident = f'o-{self.done}'
        self._start('block-stream', ident, device='node4', base_node='node1',
                    filter_node_name='stream-filter')
        self._busy('stream-filter', 'stream', 'block-stream', device='node5', base_node='node2')
        self._busy('node3', 'stream', 'block-stream', device='node3', base_node='node2')
        self._busy('node4', 'stream', 'block-stream', device='node4')
        self._busy('stream-filter', 'stream', 'block-commit', device='node8', base_node='node4')
        self._busy('node3', 'stream', 'block-commit', device='node8', top_node='node3',
                   base_node='node1')
        self._busy('node2', 'stream', 'block-commit', device='node8', top_node='node1',
                   base_node='node0')
        self._unlimited(ident)
        self._ended(ident)

    def _refused_by_a_commit(self):
        ident = f'o-{self.done}'
        self._start('block-commit', ident, device='node8', top_node='node5', base_node='node3')
        self._busy('node3', 'commit', 'block-stream', device='node3')
        self._busy('node5', 'commit', 'block-stream', device='node6', base_node='node2')
        self._busy('node4', 'commit', 'block-stream', device='node4', base_node='node2')
        self._busy('node5', 'commit', 'block-stream', device='node6', base_node='node4')
        self._busy('node8', 'commit', 'block-stream', device='node8', base_node='node5')
        self._unlimited(ident)
        self._ended(ident)

    def _refused_by_an_active_commit(self):
        ident = f'o-{self.done}'
        self._start('block-commit', ident, device='node8', base_node='node3')
        self._busy('node5', 'commit', 'block-stream', device='node5', base_node='node3')
        self._unlimited(ident)
        self._vm.qmp.wait_event('BLOCK_JOB_READY', device=ident)
        self._command('block-job-complete', device=ident)
        self._ended(ident)

    def _stream_over_a_commits_filter(self):
        ident = f'o-{self.done}'
        self._start('block-commit', ident, device='node8', top_node='node2', base_node='node0',
                    filter_node_name='commit-filter')
        self._refused("Cannot freeze 'backing' link to 'commit-filter'", 'block-stream',
                      device='node4', base_node='node2')
        self._unlimited(ident)
        self._ended(ident)

    def _commit_below_a_stream(self):
        ids = f's-{self.done}', f'c-{self.done}'
        self._start('block-commit', ids[1], device='node8', top_node='node2', base_node='node0',
                    filter_node_name='commit-filter')
        self._start('block-stream', ids[0], device='node4', base_node='commit-filter')
        self._unlimited(*ids)
        self._ended(*ids)

    def _stream_with_a_base_by_name(self):
        for text, base in (
                ("Cannot find device='' nor node-name='none'", {'base_node': 'none'}),
                ("Node 'node6' is not a backing image of 'node4'", {'base_node': 'node6'}),
                ("Node 'node4' is not a backing image of 'node4'", {'base_node': 'node4'}),
                ("'base' and 'base-node' cannot be specified at the same time",
                 {'base': f'{self._folder}/img-2', 'base_node': 'node2'})):
            self._refused(text, 'block-stream', device='node4', **base)
        ident = f's-{self.done}'
        self._start('block-stream', ident, device='node4', base_node='node2')
        self._unlimited(ident)
        self._ended(ident)

    # ---- Afterwards ------------------------------------------------------------------------------

    def _compare(self):
        """What the guest reads, by the daemon itself: verified by qemu-io's patterns."""
        self._io_disk('aio_flush')
        before = self._said()
        for offset, (pattern, length) in self._shows.items():
            self._io_disk(f'read -q -P {pattern} {offset} {length}')
        if (now := self._said()) != before:
            raise Failure(f"the guest's disk shows something else: {self._vm.output()[before:now]}")

    def _said(self):
        """How much qemu-io has printed so far: nothing but mistakes."""
        return (self._folder / 'stdout.txt').stat().st_size

    def _take_down(self):
        self._has_disk = False
        self._command('device_del', id='disk')
        self._vm.qmp.wait_event('DEVICE_DELETED', device='disk')
        for i in reversed(range(LAYERS)):
            reply = self._vm.reply('blockdev-del', node_name=f'node{i}')
            if 'error' in reply and 'Failed to find' not in reply['error']['desc']:
                raise Failure(reply['error']['desc'])
        for path in self._folder.glob('img-*'):
            path.unlink()
        self._vm.io('drive0', 'aio_flush')
        if jobs := self._vm.qmp.command('query-jobs'):
            raise Failure(f'jobs are left: {jobs}')
        nodes = self._vm.qmp.command('query-named-block-nodes', flat=True)
        if len(nodes) != 2:
            raise Failure(f'nodes are left: {[node["node-name"] for node in nodes]}')
        self._vm.qmp.forget()

    def _look(self):
        descriptors = len(os.listdir(f'/proc/{self._vm.process.pid}/fd'))
        self._descriptors = [*self._descriptors[:1], descriptors]
        if descriptors != self._descriptors[0]:
            raise Failure(f'{descriptors} descriptors, before {self._descriptors[0]}')
        with open(f'/proc/{self._vm.process.pid}/statm', encoding='ascii') as file:
            self._memory.note(int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE'))

    def judge(self):
        """What can be said only of all iterations."""
        self._memory.judge()

    def counts(self):
        """What was run and seen, for the ledger."""
        counts = {'iterations': self._cases_run.total(), **self._cases_run, **self._memory.counts()}
        if self._descriptors:
            counts.update({'first descriptors': self._descriptors[0],
                           'last descriptors': self._descriptors[-1]})
        return counts

    def quit(self):
        if status := self._vm.quit():
            raise Failure(f'exit status {status}')


class Stop:
    """Whether SIGTERM has come: the iteration that runs is brought to its end."""

    def __init__(self):
        self._has_come = False
        signal.signal(signal.SIGTERM, self._come)

    def _come(self, *_):
        self._has_come = True

    def __bool__(self):
        return self._has_come


def run(program, seed, iterations, deadline):
    """(what was run and seen, the failure's text or nothing)"""
    soak, stop = Soak(program, seed), Stop()
    try:
        while not stop and soak.done < iterations and (deadline is None or time.monotonic() < deadline):
            soak.iterate()
        soak.judge()
        soak.quit()
        return soak.counts(), None
    except Exception as error:  # whatever it is, its seed must be told
        return soak.counts(), f'seed {seed}, iteration {soak.done}: {type(error).__name__}: {error}'
    finally:
        soak.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--iterations', type=int, default=10 ** 9)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--seconds', type=float)
    parser.add_argument('--seed-start', type=int)
    options = parser.parse_args()
    program = backend.find('millraced')
    if program.missing:
        print(f'SKIPPED: {program.missing}')
        return SKIPPED
    seed = options.seed_start if options.seed_start is not None else options.seed
    deadline = None if options.seconds is None else time.monotonic() + options.seconds
    if deadline is None and options.iterations == 10 ** 9:
        options.iterations = 100
    counts, failure = run(program, seed, options.iterations, deadline)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is over: the way out is not interrupted
    if failure:
        print(failure, file=sys.stderr)
    print(json.dumps({'seed_from': seed, 'seed_to': seed, 'failures': 1 if failure else 0,
                      'counts': counts}))
    return 1 if failure else 0


if __name__ == '__main__':
    sys.exit(main())
