"""What is measured: one run of one daemon each, as a dictionary of figures."""

import pathlib
import subprocess
import time

from harness import images
from harness.daemon import Daemon
from harness.guest import Guest
from harness.images import MIB

JOBS = ('stream', 'commit', 'active', 'mirror')


class Chain:
    """base <- ... <- top in files of their own, masters copied for every run."""

    def __init__(self, folder, layers):
        """layers: [(name, clusters)], bottom first."""
        self.folder = pathlib.Path(folder)
        self.names = [name for name, _ in layers]
        self.disk_bytes = 0
        self._layers = layers

    def make(self, disk_bytes):
        self.disk_bytes = disk_bytes
        below = None
        for tag, (name, clusters) in enumerate(self._layers, 1):
            below = images.make_qcow2(self.path(name), disk_bytes, clusters, below, tag)
        images.forget(*(self.path(name) for name in self.names))

    def path(self, name):
        return self.folder / f'{name}.qcow2'

    def open(self, daemon, options):
        below = None
        for name in self.names:
            daemon.add(name, self.path(name), below, options.cache, options.aio)
            below = name


def same(one, other):
    done = subprocess.run(['qemu-img', 'compare', '-f', 'qcow2', '-F', 'qcow2', str(one),
                           str(other)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f'{one} and {other} differ: {done.stdout}{done.stderr}')


def data_bytes(clusters):
    return len(clusters) * images.CLUSTER


def layers_for(job, clusters, depth=1):
    """Layers and the command of a job that moves `clusters`, spread over `depth` of them."""
    parts = [(f'data{index}', clusters[index::depth]) for index in range(depth)]
    if job == 'stream':
        return [('base', []), *parts, ('top', [])], ('block-stream', {
            'device': 'top', 'base_node': 'base'})
    if job == 'commit':
        return [('base', []), *parts, ('top', [])], ('block-commit', {
            'device': 'top', 'top_node': parts[-1][0], 'base_node': 'base'})
    if job == 'active':
        return [('base', []), *parts], ('block-commit', {
            'device': parts[-1][0], 'base_node': 'base'})
    return parts, ('blockdev-mirror', {'device': parts[-1][0], 'target': 'target',
                                       'sync': 'full'})


def start(job, chain, command, daemon, options, ident='job'):
    """Opens what the job needs; the command that starts it."""
    chain.open(daemon, options)
    if job == 'mirror':
        images.make_qcow2(chain.path('target'), chain.disk_bytes)
        daemon.add('target', chain.path('target'), None, options.cache, options.aio)
    name, arguments = command
    return name, {**arguments, 'job_id': ident}


def result_of(job, chain):
    return chain.path({'stream': 'top', 'mirror': 'target'}.get(job, 'base'))


def job_run(program, folder, options, job, layout, depth=1):
    """Seconds, MB/s and CPU of one job on a quiet machine."""
    disk = options.size_mib * MIB
    clusters = images.clusters_of(layout, disk, options.data_mib * MIB)
    layers, command = layers_for(job, clusters, depth)
    chain = Chain(folder, layers)
    chain.make(disk)
    if options.verify:
        reference = chain.folder / 'reference.qcow2'
        subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', str(chain.path(chain.names[-1])),
                        str(reference)], check=True)
    with Daemon(program, folder) as daemon:
        started = start(job, chain, command, daemon, options)
        before = daemon.cpu_seconds()
        seconds = daemon.run_jobs([started])
        cpu = daemon.cpu_seconds() - before
    if options.verify:
        same(result_of(job, chain), reference)
        subprocess.run(['qemu-img', 'check', '-q', str(result_of(job, chain))], check=True)
    moved = data_bytes(clusters)
    return {'seconds': seconds, 'mb_s': moved / 1e6 / seconds, 'cpu_s_per_gb': cpu / (moved / 1e9)}


