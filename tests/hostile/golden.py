"""Golden images: what qemu-img and qemu-io make, over the options of the format.

Each is small, holds data, zeroes, a discarded cluster and a hole, and is valid: qemu-img checks it
clean. The hostile images of mutations.py are made of these.
"""

import pathlib
import subprocess

# name: (options of `qemu-img create -o`, size, unit of the guest's writes, further steps)
GOLDEN = {
    'c512': ('cluster_size=512', 256 * 1024, 512, ()),
    'c4k': ('cluster_size=4096', 1 << 20, 4096, ()),
    'c64k': ('cluster_size=65536', 4 << 20, 65536, ()),
    'c2m': ('cluster_size=2M', 16 << 20, 2 << 20, ()),
    'v2': ('compat=0.10,cluster_size=4096', 1 << 20, 4096, ()),
    'rc1': ('cluster_size=4096,refcount_bits=1', 1 << 20, 4096, ()),
    'rc8': ('cluster_size=1024,refcount_bits=8', 1 << 19, 1024, ('snapshot',)),
    'rc64': ('cluster_size=4096,refcount_bits=64', 1 << 20, 4096, ('snapshot',)),
    'lazy': ('cluster_size=4096,lazy_refcounts=on', 1 << 20, 4096, ()),
    'extended': ('cluster_size=16384,extended_l2=on', 2 << 20, 16384, ()),
    'zlib': ('cluster_size=4096', 1 << 20, 4096, ('compressed',)),
    'zstd': ('cluster_size=4096,compression_type=zstd', 1 << 20, 4096, ('compressed',)),
    'snapshots': ('cluster_size=4096', 1 << 20, 4096, ('snapshot', 'snapshot')),
    'bitmaps': ('cluster_size=4096', 1 << 20, 4096, ('bitmap',)),
    'preallocated': ('cluster_size=4096,preallocation=metadata', 1 << 20, 4096, ()),
    'overlay': ('cluster_size=4096', 1 << 20, 4096, ('backing',)),
}


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _write(path, unit, compressed):
    commands = []
    for number, offset in enumerate((0, 1, 2, 3, 5)):
        kind = '-c ' if compressed and offset % 2 else ''
        commands += ['-c', f'write {kind}-P {number + 1} {offset * unit} {unit}']
    commands += ['-c', f'write -z {2 * unit} {unit}', '-c', f'discard {3 * unit} {unit}']
    run('qemu-io', '-f', 'qcow2', *commands, str(path))


def make(folder, name):
    """Makes one golden image and returns its path; its backing file is beside it."""
    options, size, unit, steps = GOLDEN[name]
    path = pathlib.Path(folder) / f'{name}.qcow2'
    if 'backing' in steps:
        base = path.with_name('base.raw')
        base.write_bytes(b'b' * (size // 2))
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, '-b', 'base.raw', '-F', 'raw',
            str(path), str(size))
    else:
        run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, str(path), str(size))
    _write(path, unit, 'compressed' in steps)
    for number, step in enumerate(steps):
        if step == 'snapshot':
            run('qemu-img', 'snapshot', '-c', f'snap{number}', str(path))
            run('qemu-io', '-f', 'qcow2', '-c', f'write -P 9 {unit} {unit}', str(path))
        elif step == 'bitmap':
            run('qemu-img', 'bitmap', '--add', '-g', '64k', str(path), 'bitmap0')
    return path
