"""Many nodes and jobs in one daemon, and deep chains: what is measured, as in workloads.py."""

import pathlib
import statistics
import time

from harness import images
from harness.daemon import Daemon
from harness.images import MIB
from harness.wire import Wire

IDLE_S = 2


def median_us(seconds):
    return statistics.median(seconds) * 1e6


def growth(seconds):
    """The last tenth by the first."""
    tenth = max(1, len(seconds) // 10)
    return statistics.median(seconds[-tenth:]) / max(statistics.median(seconds[:tenth]), 1e-9)


def many_nodes(program, folder, nodes, most_jobs):
    """Pairs of null nodes, the first of them each with a mirror that becomes ready."""
    pairs = nodes // 2
    jobs = [f'j{index}' for index in range(min(pairs, most_jobs))]
    with Daemon(program, folder, Wire.connect) as daemon:
        wire = daemon.qmp
        begun, memory = time.monotonic(), daemon.memory_kb()
        adds = [wire.call('blockdev-add', {'driver': 'null-co', 'node-name': f'{side}{index}',
                                           'size': MIB, 'read-zeroes': True})
                for index in range(pairs) for side in 'ab']
        nodes_kb = daemon.memory_kb() - memory
        starts = [wire.call('blockdev-mirror', {'job-id': job, 'device': f'a{job[1:]}',
                                                'target': f'b{job[1:]}', 'sync': 'full'})
                  for job in jobs]
        wire.wait_for('BLOCK_JOB_READY', len(jobs))
        jobs_kb = daemon.memory_kb() - memory - nodes_kb
        busy = time.monotonic() - begun
        cpu = daemon.cpu_seconds()
        time.sleep(IDLE_S)
        idle_percent = (daemon.cpu_seconds() - cpu) / IDLE_S * 100
        begun = time.monotonic()
        for job in jobs:
            wire.call('block-job-complete', {'device': job})
        wire.wait_for('BLOCK_JOB_COMPLETED', len(jobs))
        deletions = [wire.call('blockdev-del', {'node-name': f'{side}{index}'})
                     for index in range(pairs) for side in 'ba']
        busy += time.monotonic() - begun
    return {'null_add_us': median_us(adds), 'null_add_growth': growth(adds),
            'null_del_us': median_us(deletions), 'null_del_growth': growth(deletions),
            'job_start_us': median_us(starts),
            'job_start_growth': growth(starts), 'total_s': busy,
            'null_node_kb': nodes_kb / len(adds), 'idle_job_kb': jobs_kb / len(jobs),
            'idle_cpu_percent': idle_percent}


def qcow2(name, path, backing=''):
    """A node over the file; `backing`: a node's name, None for none, '' as the header says."""
    node = {'driver': 'qcow2', 'node-name': name, 'file': {
        'driver': 'file', 'filename': str(path), 'cache': {'direct': True}}}
    return node if backing == '' else {**node, 'backing': backing}


def deep_chain(program, folder, paths):
    """Opens the chain of these images, all at once and one by one; snapshots, and a stream on top."""
    overlays = [pathlib.Path(folder) / f'over{index}.qcow2' for index in range(10)]
    for overlay in overlays:
        images.make_qcow2(overlay, 1 << 30, (), paths[-1])
    images.forget(*overlays)
    with Daemon(program, folder, Wire.connect) as daemon:
        opened = daemon.qmp.call('blockdev-add', qcow2('top', paths[-1]))
        queries = [daemon.qmp.call('query-named-block-nodes') for _ in range(3)]
    with Daemon(program, folder, Wire.connect) as daemon:
        wire, memory, below, adds = daemon.qmp, daemon.memory_kb(), None, []
        for index, path in enumerate(paths):
            adds.append(wire.call('blockdev-add', qcow2(f'd{index}', path, below)))
            below = f'd{index}'
        nodes_kb = daemon.memory_kb() - memory
        snapshots = []
        for index, path in enumerate(overlays):
            wire.call('blockdev-add', qcow2(f'over{index}', path, None))
            snapshots.append(wire.call('blockdev-snapshot',
                                       {'node': below, 'overlay': f'over{index}'}))
            below = f'over{index}'
        started = wire.call('block-stream', {'job-id': 'j', 'device': below, 'base-node': 'over7'})
        wire.wait_for('BLOCK_JOB_COMPLETED', 1)
    return {'open_ms': opened * 1e3, 'snapshot_ms': statistics.median(snapshots) * 1e3,
            'stream_start_ms': started * 1e3, 'query_ms': statistics.median(queries) * 1e3,
            'qcow2_add_us': median_us(adds), 'qcow2_node_kb': nodes_kb / len(adds)}


def make_chain(folder, depth):
    paths = []
    for index in range(depth):
        clusters = [index * 3 % 16384, 16383 - index]
        paths.append(images.make_qcow2(pathlib.Path(folder) / f'd{index}.qcow2', 1 << 30, clusters,
                                       paths[-1] if paths else None, index + 1))
    images.forget(*paths)
    return paths
