"""A script of commands, run on one backend; what it answered, line by line.

    image NAME SIZE [FORMAT]            made before the program starts; SIZE as qemu-img takes it
    overlay NAME BACKING [FORMAT]       FORMAT is the backing file's
    fill NAME FORMAT COMMAND[;COMMAND]  commands of qemu-io on the file
    drive TEXT | device TEXT | blockdev TEXT | object TEXT      options, DIR is the folder
    remove NAME                         takes a file away
    start
    > COMMAND [JSON]                    one command; its reply is an answer
    io DRIVE COMMAND                    HMP qemu-io
    ready JOB | ended JOB | paused JOB  waits for that event of a job
    wait EVENT [KEY=VALUE...]           waits for any other
    if-started pending|ready|finished JOB   waits for that, if the last command was not refused
    if-created JOB                      waits until it is concluded, if not refused
    if-started held JOB                 waits until a slow job has done a piece, or rests
    if-done VERB JOB                    waits until the verb has done its work, if not refused
    let-go JOB                          no limit, no pause, complete, finalize, dismiss: to its end
    jobs                                the events of each job so far, in order, as an answer
    events                              after `> quit`: every event till the end, in order; its status
    tool PROGRAM [WORD...]              a program of QEMU's; what it prints and its status, after quit or not
    quit                                by QMP; its exit status is an answer
    map NAME [FORMAT] | backing NAME | check NAME | same NAME NAME     of files, after quit
    header NAME | content NAME          backing name and check; a hash of what the image shows

`#` begins a comment. A wait that fails is an answer too, so a difference is told and not a stack.
"""

import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import tempfile
import time

from support.image_store import PREFIX, digest_of_chain
from support.images import Images
from support.machine import Machine, QmpClosed, QmpTimeout

CONTENT_PIECE = 65536
ASLEEP_AFTER = 60  # looks at a job, 5 ms apart
ENDS = ('BLOCK_JOB_COMPLETED', 'BLOCK_JOB_CANCELLED')


class Transcript:
    """[(line number, what was asked, answer)]"""

    def __init__(self):
        self.answers = []

    def add(self, number, asked, answer):
        self.answers.append((number, asked, answer))


