"""Random commands for a daemon whose plans are compared with its deeds (plan_deed.py).

What a script does is told in lines, as scripts of script.py tell it:

    object TEXT, drive TEXT, device TEXT     options of the daemon, before all commands
    > COMMAND JSON                           a command, planned and carried out; DIR is the folder

A script begins with a small world and goes on with commands that are valid, or wrong in one place,
or in several. What comes next is drawn from the seed and from what is there by then, so that most
names mean something; the lines by themselves are enough to do the same again. Jobs stand still at
a speed of 1, or run to their end: each image of a chain has data in places of its own, so that a
job has something to copy wherever it begins.
"""

import copy
import random

SIZE = 64 << 20
LAYERS = 4
CHAIN = [f'a{i}.img' for i in range(LAYERS)]


def _images():
    lines = []
    for chain in (CHAIN, ['b0.img', 'b1.img']):
        for i, name in enumerate(chain):
            lines.append(f'image {name} {SIZE}' if i == 0 else f'overlay {name} {chain[i - 1]}')
            stripes = [k * 4 for k in range(i, 16, LAYERS)]
            lines.append(f'fill {name} qcow2 ' + ';'.join(
                f'write -q -z {at}M 4M;write -q -P {i + 1} {at}M 64K' for at in stripes))
    lines += [f'image {name}.img {SIZE}' for name in ('s0', 's1', 't0')]
    lines.append('image small.img 1M')
    return '\n'.join(lines)


IMAGES = _images()
RAW = 'raw.img'  # of that size as well, and empty
FILES = [*CHAIN, 'b0.img', 'b1.img', 's0.img', 's1.img', 't0.img', 'small.img', RAW]

STRANGE_NAMES = ('nowhere', '', '1', 'x' * 32, 'a b', '#block999', 'drive0', 'tg')
STRANGE_VALUES = (None, True, 0, -1, 1, 1 << 62, '', 'nowhere', 'x' * 32, [], {}, ['nowhere'])


class World:
    """What is there by now, as far as commands can name it."""

    def __init__(self, graph=None, block=(), nodes=(), jobs=(), exports=()):
        graph = graph or {'nodes': []}
        children = {edge['child'] for node in graph['nodes'] for edge in node['edges']}
        self.drivers = {node['name']: node['driver'] for node in graph['nodes']}
        self.roots = [name for name in self.drivers if name not in children]
        self.nodes = [name for name in self.drivers if not name.startswith('#')]
        self.generated = [name for name in self.drivers if name.startswith('#')]
        self._nodes = {node['name']: node for node in graph['nodes']}
        self.empty_drives = [one['device'] for one in block if 'inserted' not in one]
        self.drives = {user['device']: node['name'] for node in graph['nodes']
                       for user in node['users'] if user['device']}
        self.devices = [one['qdev'] for one in block if 'qdev' in one]
        self.jobs = [one['id'] for one in jobs]
        self.exports = [one['id'] for one in exports]
        self.bitmaps = [(node['node-name'], one['name']) for node in nodes
                        for one in node.get('dirty-bitmaps', ()) if one.get('name')]

    def of_driver(self, *drivers):
        return [name for name, driver in self.drivers.items() if driver in drivers]

    def below(self, name):
        """The chain below a node or drive, that itself left out."""
        chain, node = [], self._nodes.get(self.drives.get(name, name))
        while node:
            links = {edge['role']: edge['child'] for edge in node['edges']}
            node = self._nodes.get(links.get('backing', links.get('filtered')))
            chain += [node['name']] if node else []
        return chain

    def overlays(self):
        """Images that can be put above others."""
        return [name for name in self.of_driver('qcow2') if name in self.roots and not
                self.below(name) and len(self._nodes[name]['users']) == 1]


