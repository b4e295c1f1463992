#!/usr/bin/env python3
"""Soak: iotest 030's parallel cases over and over, in random order, in one daemon, under a guest.

    soak.py --iterations N [--seed M]
    soak.py --seconds S --seed-start N      as a campaign (tests/campaign/campaign.h)

MILLRACED names the daemon. Each iteration makes a chain of nine images, opens it as a drive's tree
by blockdev-add, runs one of the cases while a guest writes, compares what the chain shows with what
it must, deletes the nodes and the files. After each the graph is empty of all but the guest's own
drive, no job is left, and the daemon has as many descriptors as before; every so often its resident
memory is looked at: after a warm-up it must not grow.
Exit status: 0, 1 a failure (told with its seed), 77 the daemon is not there.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
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
WARM_UP = 20  # iterations after which memory is compared
GROWTH_MAX = 8 * MIB
LOOK_EVERY = 10


class Failure(Exception):
    pass


class Soak:
    def __init__(self, program, seed):
        self._random = random.Random(seed)
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix='millrace-soak-'))
        self._images = Images(self._folder)
        self._vm = Machine(program, self._folder)
        self._vm.drive(self._images.create('guest.img', SIZE)).launch()
        self._cases = [self._four_streams, self._stream_and_commit, self._stream_and_active_commit,
                       self._refused_overlap, self._commit_below_a_stream]
        self._descriptors = None
        self._memory = None
        self.done = 0

    def close(self):
        self._vm.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- One iteration ---------------------------------------------------------------------------

    def iterate(self):
        expected = self._make_chain()
        self._random.choice(self._cases)()
        self._compare(expected)
        self._take_down()
        self.done += 1
        self._look()

    def _make_chain(self):
        """Opens node0 … node8, node8 on top. Returns what the chain shows: [(pattern, offset)]."""
        shows = {}
        for i in range(LAYERS):
            self._images.create(f'img-{i}', SIZE, backing=f'{self._folder}/img-{i - 1}' if i else None)
        for i in range(LAYERS):
            offset = self._random.randrange(SIZE // MIB) * MIB
            pattern = self._random.randrange(1, 255)
            self._images.io(f'img-{i}', f'write -q -P {pattern} {offset} {MIB}')
            shows[offset] = pattern
        for i in range(LAYERS):
            options = {'driver': 'qcow2', 'node-name': f'node{i}',
                       'file': {'driver': 'file', 'filename': f'{self._folder}/img-{i}'}}
            if i:
                options['backing'] = f'node{i - 1}'
            if i < LAYERS - 1:
                options['read-only'] = True
            self._command('blockdev-add', **options)
        return shows

    def _command(self, command, **arguments):
        self._write()
        return self._vm.qmp.command(command, **arguments)

    def _write(self):
        """The guest goes on working on a disk of its own, and on the chain's top."""
        self._vm.io('drive0', f'aio_write -q -P 1 {self._random.randrange(256) * 64}K 64K')

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

    def _refused_overlap(self):
        ident = f'o-{self.done}'
        self._start('block-stream', ident, device='node4', base_node='node1',
                    filter_node_name='stream-filter')
        for arguments in ({'device': 'node5', 'base_node': 'node2'},
                          {'device': 'node3', 'base_node': 'node2'}, {'device': 'node4'}):
            reply = self._vm.reply('block-stream', job_id=f'x-{self.done}', **arguments)
            if 'error' not in reply:
                raise Failure(f'an overlapping stream was accepted: {arguments}')
        self._unlimited(ident)
        self._ended(ident)

    def _commit_below_a_stream(self):
        ids = f's-{self.done}', f'c-{self.done}'
        self._start('block-commit', ids[1], device='node8', top_node='node2', base_node='node0',
                    filter_node_name='commit-filter')
        self._start('block-stream', ids[0], device='node4', base_node='commit-filter')
        self._unlimited(*ids)
        self._ended(*ids)

    # ---- Afterwards ------------------------------------------------------------------------------

    def _compare(self, shows):
        """What is read through the top, by the daemon itself: verified by qemu-io's patterns."""
        names = {node['node-name'] for node in
                 self._vm.qmp.command('query-named-block-nodes', flat=True)}
        top = next(name for name in (f'node{i}' for i in reversed(range(LAYERS))) if name in names)
        before = len(self._vm.output())
        for offset, pattern in shows.items():
            self._vm.io(top, f'read -q -P {pattern} {offset} {MIB}')
        if told := self._vm.output()[before:]:
            raise Failure(f'the chain shows something else: {told}')

    def _take_down(self):
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

    def _look(self):
        descriptors = len(os.listdir(f'/proc/{self._vm.process.pid}/fd'))
        if self._descriptors is None:
            self._descriptors = descriptors
        elif descriptors != self._descriptors:
            raise Failure(f'{descriptors} descriptors, before {self._descriptors}')
        if self.done % LOOK_EVERY or self.done < WARM_UP:
            return
        with open(f'/proc/{self._vm.process.pid}/statm', encoding='ascii') as file:
            memory = int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        if self._memory is None:
            self._memory = memory
        elif memory > self._memory + GROWTH_MAX:
            raise Failure(f'{memory} bytes resident, {self._memory} after {WARM_UP} iterations')

    def quit(self):
        if status := self._vm.quit():
            raise Failure(f'exit status {status}')


def run(program, seed, iterations, deadline):
    """(iterations done, the failure's text or nothing)"""
    soak = Soak(program, seed)
    try:
        while soak.done < iterations and (deadline is None or time.monotonic() < deadline):
            soak.iterate()
        soak.quit()
        return soak.done, None
    except Exception as error:  # whatever it is, its seed must be told
        return soak.done, f'seed {seed}, iteration {soak.done}: {type(error).__name__}: {error}'
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
    done, failure = run(program, seed, options.iterations, deadline)
    if failure:
        print(failure, file=sys.stderr)
    print(json.dumps({'seed_from': seed, 'seed_to': seed, 'failures': 1 if failure else 0,
                      'counts': {'iterations': done}}))
    return 1 if failure else 0


if __name__ == '__main__':
    sys.exit(main())
