"""Random scripts (script.py) of jobs on one chain, such that timing decides nothing.

Image i of n holds every n-th stripe of 4 M, as zero clusters: whatever lies between a job's top and
its base has something to copy, so a job of speed 1 does not end by itself; one with nothing between
does, and is waited for as all others are: until it has done its first piece, or rests, or is over.
One in three is kept for dismissal, and names its nodes until then; of a stream QEMU keeps the filter
as well, without a child, and dies at query-named-block-nodes: such a filter has no name, and nobody
asks. At the end all jobs are let go and end, so that images are compared when no job is half done.
Every other script is for programs without drives and devices: QEMU's storage daemon.
Commands are valid and invalid; what comes next does not depend on whether they are refused, save
that one waits for a job only if it has started.
"""

import json
import random

SIZE = '64M'


def has_devices(seed):
    """Whether the script of this seed has a drive, with a guest that writes to it."""
    return seed % 2 == 1


class RandomScript:
    def __init__(self, seed):
        self._random = random.Random(seed)
        self.has_devices = has_devices(seed)
        self._layers = self._random.randint(3, 6)
        self._lines = [f'# seed {seed}']
        self._nodes = [f'n{i}' for i in range(self._layers)]
        self._jobs = []
        self._keeps_filter = False
        self._paused = set()  # those that a client has asked to pause, and not to resume
        self._files = []

    def text(self):
        self._machine()
        for _ in range(self._random.randint(6, 14)):
            self._random.choices(
                (self._stream, self._commit, self._active_commit, self._mirror, self._verb,
                 self._write, self._snapshot, self._add, self._delete, self._look),
                (6, 5, 2, 2, 7, 3, 2, 1, 2, 2))[0]()
        self._end()
        return '\n'.join(self._lines) + '\n'

    # ---- The machine -----------------------------------------------------------------------------

    def _machine(self):
        options, prefix = [], ''
        for i in range(self._layers):
            name = f'a{i}.img'
            self._files.append(name)
            self._say(f'image {name} {SIZE}' if i == 0 else f'overlay {name} a{i - 1}.img')
            writes = ''.join(f';write -q -P {self._random.randint(1, 255)} '
                             f'{self._random.randrange(1024) * 64}K 64K'
                             for _ in range(self._random.randint(1, 3)))
            stripes = ';'.join(f'write -q -z {k * 4}M 4M' for k in range(i, 16, self._layers))
            self._say(f'fill {name} qcow2 {stripes}{writes}')
        self._say('image target.img ' + SIZE)
        if self.has_devices:
            for i in reversed(range(self._layers)):
                options.append(f'{prefix}node-name=n{i}')
                prefix += 'backing.'
            self._say(f'drive if=virtio,id=drive0,file=DIR/{self._files[-1]},format=qcow2,'
                      + ','.join(options))
        else:
            for i, name in enumerate(self._files):
                self._say('blockdev ' + ','.join((
                    f'driver=qcow2,node-name=n{i},file.driver=file,file.filename=DIR/{name}',
                    *([f'backing=n{i - 1}'] if i else []),
                    *(['read-only=on'] if i < self._layers - 1 else []))))
        self._say('start')

    @property
    def _device(self):
        """What stands on top of the chain, or the image there."""
        return 'drive0' if self.has_devices else f'n{self._layers - 1}'

    def _say(self, line):
        self._lines.append(line)

    def _ask(self, name, **arguments):
        arguments = {key.replace('_', '-'): value for key, value in arguments.items()
                     if value is not None}
        self._say(f'> {name} {json.dumps(arguments)}' if arguments else f'> {name}')

    def _node(self):
        return self._random.choice(self._nodes + ['nowhere'])

    def _maybe(self, value, probability=0.5):
        return value if self._random.random() < probability else None

    # ---- Jobs ------------------------------------------------------------------------------------

    def _start(self, name, ends, **arguments):
        """Starts a job that is held at once, or runs to where it waits, or to its end."""
        ident = f'j{len(self._jobs)}' if self._random.random() < 0.9 or not self._jobs \
            else self._random.choice(self._jobs)
        way = self._random.choice(('held', 'waits', 'ends'))
        is_kept = self._random.random() < 1 / 3
        if is_kept and name == 'block-stream':
            arguments['filter_node_name'] = None
            self._keeps_filter = True
        self._ask(name, job_id=ident, **arguments,
                  **({'speed': 1} if way == 'held' else {}),
                  **({'auto_finalize': False} if way == 'waits' else {}),
                  **({'auto_dismiss': False} if is_kept else {}))
        if ident not in self._jobs:
            self._jobs.append(ident)
        self._say(f'if-started {"held" if way == "held" else ends[way]} {ident}')

    def _stream(self):
        below = self._random.choice((
            {}, {'base_node': self._node()}, {'base_node': self._node()},
            {'bottom': self._node()}, {'base': f'DIR/{self._random.choice(self._files)}'}))
        self._start('block-stream', {'waits': 'pending', 'ends': 'finished'},
                    device=self._random.choice(self._nodes + [self._device, 'nowhere']),
                    filter_node_name=self._filter(), **below)

    def _commit(self):
        self._start('block-commit', {'waits': 'pending', 'ends': 'finished'},
                    device=self._random.choice([self._device] * 6 + self._nodes),
                    top_node=self._random.choice(self._nodes[:-1] + ['nowhere']),
                    base_node=self._maybe(self._node(), 0.8), filter_node_name=self._filter())

    def _active_commit(self):
        self._start('block-commit', {'waits': 'ready', 'ends': 'ready'}, device=self._device,
                    base_node=self._maybe(self._node(), 0.8), filter_node_name=self._filter())

    def _mirror(self):
        if 'target' not in self._nodes:
            self._ask('blockdev-add', driver='qcow2', node_name='target',
                      file={'driver': 'file', 'filename': 'DIR/target.img'})
            self._nodes.append('target')
        self._start('blockdev-mirror', {'waits': 'ready', 'ends': 'ready'},
                    device=self._random.choice([self._device, self._device, self._node()]),
                    target=self._random.choice(['target', 'target', self._node()]),
                    sync=self._random.choice(('full', 'top', 'none')),
                    filter_node_name=self._filter())

    def _filter(self):
        if self._random.random() < 0.5:
            return None
        name = f'f{self._random.randrange(3)}'
        if name not in self._nodes:
            self._nodes.append(name)
        return name

    def _verb(self):
        if not self._jobs:
            return
        ident = self._random.choice(self._jobs + ['nobody'])
        verb = self._random.choice(('pause', 'resume', 'cancel', 'complete', 'finalize', 'dismiss',
                                    'set-speed'))
        # A paused job that is told to complete does so at its resumption, sooner or later.
        if verb == 'complete' and ident in self._paused:
            verb = 'resume'
        if verb in ('pause', 'resume'):
            (self._paused.add if verb == 'pause' else self._paused.discard)(ident)
        if verb == 'set-speed':
            self._ask('block-job-set-speed', device=ident,
                      speed=self._random.choice((1, 2, -1)))
        elif self._random.random() < 0.5:
            self._ask(f'job-{verb}', id=ident)
        else:
            key = 'id' if verb in ('finalize', 'dismiss') else 'device'
            self._ask(f'block-job-{verb}', **{key: ident})
        if verb in ('pause', 'resume', 'cancel', 'complete', 'finalize'):
            self._say(f'if-done {verb} {ident}')

    # ---- Nodes and the guest ---------------------------------------------------------------------

    def _write(self):
        if not self.has_devices:
            return
        self._say(f'io drive0 write -P {self._random.randint(1, 255)} '
                  f'{self._random.randrange(1024) * 64}K 64K')

    def _snapshot(self):
        name = f's{len(self._files)}'
        self._ask('blockdev-snapshot-sync', snapshot_file=f'DIR/{name}.img',
                  snapshot_node_name=name, **self._random.choice(
                      ({'device': self._device} if self.has_devices
                       else {'node-name': self._device}, {'node-name': self._node()})))
        self._nodes.append(name)
        self._files.append(f'{name}.img')

    def _add(self):
        name = self._random.choice(('extra', self._node()))
        self._ask('blockdev-add', driver='raw', node_name=name, file=self._node())
        if name not in self._nodes:
            self._nodes.append(name)

    def _delete(self):
        self._ask('blockdev-del', node_name=self._node())

    def _look(self):
        name = self._random.choice((
            'query-jobs', 'query-block-jobs',
            'query-block' if self.has_devices else 'query-named-block-nodes',
            'x-debug-query-block-graph'))
        if name == 'query-named-block-nodes' and self._keeps_filter:
            name = 'x-debug-query-block-graph'
        self._ask(name)

    def _end(self):
        self._ask('query-jobs')
        self._ask('x-debug-query-block-graph')
        for ident in self._jobs:
            self._say(f'let-go {ident}')
        self._ask('x-debug-query-block-graph')
        self._say('jobs')
        self._say('quit')
        for name in self._files + ['target.img']:
            self._say(f'header {name}')
            self._say(f'content {name}')
