"""Plans of x-millrace-plan beside what the commands then do: one script, one daemon.

For each command the plan is asked, twice; what is there must be as before, the next generated name
included. Then the command is carried out. If it is refused, class, text and data are the plan's; if
not, the graph is the plan's once jobs stand still again, or as before where the plan has none. What
only the host tells, and plans therefore leave open, stands in plan_excuses.py.

A job that the command has started is completed when it is ready, unless it is to stand in the way
of later commands: a plan shows the graph as it is when the job has ended.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import tempfile
import time

from support.case import without_times
from support.image_store import PREFIX
from support.machine import Machine, QmpClosed, QmpTimeout, TIMEOUT

AT_REST = ('paused', 'standby', 'ready', 'pending', 'concluded')
NO_ANSWER = 'no answer'
ASLEEP_AFTER = 4  # equal looks at a job that is held, 2 ms apart
# What a job that does its work changes, and what the time does.
VOLATILE = ('offset', 'len', 'busy', 'requests', 'in-flight', 'queued', 'state', 'since',
            'actual-size', 'io-status')
PROBE = {'driver': 'raw', 'node-name': 'plan-probe', 'file': {'driver': 'null-co'}}
# What a line of the human monitor says that did not do what it asks; others may answer as well.
COMPLAINT = re.compile(
    r"^(Error|Parsing error|bad argument|invalid option|command |unknown command|\w+ failed|"
    r".*: (string|block device name|filename) expected|Could not|Failed to|Only one of|"
    r".*not a valid number|Device '|Node '|Block device |Block node is|Permission conflict)",
    re.MULTILINE)


@dataclasses.dataclass
class Finding:
    """Where a plan and a deed differ. `line` is the line of the script."""
    kind: str
    line: str
    plan: object = None
    deed: object = None
    detail: tuple = ()
    pictures: tuple = ()  # of another graph: as planned, as it came to be, and before
    has_failed_job: bool = False

    @property
    def arguments(self):
        return json.loads(self.line[2:].partition(' ')[2] or '{}')

    @property
    def command(self):
        """Of the human monitor its own."""
        if not self.line.startswith('> human-monitor-command '):
            return self.line[2:].partition(' ')[0]
        return str(self.arguments.get('command-line')).partition(' ')[0]

    def signature(self):
        """The same for findings that look alike, whatever names and numbers they have."""
        said = [_description(one) for one in (self.plan, self.deed)]
        return (self.kind, self.command, *(
            re.sub(r"'[^']*'|\d+|DIR\S*|node-name=\S*", '*', one) for one in said))

    def lines(self):
        told = [f'{self.kind}: {self.line}']
        told += [f'  plan: {_short(self.plan)}', f'  deed: {_short(self.deed)}']
        return told + [f'  {one}' for one in self.detail[:20]]


def _description(answer):
    error = answer.get('error') if isinstance(answer, dict) else None
    return error.get('desc', '') if error else ''


def _short(answer):
    if isinstance(answer, dict):
        answer = {key: value for key, value in answer.items() if key != 'graph'}
    return json.dumps(answer)[:2000]


def stable(told):
    """An answer without what changes by itself."""
    if isinstance(told, dict):
        return {key: stable(value) for key, value in told.items() if key not in VOLATILE}
    return [stable(one) for one in told] if isinstance(told, list) else told


def picture(graph):
    """{name: what a plan must know of a node}, generated names as they are."""
    def granted(edge):
        return ', '.join(edge['used']), ', '.join(edge['shared'])

    def holder(one):
        return f'{one["type"]} {one["id"]}' if one else ''
    return {node['name']: {
        'driver': node['driver'], 'read-only': node['read-only'], 'implicit': node['implicit'],
        'claims': sorted(holder(one['holder']) for one in node['claims']),
        'users': sorted((holder(one['holder']), one['purpose'], one['device'], *granted(one))
                        for one in node['users']),
        'edges': sorted((one['name'], one['role'], one['child'], holder(one['lease']),
                         *granted(one)) for one in node['edges']),
    } for node in graph['nodes']}


def by_rank(nodes):
    """A picture in which a name that was generated stands for its place among those."""
    ranks = sorted((name for name in nodes if name.startswith('#block')),
                   key=lambda name: int(name[6:]))
    names = {f'"{name}"': f'"#{rank}"' for rank, name in enumerate(ranks)}
    return json.loads(re.sub(r'"#block\d+"', lambda match: names[match[0]], json.dumps(nodes)))


def differences(planned, done):
    """[(node, member, planned, done)] of two pictures."""
    found = []
    for name in sorted(set(planned) | set(done)):
        one, other = planned.get(name), done.get(name)
        if one is None or other is None:
            found.append((name, 'node', one and one['driver'], other and other['driver']))
            continue
        for member in one:
            if one[member] != other[member]:
                found.append((name, member, one[member], other[member]))
    return found


def _paths(one, other, path=''):
    """Where two answers differ, and how."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict):
        return [text for key in sorted(set(one) | set(other))
                for text in _paths(one.get(key), other.get(key), f'{path}.{key}')]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [text for i, pair in enumerate(zip(one, other))
                for text in _paths(*pair, f'{path}[{i}]')]
    return [f'{path}: {json.dumps(one)[:300]} -> {json.dumps(other)[:300]}']


