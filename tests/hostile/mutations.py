"""Malformed qcow2 images, by class: what a lying header, table or directory could say.

mutations(image) yields (name, changed image) pairs. Names are "class/value"; the classes are those
of every field of the header, every kind of table entry, the snapshot table, header extensions and
the bitmap directory, and truncation.
"""

import struct

HEADER = {  # name: (offset, width)
    'magic': (0, 4), 'version': (4, 4), 'backing_offset': (8, 8), 'backing_size': (16, 4),
    'cluster_bits': (20, 4), 'size': (24, 8), 'crypt_method': (32, 4), 'l1_size': (36, 4),
    'l1_offset': (40, 8), 'refcount_table_offset': (48, 8), 'refcount_table_clusters': (56, 4),
    'snapshot_count': (60, 4), 'snapshots_offset': (64, 8), 'incompatible': (72, 8),
    'compatible': (80, 8), 'autoclear': (88, 8), 'refcount_order': (96, 4),
    'header_length': (100, 4), 'compression_type': (104, 1),
}
OFFSET_MASK = 0x00fffffffffffe00
FORMATS = {1: '>B', 2: '>H', 4: '>I', 8: '>Q'}


class Image(bytearray):
    """The bytes of an image, and where things stand in it."""

    def get(self, offset, width):
        if offset + width > len(self):
            return 0
        return struct.unpack_from(FORMATS[width], self, offset)[0]

    def put(self, offset, width, value):
        if offset + width <= len(self):
            struct.pack_into(FORMATS[width], self, offset, value & ((1 << 8 * width) - 1))

    def field(self, name):
        return self.get(*HEADER[name])

    @property
    def cluster(self):
        return 1 << self.field('cluster_bits')

    def changed(self, offset, width, value):
        copy = Image(self)
        copy.put(offset, width, value)
        return copy


def _header_values(image):
    cluster = image.cluster
    end = len(image)
    offsets = [0, 1, 8, 511, cluster - 8, cluster, cluster + 512, end - cluster, end, end + cluster,
               1 << 40, 1 << 55, 1 << 56, (1 << 63) - cluster, (1 << 64) - cluster, (1 << 64) - 1]
    counts = [0, 1, 2, 7, 255, 65535, 65536, 65537, 1 << 22, 0x7fffffff, 0xffffffff]
    return {
        'magic': [0, 0x514649fa, 0xfb494651],
        'version': [0, 1, 2, 3, 4, 5, 0x80000003, 0xffffffff],
        'backing_offset': offsets, 'backing_size': [0, 1, 7, 1022, 1023, 1024, cluster, 0xffffffff],
        'cluster_bits': [0, 1, 8, 9, 10, 12, 15, 21, 22, 31, 32, 63, 64, 0xffffffff],
        'size': [0, 1, 511, 513, cluster, image.field('size') - 512, image.field('size') + 512,
                 1 << 40, 1 << 56, (1 << 63) - 512, (1 << 63) - 1, 1 << 63, (1 << 64) - 1],
        'crypt_method': [1, 2, 3, 0xffffffff],
        'l1_size': [max(image.field('l1_size') - 1, 0), image.field('l1_size') + 1] + counts,
        'l1_offset': offsets,
        'refcount_table_offset': offsets, 'refcount_table_clusters': counts,
        'snapshot_count': counts, 'snapshots_offset': offsets,
        'incompatible': [1, 2, 3, 4, 8, 16, 32, 1 << 40, 1 << 63, (1 << 64) - 1],
        'compatible': [0, 1, 2, 1 << 63, (1 << 64) - 1],
        'autoclear': [0, 1, 2, 3, 4, 1 << 63],
        'refcount_order': [0, 1, 3, 4, 5, 6, 7, 8, 31, 64, 255, 0xffffffff],
        'header_length': [0, 72, 103, 104, 105, 108, 112, 120, cluster - 8, cluster, cluster + 8,
                          0x7fffffff, 0xffffffff],
        'compression_type': [0, 1, 2, 255],
    }


def _fields(image):
    for name, values in _header_values(image).items():
        if image.field('version') == 2 and HEADER[name][0] >= 72:
            continue
        for value in values:
            yield f'{name}/{value:#x}', image.changed(*HEADER[name], value)