class PlanScript:
    def __init__(self, seed):
        self._random = random.Random(seed)
        self._world = World()
        self._names = 0
        self._files = list(FILES)
        self._options = {}  # {node: as blockdev-add was told}

    # ---- Chance ----------------------------------------------------------------------------------

    def _chance(self, probability):
        return self._random.random() < probability

    def _pick(self, some, otherwise='nowhere'):
        some = list(some)
        return self._random.choice(some) if some else otherwise

    def _weighed(self, *pairs):
        """One of the values, each with its weight; what can be called is called."""
        value = self._random.choices([one for one, _ in pairs], [weight for _, weight in pairs])[0]
        return value() if callable(value) else value

    def _maybe(self, probability, **arguments):
        """Each of these members with that probability; values that can be called are drawn."""
        return {key.replace('_', '-'): value() if callable(value) else value
                for key, value in arguments.items() if self._chance(probability)}

    # ---- Names -----------------------------------------------------------------------------------

    def _node(self):
        world = self._world
        return self._weighed((lambda: self._pick(world.nodes), 12),
                             (lambda: self._pick(world.roots), 6),
                             (lambda: self._pick([*world.drives, *world.empty_drives]), 2),
                             (lambda: self._pick(world.generated), 1),
                             (lambda: self._pick(STRANGE_NAMES), 1))

    def _root(self):
        world = self._world
        return self._weighed((lambda: self._pick([*world.roots, *world.drives]), 8),
                             (self._node, 2))

    def _new_name(self):
        self._names += 1
        return self._weighed((f'n{self._names}', 24), (self._node, 2),
                             (lambda: self._pick(STRANGE_NAMES), 1))

    def _stacked(self):
        """What stands on something."""
        some = [name for name in (*self._world.roots, *self._world.drives)
                if self._world.below(name)]
        return self._pick(some) if some and self._chance(0.8) else self._root()

    def _below(self, name):
        return self._pick(self._world.below(name) if self._chance(0.75) else [self._node()])

    def _new_file(self):
        self._names += 1
        name = f'f{self._names}.img'
        if self._chance(0.8):
            self._files.append(name)
            return f'DIR/{name}'
        return self._file()

    def _file(self):
        return self._weighed((lambda: f'DIR/{self._pick(self._files)}', 12), ('DIR/none.img', 1),
                             ('DIR/none/none.img', 1), ('DIR', 1), ('', 1),
                             ('null-co://', 1), ('blkdebug::DIR/s0.img', 1), ('none:x', 1))

    def _job(self):
        return self._pick(self._world.jobs) if self._chance(0.9) else self._pick(
            ['nobody', *self._world.drives, ''])

    def _device(self):
        return self._pick(self._world.devices) if self._chance(0.9) else self._pick(
            ['nobody', 'scsi', *self._world.drives, ''])

    # ---- The world -------------------------------------------------------------------------------

    def options(self):
        """The daemon's options."""
        lines = ['object throttle-group,id=tg', 'object iothread,id=io']
        self._layers = self._random.randint(2, LAYERS)
        self._has_drive = self._chance(0.6)
        if self._has_drive:
            prefix, words = '', []
            for i in reversed(range(self._layers)):
                words += [f'{prefix}node-name=a{i}'] if self._chance(0.85) else []
                prefix += 'backing.'
            interface = self._pick(('virtio', 'virtio', 'none'))
            lines.append(','.join([f'drive if={interface},id=drive0,format=qcow2',
                                   f'file=DIR/{CHAIN[self._layers - 1]}', *words]))
        if self._chance(0.4):
            lines += ['drive if=none,id=cd0', 'device virtio-scsi,id=scsi',
                      'device scsi-cd,id=cd,drive=cd0']
        return lines

    def setup(self):
        """Commands that make the rest of the world."""
        if not self._has_drive:
            yield from self._chain(CHAIN[:self._layers], self._chance(0.3))
        if self._chance(0.5):
            yield from self._chain(['b0.img', 'b1.img'], self._chance(0.5))
            if self._chance(0.5):
                yield 'device_add', {'driver': 'virtio-blk', 'id': 'disk', 'drive': 'b1'}
        for i in range(2):
            if self._chance(0.7):
                yield self._add(f's{i}', self._qcow2(f'DIR/s{i}.img', backing=None))
        yield self._add('null0', self._null())
        yield from self._some_of(
            0.4, self._add('null1', self._null()),
            self._add('ro', {**self._null(), 'read-only': True}),
            self._add('raw0', {'driver': 'raw', 'file': {'driver': 'file',
                                                         'filename': f'DIR/{RAW}'}}),
            self._add('quo', {'driver': 'quorum', 'vote-threshold': 1, 'children': [
                {**self._null(), 'node-name': 'quo0'}, self._null()]}),
            self._add('thr', {'driver': 'throttle', 'throttle-group': 'tg',
                              'file': self._null()}),
            self._add('cor', {'driver': 'copy-on-read', 'file': 'null0'}),
            ('nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': 'DIR/nbd'}}}),
            ('block-dirty-bitmap-add', {'node': 'null0', 'name': 'b0'}))

    def _some_of(self, probability, *some):
        yield from (one for one in some if self._chance(probability))

    def _chain(self, files, has_named_files):
        below = None
        for file in files:
            name = file.partition('.')[0]
            is_top = file == files[-1]
            protocol = {'driver': 'file', 'filename': f'DIR/{file}'}
            if has_named_files:
                yield self._add(f'{name}-file', protocol)
            options = {'driver': 'qcow2', 'backing': below,
                       'file': f'{name}-file' if has_named_files else protocol}
            if not is_top:
                options['read-only'] = True
            yield self._add(name, options)
            below = name

    def _add(self, name, options):
        self._options[name] = options = {'node-name': name, **options}
        return 'blockdev-add', copy.deepcopy(options)

    def _null(self):
        return {'driver': 'null-co', 'size': SIZE}

    @staticmethod
    def _qcow2(filename, **more):
        return {'driver': 'qcow2', 'file': {'driver': 'file', 'filename': filename}, **more}

    # ---- Commands --------------------------------------------------------------------------------

    def draw(self, world):
        """(command, arguments), drawn from what is there."""
        self._world = world
        command, arguments = self._weighed(
            (self._transaction, 16), (self._snapshot, 5), (self._snapshot_sync, 8),
            (self._stream, 6), (self._commit, 6), (self._mirror, 5), (self._drive_mirror, 4),
            (self._verb, 10), (self._blockdev_add, 9), (self._blockdev_del, 4), (self._reopen, 5),
            (self._bitmap, 5), (self._device_add, 4), (self._device_del, 2), (self._medium, 5),
            (self._export, 4), (self._server, 1), (self._resize, 2), (self._header, 2),
            (self._child, 2), (self._insert_filter, 2), (self._remove_filter, 2),
            (self._object, 2), (self._limits, 2), (self._create, 1), (self._human, 6),
            (self._query, 1))
        for probability in (0.12, 0.4):  # a mistake, and one more
            if not self._chance(probability):
                break
            self._spoil(arguments)
        return command, arguments

    def _spoil(self, arguments):
        """A member less, one too many, or one of another type or value."""
        places = [arguments]
        for place in places:  # grows
            values = place.values() if isinstance(place, dict) else place
            places += [one for one in values if isinstance(one, (dict, list))]
        place = self._pick(places)
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys or self._chance(0.15):
            if isinstance(place, dict):
                place['none'] = 1
            return
        key = self._pick(keys)
        if self._chance(0.4):
            del place[key]
        else:
            place[key] = copy.deepcopy(self._pick(
                STRANGE_VALUES if self._chance(0.6) else [self._node(), self._file()]))

    # ---- Snapshots and transactions --------------------------------------------------------------

    def _where(self, made=()):
        """What a snapshot is to be made of: a drive or a node."""
        name = self._pick(made) if made and self._chance(0.4) else self._root()
        is_drive = name in self._world.drives and self._chance(0.9)
        where = {'device' if is_drive or self._chance(0.04) else 'node-name': name}
        if self._chance(0.05):
            where[self._pick(('device', 'node-name'))] = self._node()
        return where

    def _sync_arguments(self, made=(), files=()):
        file = self._pick(files) if files and self._chance(0.12) else self._new_file()
        name = self._pick(made) if made and self._chance(0.08) else self._new_name()
        where = self._where(made)
        arguments = {**where, 'snapshot-file': file,
                     **self._maybe(0.95 if 'node-name' in where else 0.7, snapshot_node_name=name)}
        if self._chance(0.1):
            arguments.update(mode='existing', **{'snapshot-file': f'DIR/{self._pick(FILES)}'})
        arguments.update(self._maybe(0.06, format=lambda: self._pick(
            ('qcow2', 'raw', 'file', 'none', 'null-co'))))
        return arguments

    def _snapshot_sync(self):
        return 'blockdev-snapshot-sync', self._sync_arguments()

    def _overlay(self):
        return self._weighed((lambda: self._pick(self._world.overlays()), 8),
                             (lambda: self._pick(self._world.of_driver('qcow2')), 2),
                             (self._node, 1))

    def _snapshot(self):
        return 'blockdev-snapshot', {'node': self._root(), 'overlay': self._overlay()}

    def _transaction(self):
        actions, made, files, added = [], [], [], []
        for _ in range(self._random.randint(1, 4)):
            kind = self._weighed(('sync', 6), ('snapshot', 3), ('bitmap', 4), ('abort', 0.4),
                                 ('other', 0.2))
            if kind == 'sync':
                data = self._sync_arguments(made, files)
                made.append(data.get('snapshot-node-name', 'nowhere'))
                files.append(data['snapshot-file'])
                name = 'blockdev-snapshot-sync'
            elif kind == 'snapshot':
                overlay = self._pick(made) if made and self._chance(0.15) else self._overlay()
                node = self._pick(made) if made and self._chance(0.4) else self._root()
                made.append(overlay)
                name, data = 'blockdev-snapshot', {'node': node, 'overlay': overlay}
            elif kind == 'bitmap':
                name, data = self._bitmap(made, added)
            else:
                name, data = 'abort' if kind == 'abort' else self._pick(
                    ('blockdev-backup', 'drive-backup', 'none')), {}
            actions.append({'type': name, 'data': data})
        return 'transaction', {'actions': actions, **self._maybe(0.06, properties=lambda: {
            'completion-mode': self._pick(('individual', 'individual', 'grouped', 'none'))})}

    def _bitmap(self, made=(), added=None):
        """`made`: nodes of earlier actions; `added`: their bitmaps, to which this one's are put."""
        known = [*self._world.bitmaps, *(added or ())]
        verb = self._weighed(('add', 5), ('remove', 2), ('clear', 1), ('enable', 1), ('disable', 1),
                             ('merge', 2)) if known or self._chance(0.15) else 'add'
        node, name = self._pick(known) if known and self._chance(0.8) else (
            self._node(), self._pick(('b0', 'b1', 'b2', '')))
        if verb == 'add':
            node = self._pick(made) if made and self._chance(0.4) else self._root()
            name = self._pick(('b0', 'b1', 'b2'))
            if added is not None:
                added.append((node, name))
        arguments = {'node': node, 'name': name}
        if verb == 'add':
            arguments.update(self._maybe(0.05, granularity=lambda: self._pick((65536, 512, 1000)),
                                         persistent=True, disabled=True))
        if verb == 'merge':
            sources = [{'node': one[0], 'name': one[1]} for one in known] + [name, 'b1']
            arguments = {'node': node, 'target': name, 'bitmaps': [
                self._pick(sources) for _ in range(self._random.randint(0, 2))]}
        return f'block-dirty-bitmap-{verb}', arguments

    # ---- Jobs ------------------------------------------------------------------------------------

    def _job_options(self):
        self._names += 1
        way = self._weighed(({}, 6), ({'speed': 1}, 5), ({'auto-finalize': False}, 2),
                            ({'auto-dismiss': False}, 1), ({'speed': -1}, 0.2))
        ident = self._weighed((f'j{self._names}', 12), (self._job, 1), ('1', 0.3), ('', 0.3))
        return {**self._maybe(0.95, job_id=ident), **way,
                **self._maybe(0.3, filter_node_name=self._new_name)}

    def _stream(self):
        device = self._stacked() if self._chance(0.7) else self._node()
        return 'block-stream', {'device': device,
                                **self._maybe(0.35, base_node=lambda: self._below(device)),
                                **self._maybe(0.1, bottom=lambda: self._below(device)),
                                **self._maybe(0.04, base=self._file, backing_file='x',
                                              on_error='stop'),
                                **self._job_options()}

    def _commit(self):
        device = self._stacked()
        return 'block-commit', {'device': device,
                                **self._maybe(0.5, top_node=lambda: self._below(device)),
                                **self._maybe(0.3, base_node=lambda: self._below(device)),
                                **self._maybe(0.04, base=self._file, top=self._file,
                                              backing_file='x'),
                                **self._job_options()}

    def _mirror_options(self):
        return {'sync': self._weighed(('full', 6), ('top', 2), ('none', 2), ('bitmap', 0.3)),
                **self._maybe(0.06, replaces=self._node, granularity=lambda: self._pick(
                    (65536, 1000, 1)), buf_size=-1, copy_mode='write-blocking')}

    def _mirror(self):
        target = self._weighed((lambda: self._pick(self._world.of_driver('null-co', 'raw')), 4),
                               (self._root, 4), (self._node, 2))
        return 'blockdev-mirror', {'device': self._root(), 'target': target,
                                   **self._mirror_options(), **self._job_options()}

    def _drive_mirror(self):
        options = self._job_options()
        options.pop('filter-node-name', None)
        existing = self._chance(0.25)
        return 'drive-mirror', {
            'device': self._root(), **self._mirror_options(), **options,
            'target': f'DIR/{self._pick(FILES)}' if existing else self._new_file(),
            **({'mode': 'existing'} if existing else {}),
            **self._maybe(0.5, node_name=self._new_name),
            **self._maybe(0.3, format=lambda: self._pick(('qcow2', 'raw', 'none')))}

    def _verb(self):
        if not self._world.jobs and self._chance(0.8):
            return self._stream()
        verb = self._pick(('pause', 'resume', 'cancel', 'complete', 'finalize', 'dismiss',
                           'set-speed', 'change'))
        if verb == 'set-speed':
            return 'block-job-set-speed', {'device': self._job(), 'speed': self._pick((0, 1, -1))}
        if verb == 'change':
            mode = self._pick(('write-blocking', 'background'))
            return 'block-job-change', {'id': self._job(), 'type': 'mirror', 'copy-mode': mode}
        if self._chance(0.5):
            return f'job-{verb}', {'id': self._job()}
        key = 'id' if verb in ('finalize', 'dismiss') else 'device'
        return f'block-job-{verb}', {key: self._job(), **(
            self._maybe(0.4, force=True) if verb == 'cancel' else {})}

    def _create(self):
        driver = self._pick(('file', 'qcow2', 'raw', 'null-co'))
        return 'blockdev-create', {'job-id': self._pick(('c', 'c', '1', *self._world.jobs)),
                                   'options': {'driver': driver, 'size': SIZE, **(
                                       {'filename': self._new_file()} if driver == 'file'
                                       else {'file': self._node()})}}

    # ---- Nodes -----------------------------------------------------------------------------------

    def _child_options(self, depth):
        if depth > 2 or self._chance(0.6):
            return self._node()
        return {**self._node_options(depth + 1), **self._maybe(0.4, node_name=self._new_name)}

    def _node_options(self, depth=0):
        driver = self._weighed(('qcow2', 5), ('null-co', 3), ('raw', 2), ('file', 1),
                               ('throttle', 1), ('copy-on-read', 1), ('quorum', 1),
                               ('blkdebug', 1), ('none', 0.2))
        options = {'driver': driver}
        if driver == 'null-co':
            options['size'] = self._pick((SIZE, SIZE, SIZE, 512))
        elif driver == 'file':
            options['filename'] = self._file()
        elif driver == 'quorum':
            options.update({'vote-threshold': self._pick((1, 1, 2, 0)), 'children': [
                self._child_options(depth) for _ in range(self._random.randint(1, 2))]})
        elif driver == 'blkdebug':
            options['image'] = self._child_options(depth)
            options.update(self._maybe(0.3, take_child_perms=lambda: [self._pick(
                ('write', 'resize', 'consistent-read'))], unshare_child_perms=lambda: [self._pick(
                    ('write', 'resize', 'consistent-read'))]))
        elif driver == 'qcow2':
            options['file'] = self._child_options(depth) if self._chance(0.2) else {
                'driver': 'file', 'filename': self._file()}
            options.update(self._maybe(0.7, backing=lambda: self._weighed(
                (None, 4), (lambda: self._child_options(depth), 4))))
        elif driver != 'none':
            options['file'] = self._child_options(depth)
        if driver == 'throttle':
            options['throttle-group'] = self._pick(('tg', 'tg', 'tg', 'none'))
        if driver == 'copy-on-read':
            options.update(self._maybe(0.2, bottom=self._node))
        options.update(self._maybe(0.3, read_only=lambda: self._chance(0.7)))
        options.update(self._maybe(0.04, force_share=True, auto_read_only=True, discard='unmap',
                                   detect_zeroes='unmap', cache=lambda: {'direct': False}))
        return options

    def _blockdev_add(self):
        return self._add(self._new_name(), self._node_options())

    def _blockdev_del(self):
        return 'blockdev-del', {'node-name': self._root() if self._chance(0.5) else self._node()}

    def _reopen(self):
        def one():
            known = [name for name in self._options if name in self._world.drivers]
            options = copy.deepcopy(self._options[self._pick(known)]) if known else {
                'node-name': self._node(), 'driver': 'qcow2'}
            for _ in range(self._random.randint(1, 2)):
                change = self._weighed(('read-only', 4), ('backing', 4), ('file', 2), ('other', 1))
                if change == 'read-only':
                    options['read-only'] = self._chance(0.5)
                elif change == 'backing' and options.get('driver') == 'qcow2':
                    options['backing'] = self._pick((None, self._node(), self._node()))
                elif change == 'file' and 'file' in options:
                    options['file'] = self._node()
                else:
                    options[self._pick(('size', 'throttle-group', 'driver', 'discard'))] = \
                        self._pick(('tg', 1, 'unmap', 'raw'))
            return options
        return 'blockdev-reopen', {'options': [one() for _ in range(
            self._weighed((1, 6), (2, 2), (0, 0.2)))]}

    def _resize(self):
        name = self._pick([*self._world.of_driver('qcow2'), self._node()])
        return 'block_resize', {'device' if name in self._world.drives else 'node-name': name,
                                'size': self._pick((SIZE, 2 * SIZE, SIZE // 2, 1000, -1, 1 << 62))}

    def _header(self):
        device = self._stacked()
        image = self._below(device) if self._chance(0.5) else self._world.drives.get(device, device)
        return 'change-backing-file', {'device': device, 'image-node-name': image,
                                       'backing-file': self._pick((self._file(), '', 'x' * 2000))}

    def _child(self):
        key = self._pick(('node', 'child'))
        return 'x-blockdev-change', {
            'parent': self._pick(self._world.of_driver('quorum')) if self._chance(0.8)
            else self._node(),
            key: self._pick([*self._world.of_driver('null-co'), self._node()]) if key == 'node'
            else f'children.{self._random.randrange(3)}'}

    def _insert_filter(self):
        self._names += 1
        options = self._weighed(
            ({'driver': 'throttle', 'throttle-group': 'tg'}, 4), ({'driver': 'copy-on-read'}, 4),
            ({'driver': 'null-co'}, 1), ({'driver': 'throttle', 'throttle-group': 'none'}, 1))
        return 'x-millrace-insert-filter', {
            'job-id': f'j{self._names}', 'node-name': self._node(),
            'filter': {**options, **self._maybe(0.8, node_name=self._new_name)}}

    def _remove_filter(self):
        self._names += 1
        return 'x-millrace-remove-filter', {
            'job-id': f'j{self._names}',
            'node-name': self._pick(self._world.of_driver('throttle', 'copy-on-read'))
            if self._chance(0.8) else self._node()}

    # ---- Guests and the rest ---------------------------------------------------------------------

    def _device_add(self):
        self._names += 1
        driver = self._pick(('virtio-blk', 'virtio-blk', 'scsi-hd', 'scsi-cd', 'virtio-scsi',
                             'ide-hd', 'floppy', 'none'))
        arguments = {'driver': driver, **self._maybe(0.9, id=lambda: self._weighed(
            (f'd{self._names}', 8), (self._device, 1)))}
        if driver != 'virtio-scsi':
            arguments.update(self._maybe(0.9, drive=self._root))
        return 'device_add', {**arguments, **self._maybe(0.1, iothread=lambda: self._pick(
            ('io', 'none')), share_rw=True, bus='scsi.0', logical_block_size=512)}

    def _device_del(self):
        return 'device_del', {'id': self._device()}

    def _medium(self):
        name = self._pick(('blockdev-open-tray', 'blockdev-close-tray', 'blockdev-remove-medium',
                           'blockdev-insert-medium', 'blockdev-change-medium', 'eject'))
        has_device = name not in ('blockdev-remove-medium', 'blockdev-insert-medium')
        where = {'device': self._pick(self._world.drives)} if has_device and self._chance(0.3) \
            else {'id': self._device()}
        if name == 'blockdev-insert-medium':
            where['node-name'] = self._root()
        if name == 'blockdev-change-medium':
            where.update(filename=self._file(), **self._maybe(0.8, format=lambda: self._pick(
                ('qcow2', 'raw'))), **self._maybe(0.6, read_only_mode=lambda: self._pick(
                    ('retain', 'read-only', 'read-write'))))
        if name in ('eject', 'blockdev-open-tray', 'blockdev-change-medium'):
            where.update(self._maybe(0.3, force=True))
        return name, where

    def _export(self):
        if self._world.exports and self._chance(0.4):
            if self._chance(0.5):
                return 'block-export-del', {'id': self._pick(self._world.exports),
                                            **self._maybe(0.3, mode='hard')}
            return 'nbd-server-remove', {'name': self._root(), **self._maybe(0.3, mode='hard')}
        self._names += 1
        if self._chance(0.3):
            return 'nbd-server-add', {'device': self._root(), **self._maybe(
                0.4, writable=True, name=f'x{self._names}')}
        return 'block-export-add', {
            'type': 'nbd', 'node-name': self._root(), 'id': self._weighed(
                (f'e{self._names}', 8), (lambda: self._pick(self._world.exports), 1), ('1', 1)),
            **self._maybe(0.4, writable=True, name=f'x{self._names}')}

    def _server(self):
        if self._chance(0.4):
            return 'nbd-server-stop', {}
        return 'nbd-server-start', {'addr': {'type': 'unix', 'data': {'path': self._pick(
            ('DIR/nbd', 'DIR/none/nbd', ''))}}}

    def _object(self):
        self._names += 1
        if self._chance(0.25):
            return 'x-blockdev-set-iothread', {'node-name': self._node(), 'iothread': self._pick(
                ('io', None, 'none')), **self._maybe(0.3, force=True)}
        if self._chance(0.3):
            return 'object-del', {'id': self._pick(('tg', 'io', 'none', 'tg2'))}
        return 'object-add', {'qom-type': self._pick(('throttle-group', 'iothread', 'none')),
                              'id': self._pick(('tg2', 'tg', 'io2', '1'))}

    def _limits(self):
        if self._chance(0.4):
            return 'block-set-write-threshold', {'node-name': self._node(),
                                                 'write-threshold': self._pick((0, SIZE))}
        none = {name: 0 for name in ('bps', 'bps_rd', 'bps_wr', 'iops', 'iops_rd', 'iops_wr')}
        where = self._pick(({'device': self._pick(self._world.drives)}, {'id': self._device()}))
        return 'block_set_io_throttle', {**none, **where, **self._maybe(
            0.2, bps=1 << 30, bps_rd=1 << 30, iops=-1, group='tg')}

    def _query(self):
        return self._pick(('query-block', 'query-jobs', 'query-named-block-nodes', 'stop',
                           'cont')), {}

    def _human(self):
        node, root, drive = self._node(), self._root(), self._pick(self._world.drives)
        line = self._pick((
            f'qemu-io {root} "write 0 64k"', f'qemu-io {node} "read 0 512"',
            f'qemu-io {node} "flush"', f'qemu-io {root} "truncate {2 * SIZE}"',
            f'qemu-io {node} "none"', f'qemu-io -d {self._device()} "read 0 512"',
            f'block_stream {root}', f'block_resize {root} 128', f'eject {drive}',
            f'drive_mirror -f {root} {self._new_file()}',
            f'snapshot_blkdev {drive} {self._new_file()}', f'drive_del {root}',
            f'block_job_cancel {self._job()}', f'block_job_pause {self._job()}',
            f'nbd_server_add {root}', f'device_del {self._device()}', 'object_del tg',
            f'change {drive} {self._file()}', 'nbd_server_stop', f'commit {drive}',
            f'drive_add 0 if=none,id={self._new_name()},file={self._file()}',
            f'drive_add 0 if=none,id=x{self._names},format=qcow2,file={self._new_file()}',
            f'device_add virtio-blk,drive={root}', 'object_add throttle-group,id=tg3',
            f'qemu-io {root} "reopen -r"', f'qemu-io {root} "write -z 0 64k"',
            f'qemu-io {root} "read {SIZE} 512"'))
        return 'human-monitor-command', {'command-line': line}