class ScriptRun:
    """One run. With `put_images`, a function of the folder, the images are there and need not be
    made; `seen`, a dictionary for all runs, keeps what was told of images that are equal.
    """

    def __init__(self, text, backend, timeout, put_images=None, seen=None):
        self._lines = text.splitlines()
        self._timeout = timeout
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self._put_images = put_images
        self._seen = seen
        self._images = Images(self._folder)
        self._vm = Machine(backend, self._folder)
        self._names = {}
        self._last = {}
        self._before = 0  # how many messages had come when the last command was sent
        self.transcript = Transcript()

    def run(self):
        try:
            if self._put_images:
                self._put_images(self._folder)
            for number, line in enumerate(self._lines, 1):
                line = re.sub(r'(^|\s)#.*', '', line).strip()
                if line:
                    verb, _, rest = line.partition(' ')
                    try:
                        self._step(number, line, verb, rest.strip())
                    except (QmpClosed, QmpTimeout) as error:
                        self.transcript.add(number, line, {'failed': str(error)[:300],
                                                           'stderr': self._stderr()})
                        break
                    except AssertionError as error:  # a tool cannot read what was left behind
                        self.transcript.add(number, line, {'tool': str(error)})
        finally:
            self._vm.kill()
            shutil.rmtree(self._folder, ignore_errors=True)
        return self._normal()

    def _stderr(self):
        return self._vm.errors() if (self._folder / 'stderr.txt').exists() else ''

    def _step(self, number, line, verb, rest):
        words = rest.split()
        vm, images = self._vm, self._images
        add = lambda answer: self.transcript.add(number, line, answer)  # noqa: E731
        if verb in ('image', 'overlay', 'fill') and self._put_images:
            return
        if verb == 'image':
            images.create(words[0], words[1], words[2] if len(words) > 2 else 'qcow2')
        elif verb == 'overlay':
            images.create(words[0], backing=images.path(words[1]),
                          backing_format=words[2] if len(words) > 2 else 'qcow2')
        elif verb == 'fill':
            images.io(words[0], *' '.join(words[2:]).split(';'), image_format=words[1])
        elif verb in ('drive', 'device', 'blockdev', 'object'):
            text = rest.replace('DIR', str(self._folder))
            {'drive': vm.raw_drive, 'device': vm.device, 'blockdev': vm.blockdev,
             'object': vm.object}[verb](text)
        elif verb == 'remove':
            (self._folder / words[0]).unlink()
        elif verb == 'start':
            vm.launch()
        elif verb == '>':
            name, _, arguments = rest.partition(' ')
            arguments = json.loads(arguments.replace('DIR', str(self._folder))) \
                if arguments.strip() else None
            self._before = len(vm.qmp.messages())
            self._last = vm.qmp.execute(name, arguments, self._timeout)
            add(self._last)
        elif verb == 'io':
            drive, _, command = rest.partition(' ')
            add(vm.io(drive, command))
        elif verb in ('ready', 'ended', 'paused', 'wait'):
            self._wait(verb, words)
        elif verb == 'if-created':
            if 'error' not in self._last:
                self._wait_job(words[0], lambda job: job['status'] == 'concluded')
        elif verb in ('if-started', 'if-done'):
            if 'error' in self._last:
                return
            if words[0] == 'held':
                self._wait_held(words[1])
            else:
                self._wait_rest(*words)
        elif verb == 'let-go':
            self._let_go(words[0])
        elif verb == 'jobs':
            add(self._job_events())
        elif verb == 'events':
            vm.qmp.wait_closed(self._timeout)
            add([_event(message) for message in vm.qmp.messages() if 'event' in message])
            add(vm.wait_exit())
        elif verb == 'tool':
            add(_without_chatter(images.run(*shlex.split(rest.replace('DIR', str(self._folder))),
                                            expect=range(256))))
        elif verb == 'quit':
            vm.qmp.command('quit')
            add(vm.wait_exit())
            add({'stdout': _without_chatter(vm.output())})
        elif verb == 'map':
            add(images.map(words[0], words[1] if len(words) > 1 else 'qcow2'))
        elif verb == 'backing':
            info = images.info(words[0])
            add([info.get('backing-filename'), info.get('backing-filename-format')])
        elif verb == 'check':
            add(images.run('qemu-img', 'check', '-q', images.path(words[0]), expect=(0, 1, 2, 3)))
        elif verb == 'header':
            add(self._looked_at(self._header, words[0]))
        elif verb == 'content':
            add(self._looked_at(self._content, words[0]))
        elif verb == 'same':
            add(images.same_content(words[0], words[1]))
        else:
            raise SystemExit(f'line {number}: no step is called {verb!r}')

    def _wait(self, verb, words):
        qmp = self._vm.qmp
        if verb == 'ready':
            self._wait_of_newest(words[0], 'BLOCK_JOB_READY')
        elif verb == 'ended':
            end = self._wait_of_newest(words[0], *ENDS)
            qmp.wait_event_that(lambda e: self._is_null(e, words[0]) and self._follows(e, end),
                                self._timeout, f'null of {words[0]} after {end["event"]}')
        elif verb == 'paused':
            qmp.wait_event_that(
                lambda e: e['event'] == 'JOB_STATUS_CHANGE' and e['data']['id'] == words[0]
                and e['data']['status'] in ('paused', 'standby'), self._timeout, 'pause')
        else:
            data = dict(word.split('=', 1) for word in words[1:])
            qmp.wait_event(words[0], timeout=self._timeout, **data)

    def _wait_of_newest(self, ident, *names):
        """Takes one of these events of the job that has the id now; another that had it before may
        have left some that nobody waited for."""
        born = next((message for message in reversed(self._vm.qmp.messages())
                     if message.get('event') == 'JOB_STATUS_CHANGE'
                     and message['data'] == {'status': 'created', 'id': ident}), None)
        return self._vm.qmp.wait_event_that(
            lambda e: e['event'] in names and e['data'].get('device') == ident
            and (born is None or self._follows(e, born)),
            self._timeout, f'{" or ".join(names)} of {ident}')

    def _looked_at(self, look, name):
        """What `look` tells of an image, if there is one."""
        path = self._folder / name
        if not path.exists():
            return 'no such file'
        digest = digest_of_chain(path) if self._seen is not None else None
        if digest is None:
            return look(name)
        key = look.__name__, digest
        if key not in self._seen:
            self._seen[key] = look(name), str(self._folder)
        told, folder = self._seen[key]
        return json.loads(json.dumps(told).replace(folder, str(self._folder)))

    def _header(self, name):
        info = self._images.info(name)
        backing = info.get('backing-filename')
        if backing and backing.startswith('json:'):
            # QEMU puts a filter that stood between into the name; Millrace the image's plain name.
            backing = json.loads(backing[len('json:'):])['file'].get('filename', backing)
        return [backing, info['virtual-size'],
                self._images.run('qemu-img', 'check', '-q', self._images.path(name),
                                 expect=(0, 1, 2, 3))]

    def _content(self, name):
        raw = self._folder / 'content.raw'
        self._images.run('qemu-img', 'convert', '-O', 'raw', self._images.path(name), str(raw))
        return _hash_of_data(raw)

    def _wait_rest(self, until, ident):
        """Waits for what follows from the last command: until the job rests somewhere."""
        rests = {'pending': {'pending', 'ready'}, 'ready': {'ready'}, 'finished': {'ready'}, 'pause': {'paused', 'standby'},
                 'resume': {'running', 'ready'}, 'complete': {'standby'}}.get(until, set())
        deadline = time.monotonic() + self._timeout

        def rested():
            states = [m['data']['status'] for m in self._vm.qmp.messages()[self._before:]
                      if m.get('event') == 'JOB_STATUS_CHANGE' and m['data']['id'] == ident]
            status = next((job['status'] for job in self._vm.qmp.command('query-jobs')
                           if job['id'] == ident), 'null')
            if until in ('complete', 'cancel') and status == 'pending':
                # Else it was so before, or finalizes by itself: it is about to end.
                return 'pending' in states and not self._finalizes(ident)
            return status in rests | {'concluded', 'null'}
        while not rested():
            if time.monotonic() > deadline:
                raise QmpTimeout(f'{ident} does not come to rest after {until}')
            self._vm.qmp.wait_event_that(
                lambda e: e['event'] == 'JOB_STATUS_CHANGE', self._timeout, 'change of a job')

    def _job(self, ident):
        return next((job for job in self._vm.qmp.command('query-jobs') if job['id'] == ident), None)

    def _finalizes(self, ident):
        return any(job['device'] == ident and job['auto-finalize']
                   for job in self._vm.qmp.command('query-block-jobs'))

    def _wait_job(self, ident, is_enough):
        """Asks until the job is as wanted, or gone; there is no event of progress to wait for."""
        deadline = time.monotonic() + self._timeout
        while (job := self._job(ident)) is not None and not is_enough(job):
            if time.monotonic() > deadline:
                raise QmpTimeout(f'{ident} stays as it is: {job}')
            time.sleep(0.005)

    def _wait_held(self, ident):
        asleep = 0

        def is_enough(job):
            nonlocal asleep
            # A mirror of one piece has nothing more to do and still pays for that piece.
            if job['type'] in ('mirror', 'commit') and job['status'] == 'running' and \
                    0 < job['current-progress'] == job['total-progress']:
                asleep += 1
                return asleep >= ASLEEP_AFTER
            if job['status'] == 'pending':
                return not self._finalizes(ident)
            return job['status'] in ('paused', 'standby', 'ready', 'concluded') or \
                0 < job['current-progress'] < job['total-progress']
        self._wait_job(ident, is_enough)

    def _let_go(self, ident):
        qmp = self._vm.qmp
        qmp.execute('block-job-set-speed', {'device': ident, 'speed': 0}, self._timeout)
        qmp.execute('job-resume', {'id': ident}, self._timeout)
        self._wait_job(ident, lambda job: job['status'] in ('ready', 'pending', 'concluded'))
        qmp.execute('job-complete', {'id': ident}, self._timeout)
        self._wait_job(ident, lambda job: job['status'] in ('pending', 'concluded'))
        qmp.execute('job-finalize', {'id': ident}, self._timeout)
        self._wait_job(ident, lambda job: job['status'] == 'concluded')
        qmp.execute('job-dismiss', {'id': ident}, self._timeout)

    @staticmethod
    def _is_null(event, ident):
        return event['event'] == 'JOB_STATUS_CHANGE' and event['data'] == {'id': ident,
                                                                           'status': 'null'}

    def _follows(self, event, end):
        messages = self._vm.qmp.messages()
        return (next(i for i, one in enumerate(messages) if one is event)
                > next(i for i, one in enumerate(messages) if one is end))

    def _job_events(self):
        """{job: its events in order}; the order between jobs is their own affair.

        A job that is drained by another's edit parks and goes on, or has just not come to a pause
        point: such pairs of states are left out, and with them those of a user's pause.
        """
        told, ready = {}, set()
        for message in self._vm.qmp.messages():
            data = message.get('data', {})
            ident = data.get('id', data.get('device'))
            if message.get('event') == 'JOB_STATUS_CHANGE':
                told.setdefault(ident, []).append(data['status'])
            elif message.get('event', '').startswith('BLOCK_JOB_'):
                if message['event'] == 'BLOCK_JOB_READY':
                    ready.add(ident)
                # What a guest writes meanwhile is counted as it comes.
                if ident in ready and message['event'] in ('BLOCK_JOB_READY',
                                                           'BLOCK_JOB_COMPLETED'):
                    data = {**data, 'offset': data['offset'] == data['len'], 'len': 'as it came'}
                if message['event'] == 'BLOCK_JOB_CANCELLED':
                    data = {**data, 'offset': 'as far as it was', 'len': 'as it was'}
                told.setdefault(ident, []).append([message['event'], data])
        return {ident: states for ident, states in
                ((ident, _without_pauses(states))
                 for ident, states in sorted(told.items())) if states}

    # ---- What differs by nature ------------------------------------------------------------------

    def _normal(self):
        """The answers with the folder, invented node names and ids of a query made comparable."""
        self._names = {}
        return [(number, asked, self._clean(answer))
                for number, asked, answer in self.transcript.answers]

    def _clean(self, value):
        if isinstance(value, dict):
            if {'nodes', 'edges'} <= set(value):
                return self._clean(_graph_by_names(value))
            value = _without_host_layout(value)
            if {'class', 'desc'} <= set(value):  # what Millrace says beside it may differ
                value = {key: value[key] for key in ('class', 'desc')}
            # Sorted, so that invented names are numbered alike whatever order members come in; the
            # order itself stays, and is compared.
            cleaned = {key: self._clean(value[key]) for key in sorted(value)}
            return {self._clean(key): cleaned[key] for key in value}
        if isinstance(value, list):
            if value and all(isinstance(one, dict) and 'drv' in one for one in value):
                value = sorted(value, key=_node_key)
            return [self._clean(one) for one in value]
        if isinstance(value, str):
            value = value.replace(str(self._folder), 'DIR')
            # How many parts a machine has beside its disks.
            value = re.sub(r'/machine/unattached/device\[\d+\]', '/machine/unattached', value)
            value = re.sub(r'/var/tmp/vl\.\w{6}', 'TEMPORARY', value)
            return re.sub(r'#block\d+', self._ordinal, value)
        return value

    def _ordinal(self, match):
        return self._names.setdefault(match.group(0), f'#block({len(self._names) + 1})')


