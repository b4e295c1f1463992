"""The images and the jobs of a cell: who lies upon whom, who copies what, and whether it did."""

import dataclasses
import mmap
import os
import pathlib
import shutil
import subprocess

from harness import images

JOBS = ('stream', 'commit', 'active', 'mirror')
BLOCK = 4096


@dataclasses.dataclass
class Layer:
    name: str
    clusters: list = dataclasses.field(default_factory=list)
    below: str = ''
    is_fresh: bool = False  # a run writes to it: made anew before every run
    tag: int = 1


@dataclasses.dataclass
class Plan:
    layers: list  # bottom first
    jobs: list  # [(command, arguments)]
    tops: list  # what each stack shows to a guest
    results: list  # [(layer that a job writes, layer of whose content it is to be afterwards)]
    moved_bytes: int = 0  # by all jobs together


def data_bytes(clusters):
    return len(clusters) * images.CLUSTER


def stack(job, layout, clusters, depth=1, prefix=''):
    """One job that moves `clusters`, which are spread over `depth` layers."""
    named = lambda name: prefix + name  # noqa: E731
    layers, below = [], ''
    if job != 'mirror':
        layers.append(Layer(named('base'), is_fresh=True))
        below = named('base')
    for index, part in enumerate(images.spread(layout, clusters, depth)):
        layers.append(Layer(named(f'data{index}'), part, below, tag=index + 1))
        below = layers[-1].name
    last = below
    if job in ('stream', 'commit'):
        layers.append(Layer(named('top'), below=last, is_fresh=True))
    elif job == 'mirror':
        layers.append(Layer(named('target'), is_fresh=True))
    top = named('top') if job in ('stream', 'commit') else last
    base, target = named('base'), named('target')
    name, arguments, result = {
        'stream': ('block-stream', {'device': top, 'base_node': base}, top),
        'commit': ('block-commit', {'device': top, 'top_node': last, 'base_node': base}, base),
        'active': ('block-commit', {'device': top, 'base_node': base}, base),
        'mirror': ('blockdev-mirror', {'device': top, 'target': target, 'sync': 'full'}, target),
    }[job]
    return Plan(layers, [(name, {**arguments, 'job_id': f'{prefix}job'})], [top], [(result, top)],
                data_bytes(clusters))


