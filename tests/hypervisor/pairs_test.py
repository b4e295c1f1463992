"""Who may start beside whom: pairs of jobs on a chain of six, by the rule that
tests/scenarios/pairs/pair_rules.cc has in C++, where the engine is held to it for every pair. Here the
rule itself is held against QEMU: one pair in STRIDE, over every kind and range; PAIRS_STRIDE=1 in the
environment takes all.

All but the top are read-only, as QEMU lets a stream over a commit's filter pass where they are not.
"""

import os
import unittest

from support.case import Case
from support.images import MIB

LAYERS = 6
TOP = LAYERS - 1
STRIDE = int(os.environ.get('PAIRS_STRIDE', '17'))


class Request:
    """A job on layers `top` down to `base` (None: all of them), which a stream leaves alone.

    `names_filter` is which end is told by the name of the filter that the other job has on that
    layer, or nothing.
    """

    def __init__(self, kind, top, base=None, names_filter=''):
        self.kind, self.top, self.base, self.names_filter = kind, top, base, names_filter

    def __str__(self):
        names = f', its {self.names_filter} named by the filter there' if self.names_filter else ''
        return f'{self.kind} {self.top} over {self.base}{names}'

    def owned(self):
        """The lowest and the highest layer that it owns: a commit its base too."""
        if self.kind == 'mirror':
            return self.top, self.top
        if self.kind.startswith('stream'):
            return 0 if self.base is None else self.base + 1, self.top
        return self.base, self.top

    def words(self, ident, filter_name, other_filter):
        """The command and its arguments."""
        def node(end, layer):
            return other_filter if self.names_filter == end else f'n{layer}'
        # What has nothing to do waits to be finalized.
        common = {'job_id': ident, 'speed': 1, 'filter_node_name': filter_name,
                  'auto_finalize': False}
        top = node('top', self.top)
        if self.kind == 'mirror':
            device = top if self.names_filter == 'top' else 'drive0'
            return 'blockdev-mirror', {**common, 'device': device, 'target': f'{ident}-target',
                                       'sync': 'full'}
        if self.kind == 'stream':
            base = {} if self.base is None else {'base_node': node('base', self.base)}
            return 'block-stream', {**common, 'device': top, **base}
        if self.kind == 'stream to bottom':
            return 'block-stream', {**common, 'device': top,
                                    'bottom': node('bottom', self.base + 1)}
        return 'block-commit', {**common, 'device': 'drive0', 'top_node': top,
                                'base_node': node('base', self.base)}


def every_request():
    for top in range(1, LAYERS):
        yield Request('stream', top)
        for base in range(top):
            yield Request('stream', top, base)
            yield Request('stream to bottom', top, base)
            yield Request('active commit' if top == TOP else 'commit', top, base)
    yield Request('mirror', TOP)


def every_request_of_the_filter_of(first):
    """Those that name the filter which `first` has on its top."""
    below = first.top
    yield Request('stream', below, None, 'top')
    for base in range(below):
        yield Request('stream', below, base, 'top')
        yield Request('active commit' if below == TOP else 'commit', below, base, 'top')
    for top in range(below + 1, LAYERS):
        yield Request('stream', top, below, 'base')
        yield Request('active commit' if top == TOP else 'commit', top, below, 'base')
        if below:
            yield Request('stream to bottom', top, below - 1, 'bottom')


def meet(a, b):
    return a[0] <= b[1] and b[0] <= a[1]


def meets_filter(first, second):
    """Whether the second walks by the filter on the first's top."""
    if second.base is None:
        return first.top < second.top
    lowest = second.base + (second.kind == 'stream to bottom')
    return lowest <= first.top < second.top


def may_stand_beside(first, second):
    """pair_rules.cc: MayStandBeside()."""
    is_below_commit = first.kind == 'commit' and second.top == TOP
    if second.names_filter:
        return second.kind == 'stream' and second.names_filter == 'base' and not is_below_commit
    if second.kind.startswith('stream'):
        return not (is_below_commit or meet(first.owned(), second.owned())
                    or meets_filter(first, second))
    if second.kind == 'mirror':
        return first.kind != 'commit' and not meet(first.owned(), second.owned())
    if first.kind.endswith('commit') or first.top == TOP:
        return False
    overlay = 1 if second.kind == 'commit' else 0
    return not (meet(first.owned(), (second.base, second.top + overlay))
                or meets_filter(first, second))


class Pairs(Case):
    """n5 (drive0) <- n4 <- … <- n0 of 64 M; each holds 10 M of its own, so that a job is far from
    its end, though QEMU does a piece more of it at each drain; two mirror targets beside it."""

    def setUp(self):
        super().setUp()
        self.paths = self.images.chain(*(f'{i}.img' for i in range(LAYERS)), size=64 * MIB)
        for i in range(LAYERS):
            self.images.io(f'{i}.img', f'write -P {i + 1} {10 * i}M 10M')
        self.launch()

    def launch(self):
        options, prefix = f'node-name=n{TOP}', 'backing.'
        for i in reversed(range(TOP)):
            options += f',{prefix}node-name=n{i}'
            prefix += 'backing.'
        for ident in ('first', 'second'):
            self.vm.blockdev({'driver': 'null-co', 'node-name': f'{ident}-target',
                              'size': 64 * MIB})
        self.vm.drive(self.paths[-1], options).launch()

    def begin_anew_if_something_stayed_writable(self):
        """QEMU leaves the base of a commit that was cancelled so at times."""
        nodes = {node['node-name']: node for node in
                 self.vm.command('query-named-block-nodes', flat=True)}
        if all(nodes[f'n{i}']['ro'] for i in range(TOP)):
            return
        self.end(self.vm)
        self.vm = self.machine()
        self.launch()

    def cancel(self, ident):
        self.vm.command('block-job-cancel', device=ident, force=True)
        self.vm.qmp.wait_event('JOB_STATUS_CHANGE', id=ident, status='null')

    def tell(self, first, second):
        command, arguments = first.words('first', 'first-filter', '')
        self.vm.command(command, **arguments)
        command, arguments = second.words('second', 'second-filter', 'first-filter')
        reply = self.vm.reply(command, **arguments)
        with self.subTest(first=str(first), second=str(second)):
            self.assertEqual('error' not in reply, may_stand_beside(first, second),
                             f'{first}, then {second}: {reply}')
        if 'error' not in reply:
            self.cancel('second')
        self.cancel('first')
        self.vm.qmp.forget()
        self.begin_anew_if_something_stayed_writable()

    def test_start_if_they_may_and_no_others(self):
        number = 0
        for first in every_request():
            for second in (*every_request(), *every_request_of_the_filter_of(first)):
                number += 1
                if number % STRIDE == 0:
                    self.tell(first, second)
        self.assert_no_job()


if __name__ == '__main__':
    unittest.main()