def guest_run(program, folder, options, job, depth):
    """A guest's random 4 KiB reads before a job and while it runs; `job` may be 'none'."""
    disk = options.size_mib * MIB
    clusters = images.clusters_of('frag', disk, options.data_mib * MIB)
    layers, command = layers_for('stream' if job == 'none' else job, clusters)
    chain = Chain(folder, layers)
    chain.make(disk)
    with Daemon(program, folder) as daemon:
        started = start(job, chain, command, daemon, options)
        uri = daemon.export(chain.names[-1])
        guest = Guest(uri, folder, depth, size=f'{options.size_mib}M')
        time.sleep(options.before_s)
        cpu, at = daemon.cpu_seconds(), time.time()
        quiet_from = at - options.before_s / 2
        moments = []
        if job == 'none':
            time.sleep(options.before_s)
        else:
            moments.append(time.time())
            daemon.run_jobs([started])
            moments.append(time.time())
            time.sleep(0.5)
        used = daemon.cpu_seconds() - cpu
        end = time.time()
        guest.stop()
    quiet = guest.between(quiet_from, at)
    row = {f'quiet_{name}': value for name, value in quiet.items()}
    if job == 'none':
        busy = guest.between(at, end)
        row |= {f'quiet_{name}': value for name, value in busy.items()}
        row['cpu_us_per_request'] = used * 1e6 / max(busy['iops'] * (end - at), 1)
        return row
    row |= {f'during_{name}': value for name, value in guest.between(*moments).items()}
    row['job_s'] = moments[1] - moments[0]
    row['start_stall_ms'] = guest.stall_around(moments[0])
    row['finish_stall_ms'] = guest.stall_around(moments[1])
    row['iops_share'] = row['during_iops'] / max(row['quiet_iops'], 1e-9)
    row['p99_factor'] = row['during_p99_ms'] / max(row['quiet_p99_ms'], 1e-9)
    return row


def concurrency_run(program, folder, options, jobs, depth, guest_depth, layout):
    """`jobs` streams on disjoint parts of one chain of `depth` layers, under a guest."""
    disk = options.size_mib * MIB
    clusters = images.clusters_of(layout, disk, options.data_mib * MIB)
    layers = [('base', [])] + [(f'l{index}', clusters[index::depth]) for index in range(depth)]
    layers.append(('active', []))
    chain = Chain(folder, layers)
    chain.make(disk)
    # The layers between base and active, cut into `jobs` parts: each is streamed into its top.
    cuts = [round(part * depth / jobs) for part in range(jobs + 1)]
    commands = []
    for part in range(jobs):
        low, high = cuts[part], cuts[part + 1]
        top = 'active' if part == jobs - 1 else f'l{high - 1}'
        # By its bottom: the base is another job's top, with a filter above it.
        commands.append(('block-stream', {'device': top, 'job_id': f'job{part}',
                                          'bottom': f'l{low}'}))
    with Daemon(program, folder) as daemon:
        chain.open(daemon, options)
        guest = None
        if guest_depth:
            guest = Guest(daemon.export('active'), folder, guest_depth, size=f'{options.size_mib}M')
            time.sleep(options.before_s)
        cpu, begun = daemon.cpu_seconds(), time.time()
        seconds = daemon.run_jobs(commands)
        ended, used = time.time(), daemon.cpu_seconds() - cpu
        if guest:
            time.sleep(0.5)
            guest.stop()
    # What a job finds at the top of its own part stays where it is.
    moved = sum(data_bytes(clusters[index::depth]) for part in range(jobs)
                for index in range(cuts[part], cuts[part + 1] - (0 if part == jobs - 1 else 1)))
    row = {'job_s': seconds, 'mb_s': moved / 1e6 / seconds, 'cpu_s_per_gb': used / (moved / 1e9)
           if moved else 0.0}
    if guest:
        quiet = guest.between(begun - options.before_s / 2, begun)
        row |= {f'during_{name}': value for name, value in guest.between(begun, ended).items()}
        row['quiet_iops'], row['quiet_p99_ms'] = quiet['iops'], quiet['p99_ms']
        row['iops_share'] = row['during_iops'] / max(quiet['iops'], 1e-9)
        row['start_stall_ms'] = guest.stall_around(begun)
        row['finish_stall_ms'] = guest.stall_around(ended)
    return row