def stacks(job, layout, disk_bytes, data, depth, count):
    """`count` such stacks beside each other, which share the data out; all hold the same."""
    clusters = images.clusters_of(layout, disk_bytes, data // count)
    parts = [stack(job, layout, clusters, depth, f's{index}-' if count > 1 else '')
             for index in range(count)]
    whole = Plan([], [], [], [], sum(part.moved_bytes for part in parts))
    first = parts[0].tops[0]
    for part in parts:
        whole.layers += part.layers
        whole.jobs += part.jobs
        whole.tops += part.tops
        whole.results += [(result, first) for result, _ in part.results]
    return whole


def pairs(layout, disk_bytes, data, count):
    """One chain, in which every second layer holds data and is streamed into the one above it."""
    parts = images.spread(layout, images.clusters_of(layout, disk_bytes, data), count)
    layers, jobs = [Layer('c0')], []
    for index, part in enumerate(parts):
        below, top = f'c{2 * index + 1}', f'c{2 * index + 2}'
        layers += [Layer(below, part, layers[-1].name, tag=index + 1),
                   Layer(top, below=below, is_fresh=True)]
        # By its bottom: the base is another job's top, with a filter above it.
        jobs.append(('block-stream', {'device': top, 'job_id': f'job{index}', 'bottom': below}))
    last = layers[-1].name  # shows what all have written, once nobody's data lies below it
    return Plan(layers, jobs, [last], [(last, last)], sum(data_bytes(part) for part in parts))


def cuts(layout, disk_bytes, data, depth, count):
    """One chain of `depth` layers with data, cut into `count` parts, each streamed into its top."""
    clusters = images.spread(layout, images.clusters_of(layout, disk_bytes, data), depth)
    layers = [Layer('base')]
    for index, part in enumerate(clusters):
        # Its part's top is written to; what it holds itself stays where it is.
        layers.append(Layer(f'l{index}', part, layers[-1].name, True, index + 1))
    layers.append(Layer('active', below=layers[-1].name, is_fresh=True))
    bounds, jobs, moved = [round(part * depth / count) for part in range(count + 1)], [], 0
    for part, (low, high) in enumerate(zip(bounds, bounds[1:])):
        is_last = part == count - 1
        jobs.append(('block-stream', {'device': 'active' if is_last else f'l{high - 1}',
                                      'job_id': f'job{part}', 'bottom': f'l{low}'}))
        moved += sum(data_bytes(each) for each in clusters[low:high if is_last else high - 1])
    return Plan(layers, jobs, ['active'], [('active', 'active')], moved)


class Images:
    """The files of a plan in a folder. What no run writes to is made once."""

    def __init__(self, folder, plan, disk_bytes, cache='direct'):
        self.folder = pathlib.Path(folder)
        self.plan, self.disk_bytes, self._cache = plan, disk_bytes, cache
        self._is_made = False
        self._references = {}

    def path(self, name):
        return self.folder / f'{name}.qcow2'

    def reset(self):
        """Before every run: as if none had been."""
        for layer in self.plan.layers:
            if layer.is_fresh or not self._is_made:
                self.make(layer)
        self._is_made = True
        self._settle()

    def _settle(self):
        settle = images.forget if self._cache == 'direct' else images.warm
        settle(*(self.path(layer.name) for layer in self.plan.layers))

    def make(self, layer):
        path = self.path(layer.name)
        path.unlink(missing_ok=True)
        below = self.path(layer.below) if layer.below else None
        images.make_qcow2(path, self.disk_bytes, layer.clusters, below, layer.tag)

    def spoil(self):
        """After a run that failed: all is made anew before the next."""
        self._is_made = False

    def open(self, daemon):
        for layer in self.plan.layers:
            daemon.add(layer.name, self.path(layer.name), layer.below)

    def sync(self):
        """What the jobs wrote, to the disk."""
        for result, _ in self.plan.results:
            with open(self.path(result), 'rb') as file:
                os.fsync(file.fileno())

    # ---- Was the right thing copied? -------------------------------------------------------------

    def remember(self):
        """Before a run: what the guests see, to be compared with afterwards. Once is enough."""
        for shown in {shown for _, shown in self.plan.results} - set(self._references):
            reference = self.folder / f'reference-{shown}.qcow2'
            _tool('qemu-img', 'convert', '-O', 'qcow2', self.path(shown), reference)
            self._references[shown] = reference
            self._settle()

    def verify(self):
        """RuntimeError if a result is not what its guest saw before the run, or is damaged."""
        for result, shown in self.plan.results:
            self.verify_file(self.path(result), shown)

    def verify_file(self, path, shown):
        _tool('qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', path, self._references[shown])
        _tool('qemu-img', 'check', '-q', path)

    def verify_written(self, path, shown, guest):
        """The same where a guest wrote meanwhile: each block holds the guest's pattern or what was
        there before, and the pattern wherever a write of its was answered."""
        _tool('qemu-img', 'check', '-q', path)
        flat = [self.folder / 'now.raw', self.folder / 'before.raw']
        for source, target in zip((path, self._references[shown]), flat):
            _tool('qemu-img', 'convert', '-O', 'raw', source, target)
        pattern = bytes([guest.PATTERN]) * BLOCK
        with open(flat[0], 'rb') as now, open(flat[1], 'rb') as before:
            new = mmap.mmap(now.fileno(), 0, access=mmap.ACCESS_READ)
            old = mmap.mmap(before.fileno(), 0, access=mmap.ACCESS_READ)
            for at in range(0, self.disk_bytes, BLOCK):
                block = new[at:at + BLOCK]
                if block == pattern or (at not in guest.written and block == old[at:at + BLOCK]):
                    continue
                lost = 'a write is lost' if at in guest.written else 'something else is there'
                raise RuntimeError(f'{path.name} at {at}: {lost}')
            new.close()
            old.close()
        for each in flat:
            each.unlink()


def _tool(*words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{" ".join(map(str, words))}: {done.stdout}{done.stderr}'.strip())


def missing_tools():
    """Why nothing can be verified here; empty if it can."""
    return '' if shutil.which('qemu-img') else 'qemu-img is not installed (Debian: qemu-utils)'