class PlanDeedRun:
    """A daemon with its folder, to which lines of a script are told."""

    def __init__(self, backend, store, images):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        store.copy(images, self._folder)
        self._vm = Machine(backend, self._folder)
        self._leaving = set()  # jobs that have been told to come to their end
        self.is_over = False
        self.look = None
        self.is_planned = self.is_accepted = False  # of the last command: its plan

    def add_empty(self, name, size):
        """A raw image that takes no room."""
        with open(self._folder / name, 'wb') as file:
            file.truncate(size)

    # ---- Life ------------------------------------------------------------------------------------

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._vm.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, options):
        """Findings."""
        for line in options:
            verb, _, text = self._here(line).partition(' ')
            {'object': self._vm.object, 'drive': self._vm.raw_drive,
             'device': self._vm.device}[verb](text)
        try:
            self._vm.launch()
            self._settle()
            self.look = self._look_around()
        except (QmpClosed, QmpTimeout) as error:
            return [self._broken('start', error)]
        return []

    def end(self):
        """The daemon's end; findings if it is not a good one."""
        if self.is_over:
            return []
        try:
            status = self._vm.quit()
        except (QmpClosed, QmpTimeout) as error:
            return [self._broken('quit', error)]
        return [Finding('bad end', 'quit', detail=(f'status {status}', self._vm.errors()[-3000:]))
                ] if status else []

    def _broken(self, line, error):
        self.is_over = True
        return Finding('the daemon is gone' if isinstance(error, QmpClosed) else NO_ANSWER, line,
                       detail=(str(error), self._vm.errors()[-3000:]))

    def _here(self, value):
        return json.loads(json.dumps(value).replace('DIR', str(self._folder)))

    def _anywhere(self, value):
        return json.loads(json.dumps(value).replace(str(self._folder), 'DIR'))

    def _execute(self, command, arguments=None):
        return self._anywhere(self._vm.qmp.execute(command, arguments))

    def _query(self, command, /, **arguments):
        return self._execute(command, arguments or None)['return']

    # ---- What is there ---------------------------------------------------------------------------

    def _look_around(self):
        explained = self._query('x-millrace-explain')
        nodes = self._query('query-named-block-nodes', flat=True)
        bitmaps = [{'node': node['node-name'], 'name': one['name']} for node in nodes
                   for one in node.get('dirty-bitmaps', ()) if one.get('name')]
        return {'graph': stable(explained['graph']), 'jobs': stable(explained['jobs']),
                'block': stable(self._query('query-block')), 'nodes': stable(nodes),
                'bitmaps': [(one, self._execute('x-debug-block-dirty-bitmap-sha256', one))
                            for one in bitmaps],
                'edges': self._query('x-debug-query-block-graph'),
                'exports': self._query('query-block-exports'),
                'objects': self._query('qom-list', path='/objects'),
                'files': {path.name: (path.stat().st_size, path.stat().st_mtime_ns)
                          for path in sorted(self._folder.iterdir())
                          if path.name not in ('stdout.txt', 'stderr.txt')}}

    def _probe(self):
        """The ids and names that the next nodes would get."""
        plan = self._query('x-millrace-plan', command='blockdev-add', arguments=PROBE)
        if 'graph' not in plan:
            return plan
        there = {node['id'] for node in self.look['graph']['nodes']}
        return [(node['id'], node['name']) for node in plan['graph']['nodes']
                if node['id'] not in there]

    # ---- Rest ------------------------------------------------------------------------------------

    def _settle(self):
        """Waits until all jobs stand still: there is no event of what a held job has done."""
        deadline, before, looks = time.monotonic() + TIMEOUT, None, 0
        while True:
            jobs = self._query('x-millrace-explain')['jobs']
            self._leaving &= {job['id'] for job in jobs}
            is_over = not any(one['shutting-down'] for one in self._query('query-block-exports'))
            looks = looks + 1 if jobs == before else 0
            held = [job for job in jobs if job['status'] == 'running']
            wanted = (ASLEEP_AFTER if all(job['offset'] for job in held) else 25 * ASLEEP_AFTER
                      ) if held else 0
            if is_over and all(self._rests(job) for job in jobs) and looks >= wanted:
                return
            if time.monotonic() > deadline:
                raise QmpTimeout(f'no rest: {json.dumps(jobs)[:1000]}')
            before = jobs
            time.sleep(0.002)

    def _rests(self, job):
        status, ident = job['status'], job['id']
        if status == 'concluded':
            return True
        if ident in self._leaving or job['cancelling']:
            # Told to complete while it is paused, it does so when it goes on.
            return status == 'pending' and not job['auto-finalize'] and not job['finalizing'] or \
                status in ('paused', 'standby') and job['paused-by-user'] and not job['cancelling']
        if job['paused-by-user']:
            return status in ('paused', 'standby', 'pending')
        if status == 'pending':
            return not job['auto-finalize'] and not job['finalizing']
        if status == 'running':
            return job['speed'] == 1 and not job['busy']
        return status == 'ready'

    def _note_verb(self, command, arguments):
        if re.fullmatch(r'(block-)?job-(cancel|complete|finalize)', command):
            self._leaving.add(arguments.get('id', arguments.get('device')))
        words = arguments.get('command-line', '').split()
        if words[:1] in (['block_job_cancel'], ['block_job_complete']):
            self._leaving.add(words[-1])

    def _complete_new_jobs(self, arguments, before):
        """Lets what the command has started come to its end."""
        if 'speed' in arguments:
            return
        for job in self._query('x-millrace-explain')['jobs']:
            if job['id'] not in before and job['status'] == 'ready':
                self._execute('job-complete', {'id': job['id']})
                self._leaving.add(job['id'])
        self._settle()

    # ---- Plan and deed ---------------------------------------------------------------------------

    def compare(self, line):
        """Findings of one command."""
        command, _, text = line[2:].partition(' ')
        arguments = self._here(json.loads(text or '{}'))
        try:
            plan, findings = self._plan(line, command, arguments)
            deed = self._do(command, arguments, plan)
            after = self._look_around()
        except (QmpClosed, QmpTimeout) as error:
            return [self._broken(line, error)]
        if plan is not None:
            findings += self._judge(line, plan, deed, after)
        self.look = after
        self._vm.qmp.forget()
        return findings

    def _plan(self, line, command, arguments):
        """(plan or None, findings): a plan changes nothing."""
        asked = {'command': command, 'arguments': arguments}
        probe, heard = self._probe(), self._vm.qmp.events()
        reply = self._execute('x-millrace-plan', asked)
        self.is_planned = 'return' in reply
        plan = reply.get('return')
        self.is_accepted = self.is_planned and plan['accepted']
        again = self._execute('x-millrace-plan', asked).get('return')
        now, findings = self._look_around(), []

        def found(kind, one, other):
            if one != other:
                findings.append(Finding(kind, line, plan, None, tuple(_paths(one, other))))
        if not self.is_planned and not re.match(
                r'The command \S* (cannot be planned: .|has not been)', reply['error']['desc']):
            findings.append(Finding('neither a plan nor a reason', line, reply))
        found('a plan changes something', self.look, now)
        found('a plan uses up ids or names', probe, self._probe())
        found('a plan sends events', heard, self._vm.qmp.events())
        found('a plan is another one when asked again', *(
            {**stable(without_times(one)), 'graph': picture(one['graph']) if 'graph' in one else {}}
            if one else {} for one in (plan, again)))  # ids are looked at by the probe
        self.look = now
        return plan, findings

    def _printed(self):
        """Complaints go to stderr, the rest to stdout."""
        return self._vm.errors(), self._vm.output()

    def _do(self, command, arguments, plan):
        """The reply; if a line of the human monitor complains, what it answered or printed."""
        before, printed = {job['id'] for job in self.look['jobs']}, self._printed()
        reply = self._execute(command, arguments or None)
        if 'return' in reply:
            self._note_verb(command, arguments)
        if command == 'human-monitor-command' and 'return' in reply:
            told = reply['return'] or self._anywhere(''.join(
                now[len(then):] for now, then in zip(self._printed(), printed)))
            is_planned = plan and not plan['accepted'] and plan['error']['desc'] == told
            if is_planned or COMPLAINT.search(told):
                reply = {'error': {'class': 'GenericError', 'desc': told}}
        self._settle()
        if 'return' in reply:
            self._complete_new_jobs(arguments, before)
        return reply

    def _judge(self, line, plan, deed, after):
        if not plan['accepted']:
            if 'error' not in deed:
                return [Finding('refused only by the plan', line, plan, deed)]
            planned, done = without_times(plan['error']), without_times(deed['error'])
            if line.startswith('> human-monitor-command'):
                planned, done = planned['desc'], done['desc']
            if planned != done:
                return [Finding('another refusal', line, plan, deed)]
            return self._judge_refused(line, plan, deed, after)
        if 'error' in deed:
            return [Finding('refused only by the deed', line, plan, deed)]
        new = {job['id'] for job in after['jobs']} - {job['id'] for job in self.look['jobs']}
        if new or any(job['id'] in self._leaving and job['paused-by-user']
                      for job in after['jobs']):
            return []  # the graph at its end is not there yet
        planned = plan.get('graph') or self.look['graph']
        return self._another_graph('another graph' if 'graph' in plan else 'a graph without a plan',
                                   line, plan, deed, planned, after)

    def _judge_refused(self, line, plan, deed, after):
        return self._another_graph('refused, and yet something changes', line, plan, deed,
                                   self.look['graph'], after)

    def _another_graph(self, kind, line, plan, deed, planned, after):
        pictures = tuple(map(picture, (planned, after['graph'], self.look['graph'])))
        found = differences(*pictures[:2])
        if found and not differences(*map(by_rank, pictures[:2])):
            kind = 'other generated names'
        detail = tuple(f'{name} {member}: {one} -> {other}' for name, member, one, other in found)
        has_failed_job = any('error' in event.get('data', {}) for event in self._vm.qmp.events())
        return [Finding(kind, line, plan, deed, detail, pictures, has_failed_job)] if found else []


def lines_of(lines):
    """(options, commands) of a script."""
    lines = [line for line in lines if line and not line.startswith('#')]
    return ([line for line in lines if not line.startswith('> ')],
            [line for line in lines if line.startswith('> ')])


def said(command, arguments):
    return f'> {command} {json.dumps(arguments)}' if arguments else f'> {command}'