def _entry_values(image, value):
    cluster = image.cluster
    flags = value & ~OFFSET_MASK
    block = image.get(image.field('refcount_table_offset'), 8) & OFFSET_MASK
    targets = {
        'none': 0, 'header': 1 << 63, 'l1': image.field('l1_offset') | 1 << 63,
        'refcounts': image.field('refcount_table_offset') | 1 << 63,
        'shared_l1': image.field('l1_offset'), 'refcount_block': block,
        'compressed_header': 1 << 62 | 512,
        'unaligned': value + 512 if cluster > 512 else value | 1 << 56,
        'end': flags | -(-len(image) // cluster) * cluster, 'beyond': flags | 1 << 45,
        'far': flags | (OFFSET_MASK & -cluster), 'not_copied': value & ~(1 << 63),
        'copied': value | 1 << 63, 'compressed': value | 1 << 62,
        'compressed_far': 1 << 62 | 0x3fffffffffffffff, 'zero': value | 1,
        'reserved': value | 0x3e, 'reserved_high': value | 1 << 57, 'all_ones': (1 << 64) - 1,
    }
    return targets.items()


def _entries(image, what, offset, width=8):
    for name, value in _entry_values(image, image.get(offset, width)):
        yield f'{what}/{name}', image.changed(offset, width, value)


def _first(image, table, count, step=8):
    """The place of the first entry that is not empty, else of the first."""
    for number in range(count):
        if image.get(table + step * number, 8) & OFFSET_MASK:
            return table + step * number
    return table


def _tables(image):
    l1 = _first(image, image.field('l1_offset'), image.field('l1_size'))
    yield from _entries(image, 'l1', l1)
    l2 = image.get(l1, 8) & OFFSET_MASK
    step = 16 if image.field('incompatible') & 16 else 8
    for number in range(4):
        yield from _entries(image, f'l2_{number}', l2 + number * step)
    if step == 16:
        for value in (0, 1, 0xffffffff, 1 << 32, 0xffffffff00000000, (1 << 64) - 1, 0x100000001):
            yield f'subclusters/{value:#x}', image.changed(l2 + 8, 8, value)
    if image.field('l1_size') > 1:
        yield 'l1/shared', image.changed(image.field('l1_offset') + 8, 8, image.get(l1, 8))
    shared = image.changed(l2 + 2 * step, 8, image.get(l2, 8))
    yield 'l2/shared', shared
    table = image.field('refcount_table_offset')
    for name, value in _entry_values(image, image.get(table, 8)):
        yield f'refcount_table/{name}', image.changed(table, 8, value & ~(1 << 63))
    yield 'refcount_table/second', image.changed(table + 8, 8, image.get(table, 8))
    block = image.get(table, 8) & OFFSET_MASK
    for where in (0, 1, 4, 8, 12, 16):
        for value in (0, 1, 2, 0x7f, 0xff):
            yield f'refcount_{where}/{value:#x}', image.changed(block + where, 1, value)
    empty = Image(image)
    empty[block:block + image.cluster] = bytes(len(empty[block:block + image.cluster]))
    yield 'refcounts/all_zero', empty
    full = Image(image)
    full[block:block + image.cluster] = b'\xff' * len(full[block:block + image.cluster])
    yield 'refcounts/all_ones', full


def _snapshots(image):
    if image.field('snapshot_count') == 0:
        return
    entry = image.field('snapshots_offset')
    values = {  # offset in the entry: (name, width, values)
        0: ('l1_offset', 8, (0, 1, 512, image.cluster, len(image), 1 << 56, (1 << 64) - 1)),
        8: ('l1_size', 4, (0, 1, 0x400000, 0x7fffffff, 0xffffffff)),
        12: ('id_bytes', 2, (0, 1, 255, 0xffff)),
        14: ('name_bytes', 2, (0, 1, 1023, 0xffff)),
        36: ('extra_bytes', 4, (0, 1, 12, 15, 16, 17, 1024, 1025, 0x7fffffff, 0xffffffff)),
        40: ('vm_state_bytes', 8, (1, 1 << 63, (1 << 64) - 1)),
        48: ('disk_bytes', 8, (0, 1, 512, 1 << 40, (1 << 64) - 1)),
    }
    for offset, (name, width, numbers) in values.items():
        for value in numbers:
            yield f'snapshot_{name}/{value:#x}', image.changed(entry + offset, width, value)


def _extensions(image):
    if image.field('version') < 3:
        return
    at = image.field('header_length')
    for _ in range(4):
        kind, length = image.get(at, 4), image.get(at + 4, 4)
        if kind == 0:
            break
        for value in (0, 1, 7, length - 1, length + 1, image.cluster, 0x7fffffff, 0xfffffff8,
                      0xffffffff):
            yield f'extension_{kind:x}_length/{value:#x}', image.changed(at + 4, 4, value)
        for value in (0, 0xe2792aca, 0x6803f857, 0x23852875, 0x0537be77, 0x44415441, 0x12345678):
            yield f'extension_{kind:x}_kind/{value:#x}', image.changed(at, 4, value)
        if kind == 0x23852875:
            yield from _bitmaps(image, at + 8)
        at += 8 + -(-length // 8) * 8


def _bitmaps(image, at):
    fields = {'count': (0, 4, (0, 2, 65535, 65536, 0xffffffff)),
              'reserved': (4, 4, (1,)),
              'directory_bytes': (8, 8, (0, 1, 23, 1 << 20, 1 << 32, (1 << 64) - 1)),
              'directory_offset': (16, 8, (0, 1, image.cluster, len(image), 1 << 56, (1 << 64) - 1))}
    for name, (offset, width, values) in fields.items():
        for value in values:
            yield f'bitmaps_{name}/{value:#x}', image.changed(at + offset, width, value)
    directory = image.get(at + 16, 8)
    fields = {'table_offset': (0, 8, (0, 1, image.cluster, len(image), (1 << 64) - 1)),
              'table_size': (8, 4, (0, 2, 0x8000001, 0xffffffff)),
              'flags': (12, 4, (0, 1, 3, 4, 0xffffffff)),
              'type': (16, 1, (0, 2, 255)), 'granularity': (17, 1, (0, 8, 9, 31, 32, 63, 255)),
              'name_bytes': (18, 2, (0, 1023, 1024, 0xffff)),
              'extra_bytes': (20, 4, (1, 0x7fffffff, 0xffffffff))}
    for name, (offset, width, values) in fields.items():
        for value in values:
            yield f'bitmap_{name}/{value:#x}', image.changed(directory + offset, width, value)


def _names(image):
    """What a backing file's name may be; all stand at the end of the first cluster."""
    if image.field('backing_offset') == 0 or image.cluster < 2048:
        return
    for name, text in {
            'nul': b'base\0.raw', 'newline': b'base\n.raw', 'escape': b'\x1b[31mbase',
            'json': b'json:{"driver":"file","filename":"base.raw"}', 'nbd': b'nbd://localhost/x',
            'etc': b'/etc/shadow', 'up': b'../../../../../../etc/passwd', 'spaces': b'base.raw   ',
            'utf8': b'\xff\xfe\xc0\x80', 'self': b'hostile.qcow2', 'long': b'x' * 1023,
            'missing': b'missing.raw', 'folder': b'.', 'fat': b'fat:rw:.'}.items():
        copy = Image(image)
        at = image.cluster - 1024
        copy[at:at + len(text)] = text
        copy.put(*HEADER['backing_offset'], at)
        copy.put(*HEADER['backing_size'], len(text))
        yield f'backing_name/{name}', copy


def _truncations(image):
    cluster = image.cluster
    for bytes_left in (0, 1, 4, 71, 72, 103, 104, 111, 112, cluster // 2, cluster, 2 * cluster,
                       3 * cluster, len(image) // 2, len(image) - cluster, len(image) - 1):
        if 0 <= bytes_left < len(image):
            yield f'truncated/{bytes_left:#x}', Image(image[:bytes_left])


def mutations(image):
    yield 'golden/', image
    for part in (_fields, _tables, _snapshots, _extensions, _names, _truncations):
        yield from part(image)