def _hash_of_data(path):
    """Of a raw file: its length, and each piece that is not zero with its place."""
    digest, size = hashlib.sha256(), path.stat().st_size
    digest.update(str(size).encode())
    with open(path, 'rb') as file:
        while True:
            try:
                offset = os.lseek(file.fileno(), file.tell(), os.SEEK_DATA)
            except OSError:  # nothing but holes from here on
                return digest.hexdigest()[:16]
            file.seek(offset - offset % CONTENT_PIECE)
            offset, piece = file.tell(), file.read(CONTENT_PIECE)
            if piece.count(0) != len(piece):
                digest.update(str(offset).encode() + piece)


def _node_key(node):
    """For query-named-block-nodes: in which order nodes were made is not a part of the answer."""
    name = node['node-name']
    invented = name.startswith('#block')
    return (invented, node['file'], node['drv'], node['ro'], int(name[6:]) if invented else name)


def _without_host_layout(node):
    """How long a file below an image is depends on where its format puts clusters."""
    if isinstance(node, dict) and node.get('drv', node.get('format')) == 'file':
        image = node.get('image', node)
        return {**node, 'image': {**image, 'virtual-size': 'HOST'}} if 'image' in node \
            else {**node, 'virtual-size': 'HOST'}
    return node


def _event(message):
    return [message['event'], {key: value for key, value in message.get('data', {}).items()
                               if key not in ('offset', 'len')}]


