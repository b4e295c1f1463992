"""A cell of the matrix: what one measurement is about, and its name."""

import dataclasses
import itertools

from harness import chains
from harness.images import MIB

EVENTS = ('snapshot', 'filter')


@dataclasses.dataclass(frozen=True)
class Cell:
    """What is the same for both programs and in every run."""
    job: str = 'stream'  # of chains.JOBS, or 'none'
    layout: str = 'frag'
    depth: int = 1  # layers that the data are in
    parallel: int = 1
    topology: str = 'stacks'  # where they are beside each other; or 'chain'
    aio: str = 'default'
    cache: str = 'direct'
    guest: int = 0  # requests that it has in flight; 0: none
    pattern: str = 'randread'
    event: str = ''  # that a guest without jobs is to feel: of EVENTS
    size_mib: int = 1024
    data_mib: int = 256

    @property
    def disk_bytes(self):
        return self.size_mib * MIB

    def plan(self):
        job = 'stream' if self.job == 'none' else self.job
        if self.topology == 'chain':
            return chains.pairs(self.layout, self.disk_bytes, self.data_mib * MIB, self.parallel)
        plan = chains.stacks(job, self.layout, self.disk_bytes, self.data_mib * MIB, self.depth,
                             self.parallel)
        for layer in plan.layers:  # a guest that writes does so to the top
            layer.is_fresh |= self.pattern == 'randwrite' and layer.name in plan.tops
        return plan

    def label(self):
        """Its name: what is usual is left out."""
        parts = []
        if self.event:
            parts.append(f'guest at a {self.event}')
        elif self.guest:
            parts.append('guest alone' if self.job == 'none' else f'guest under {self.job}')
        else:
            parts.append(self.job)
        if self.layout != 'frag' or not self.guest:
            parts[0] += f' {self.layout}'
        if self.guest:
            parts.append(f'depth {self.guest}')
        if self.pattern != 'randread':
            parts.append(self.pattern)
        if self.depth > 1:
            parts.append(f'{self.depth} layers')
        if self.parallel > 1:
            where = 'on stacks' if self.topology == 'stacks' else 'in one chain'
            parts.append(f'{self.parallel} jobs {where}')
        parts += [one for one, usual in ((self.aio, 'default'), (self.cache, 'direct'))
                  if one != usual]
        return ', '.join(parts)

    def why_not(self):
        """Why there is no such cell; empty if there is."""
        if self.topology == 'chain' and (self.job != 'stream' or self.depth > 1):
            return 'only streams of one layer each share a chain'
        if self.topology == 'chain' and self.parallel == 1:
            return 'a single job has its stack for itself'
        if self.aio == 'native' and self.cache != 'direct':
            return 'native AIO goes past the page cache'
        if self.data_mib * MIB // self.parallel < self.depth * 65536:
            return 'more layers than clusters'
        return ''


def matrix(options, say):
    """All cells that the options ask for; say() is told why a combination is left out."""
    common = {'size_mib': options.size_mib, 'data_mib': options.data_mib}
    for job, layout, depth, parallel, topology, aio, cache in itertools.product(
            options.jobs, options.layouts, options.depths, options.parallel, options.topology,
            options.aio, options.cache):
        cell = Cell(job, layout, depth, parallel, topology, aio, cache, **common)
        if not cell.why_not():
            yield cell
        elif cell.parallel > 1 or cell.topology == 'stacks':
            say(f'left out: {cell.label()}: {cell.why_not()}')
    for depth, aio, cache in itertools.product(options.guest, options.aio, options.cache):
        of_guest = {'aio': aio, 'cache': cache, 'guest': depth, **common}
        if Cell(**of_guest).why_not():
            continue  # said above
        for pattern in options.guest_patterns:
            for layers in options.guest_layers:
                yield Cell('none', depth=layers, pattern=pattern, **of_guest)
            for job in options.jobs:
                yield Cell(job, pattern=pattern, **of_guest)
        for event in options.guest_events:
            yield Cell('none', event=event, **of_guest)
