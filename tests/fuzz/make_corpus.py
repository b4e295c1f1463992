#!/usr/bin/env python3
"""Makes the seeds of the qcow2 fuzzers from small images of qemu-img: make_corpus.py [CORPUS]

Run by hand when a fuzzer's input changes; what it makes is kept in corpus/.
"""

import pathlib
import struct
import subprocess
import sys
import tempfile

IMAGES = {  # name: (options, size, unit, commands for qemu-io, commands for qemu-img)
    'plain': ('cluster_size=512', 65536, 512, (), ()),
    'version2': ('compat=0.10,cluster_size=512', 65536, 512, (), ()),
    'narrow': ('cluster_size=512,refcount_bits=1', 65536, 512, (), ()),
    'wide': ('cluster_size=512,refcount_bits=64', 65536, 512, (), ()),
    'lazy': ('cluster_size=512,lazy_refcounts=on', 65536, 512, (), ()),
    'compressed': ('cluster_size=512', 65536, 512, ('write -c -P 7 2048 512',), ()),
    'snapshot': ('cluster_size=512', 65536, 512, (), (('snapshot', '-c', 'one'),)),
    'snapshots': ('cluster_size=512', 65536, 512, (),
                  (('snapshot', '-c', 'one'), ('snapshot', '-c', 'another of them'))),
    'bitmaps': ('cluster_size=512', 65536, 512, (),
                (('bitmap', '--add', '-g', '512'), ('bitmap', '--add', '-g', '64k', '--disable'))),
}
OPERATIONS = bytes([0, 0, 0, 1, 1, 0, 5, 3, 3, 0, 1, 2, 4, 0, 2, 5, 4, 0, 0, 2, 2, 0, 60, 15])


def make(folder, name):
    options, size, unit, writes, steps = IMAGES[name]
    path = pathlib.Path(folder) / name
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, path, str(size)],
                   check=True)
    commands = [f'write -P 1 0 {unit}', f'write -P 2 {2 * unit} {unit}', f'write -z {unit} {unit}',
                *writes]
    for command in commands:
        subprocess.run(['qemu-io', '-f', 'qcow2', '-c', command, path], check=True,
                       stdout=subprocess.DEVNULL)
    for number, (verb, *arguments) in enumerate(steps):
        last = [f'bitmap{number}'] if verb == 'bitmap' else []
        if verb == 'snapshot':
            command = ['qemu-img', verb, *arguments, path]
        else:
            command = ['qemu-img', verb, *arguments, path, *last]
        subprocess.run(command, check=True)
    return path.read_bytes()


def extensions(image):
    if struct.unpack_from('>I', image, 4)[0] < 3:
        return b''
    return image[struct.unpack_from('>I', image, 100)[0]:512]


def snapshots(image):
    count, offset = struct.unpack_from('>IQ', image, 60)
    return struct.pack('>H', count) + image[offset:offset + 512] if count else b''


def bitmaps(image):
    at = image.find(struct.pack('>II', 0x23852875, 24), 0, 512)
    if at < 0:
        return b''
    count, _, size, offset = struct.unpack_from('>IIQQ', image, at + 8)
    return struct.pack('>H', count) + image[offset:offset + size]


def main(corpus):
    seeds = {'qcow2_operations': lambda image: bytes([len(OPERATIONS) // 4]) + OPERATIONS + image,
             'qcow2_header': extensions, 'qcow2_snapshots': snapshots, 'qcow2_bitmaps': bitmaps}
    with tempfile.TemporaryDirectory() as folder:
        for name in IMAGES:
            image = make(folder, name)
            for fuzzer, cut in seeds.items():
                if seed := cut(image):
                    (corpus / fuzzer).mkdir(parents=True, exist_ok=True)
                    (corpus / fuzzer / name).write_bytes(seed)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else
         pathlib.Path(__file__).resolve().parent / 'corpus')