def _without_chatter(text):
    """What was printed, without times and sizes of the host."""
    text = re.sub(r'^disk size: .*\n', '', text, flags=re.MULTILINE)
    text = re.sub(r'^(\d+,1,)[\d:.]+,[\d.]+,[\d.]+$', r'\1TIME', text, flags=re.MULTILINE)
    return re.sub(r'[\d.]+ (\w*iB|bytes), \d+ ops; .*', 'TIME', text)


def _without_pauses(states):
    kept = []
    for state in states:
        if state in ('running', 'ready') and kept[-1:] == [
                {'running': 'paused', 'ready': 'standby'}[state]]:
            kept.pop()
        else:
            kept.append(state)
    return kept


def _graph_by_names(graph):
    """x-debug-query-block-graph without its ids: edges are told by the names of their ends.

    A node whose name was invented is told by the first edge that leads to it, from above or, where
    nothing named is above it, by one that leads from it.
    """
    # The filter of a stream that waits to be dismissed, which QEMU keeps without a child (and dies at
    # query-named-block-nodes): Millrace lets it go.
    kinds = {node['id']: node['type'] for node in graph['nodes']}
    has_child = {edge['parent'] for edge in graph['edges']}
    has_user = {edge['child'] for edge in graph['edges'] if kinds[edge['parent']] != 'block-job'}
    of_jobs = {edge['child'] for edge in graph['edges']} - has_child - has_user
    graph = {'nodes': [node for node in graph['nodes'] if node['id'] not in of_jobs],
             'edges': [edge for edge in graph['edges'] if edge['child'] not in of_jobs]}
    names = {node['id']: f'{node["type"]}:{node["name"]}' for node in graph['nodes']
             if not node['name'].startswith('#block')}
    for end, other in (('child', 'parent'), ('parent', 'child')):
        for _ in graph['nodes']:
            named = {}
            for edge in graph['edges']:
                if edge[end] not in names and edge[other] in names:
                    name = f'{kinds[edge[end]]}:({end} {edge["name"]} of {names[edge[other]]})'
                    named[edge[end]] = min(name, named.get(edge[end], name))
            names.update(named)
    # A job holds its nodes by edges of its own and of nameless back ends; Millrace has one for both.
    kept = [edge for edge in graph['edges']
            if kinds[edge['parent']] != 'block-job'
            and names.get(edge['parent']) != 'block-backend:']
    names = {ident: name for ident, name in names.items() if name != 'block-backend:'}
    edges = {}
    for edge in kept:
        name = f'{names.get(edge["parent"])} -> {names.get(edge["child"])} {edge["name"]}'
        edges.setdefault(name, []).append({'perm': ', '.join(sorted(edge['perm'])),
                                           'shared-perm': ', '.join(sorted(edge['shared-perm']))})
    return {'graph-nodes': sorted(names.values()),
            'graph-edges': {name: some[0] if len(some) == 1 else
                            sorted(some, key=lambda edge: tuple(edge.values()))
                            for name, some in sorted(edges.items())}}
