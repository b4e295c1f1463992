"""Images for benchmarks: qcow2 layers whose data clusters lie where a layout says.

Written directly, since qemu-io needs a command per cluster. `qemu-img check` accepts them.
"""

import os
import random
import struct

CLUSTER = 64 << 10
MIB = 1 << 20
LAYOUTS = ('seq', 'frag', 'shuffle', 'sparse')


def clusters_of(layout, disk_bytes, data_bytes, seed=1):
    """Guest clusters that hold data, in the order in which they lie in the file.

    seq      one run from the start
    frag     single clusters with gaps, in guest order
    shuffle  the same, in random order: an image that has aged
    sparse   one cluster in twenty of the disk
    """
    total = disk_bytes // CLUSTER
    count = min(total, data_bytes // CLUSTER)
    chooser = random.Random(seed)
    if layout == 'seq':
        return list(range(count))
    if layout == 'sparse':
        return sorted(chooser.sample(range(total), max(1, total // 20)))
    chosen = [index * total // count for index in range(count)]
    if layout == 'shuffle':
        chooser.shuffle(chosen)
    return chosen


def make_qcow2(path, disk_bytes, clusters=(), backing=None, tag=1):
    """A version 3 image; every data cluster begins with `tag` and its number. Not yet on the disk:
    see forget()."""
    clusters = list(clusters)
    tables = -(-disk_bytes // (CLUSTER * (CLUSTER // 8)))
    used_tables = sorted({cluster // (CLUSTER // 8) for cluster in clusters})
    # header, reference table, reference blocks, L1, L2 tables, data
    fixed = 2 + -(-(tables * 8) // CLUSTER) + len(used_tables)
    blocks = 1
    while blocks * (CLUSTER // 2) < fixed + blocks + len(clusters):
        blocks += 1
    l1_at = 2 + blocks
    l2_at = l1_at + -(-(tables * 8) // CLUSTER)
    data_at = l2_at + len(used_tables)
    total = data_at + len(clusters)
    name = os.fspath(backing).encode() if backing else b''
    extension = struct.pack('>II', 0xe2792aca, 5) + b'qcow2\0\0\0' if backing else b''
    name_at = 112 + len(extension) + 8 if backing else 0
    header = struct.pack('>4sIQIIQIIQQIIQQQQIIB7x', b'QFI\xfb', 3, name_at, len(name), 16,
                         disk_bytes, 0, tables, l1_at * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 112,
                         0)
    header += extension + bytes(8) + name
    with open(path, 'wb') as image:
        fd = image.fileno()
        os.pwrite(fd, header, 0)
        os.pwrite(fd, b''.join(struct.pack('>Q', (2 + index) * CLUSTER) for index in range(blocks)),
                  CLUSTER)
        counts = struct.pack('>H', 1) * total
        os.pwrite(fd, counts, 2 * CLUSTER)
        l2_of = {table: l2_at + index for index, table in enumerate(used_tables)}
        copied = 1 << 63
        for table, at in l2_of.items():
            os.pwrite(fd, struct.pack('>Q', at * CLUSTER | copied), l1_at * CLUSTER + table * 8)
        entries = {}
        for index, cluster in enumerate(clusters):
            entries.setdefault(cluster // (CLUSTER // 8), {})[cluster % (CLUSTER // 8)] = (
                (data_at + index) * CLUSTER | copied)
        for table, rows in entries.items():
            content = bytearray(CLUSTER)
            for row, value in rows.items():
                struct.pack_into('>Q', content, row * 8, value)
            os.pwrite(fd, content, l2_of[table] * CLUSTER)
        body = random.Random(tag).randbytes(CLUSTER - 16) if clusters else b''
        for start in range(0, len(clusters), 64):
            part = clusters[start:start + 64]
            os.pwrite(fd, b''.join(struct.pack('<QQ', tag, one) + body for one in part),
                      (data_at + start) * CLUSTER)
        os.ftruncate(fd, total * CLUSTER)
    return path


def make_flat(path, size):
    """A plain file of data that no file system takes for zeroes."""
    body = random.Random(0).randbytes(MIB)
    with open(path, 'wb') as file:
        for at in range(0, size, MIB):
            file.write(body[:min(MIB, size - at)])
    return path


def spread(layout, clusters, parts):
    """Clusters dealt out to so many layers or jobs: runs to `seq`, else one after the other."""
    if layout != 'seq':
        return [clusters[index::parts] for index in range(parts)]
    cuts = [len(clusters) * index // parts for index in range(parts + 1)]
    return [clusters[low:high] for low, high in zip(cuts, cuts[1:])]


def forget(*paths):
    """Writes the files to the disk and takes them out of the host's cache."""
    for path in paths:
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def warm(*paths):
    """Writes the files to the disk and leaves them in the host's cache."""
    for path in paths:
        with open(path, 'rb', buffering=0) as file:
            os.fsync(file.fileno())
            while file.read(MIB):
                pass
