"""Where we answer otherwise than QEMU 7.2 about a broken image, and why.

A rule is (image, kind, detail, reason), the first three as regular expressions that must be found.
Kinds are hostile_test.py's: "map refused", "check says clean, QEMU corrupt", ...
"""

import re

_BEYOND = 'what lies beyond the end of the file is refused at once, where QEMU reads zeroes there'
_STRICT = 'a reserved bit is refused, where QEMU ignores it: it may mean anything'

RULES = tuple((re.compile(image), re.compile(kind), re.compile(detail), why)
              for image, kind, detail, why in (
    ('', 'refused', 'beyond the end of the file', _BEYOND),
    ('', 'refused', 'outside any file', _BEYOND),
    ('', 'refused', 'reserved bits?', _STRICT),
    ('', 'refused', "compressed L2 entry .* ('copied' flag|subcluster bitmap)", _STRICT),
    ('', 'refused', 'snapshot table is at offset 0|overlaps? the header|where the header is',
     'a table that lies in the header is refused, where QEMU takes the header for one'),
    ('', 'accepted', 'Snapshot table offset invalid|snapshot table offset invalid',
     'where nothing is said to be there are no snapshots, wherever they are'),
    ('', 'accepted', 'Too much extra metadata|failed to read the snapshot table',
     'a check reports a snapshot table that cannot be read, and goes on'),
    ('', 'accepted', 'Reference count table|snapshot table too large',
     'a check goes on with refcount structures and snapshots that cannot be used: it can mend them'),
    ('overlay/', 'check accepted', 'Could not open backing file',
     'a check does not need the backing file, and does not open it'),
    ('bitmap_flags', 'accepted', 'constraints',
     'of a bitmap with unknown flags nothing is believed; the disk can be read'),
    ('bitmap|extension', 'accepted', 'itmap', 'bitmaps that are out of order do not keep the disk '
     'from being read'),
    ('', 'refused', r'header length .* is not a multiple of 8|less than its header|the file has \d+ bytes',
     'QEMU reads the rest of a header that is cut off, or too long by a few bytes, as zeroes'),
    ('backing_offset', 'accepted', 'Header extension too large',
     'an offset without a name means nothing; QEMU looks for extensions up to there only'),
    ('bitmaps/backing_offset', 'check says clean, QEMU leaks', '',
     'an offset without a name means nothing; QEMU looks for extensions up to there only'),
    ('', 'refused', 'backing file (name|format) contains a NUL byte',
     'a name with a NUL byte is refused, where QEMU cuts it off there'),
    ('/l1/header', 'check says leaks', '',
     'an L1 entry without an offset is none, whatever its flags; QEMU takes the header for a table'),
    ('truncated', 'refused', 'backing file name .* does not lie between the header and the end of cluster 0',
     'a file that ends before its backing file name is refused; QEMU reads an empty name there'),
    ('bitmaps/truncated', 'refused|check says corrupt', 'bitmap directory .* end of the file', _BEYOND),
    ('backing_name/self', 'refused', 'backing chain is a loop',
     'an image that is its own backing file is refused; QEMU takes it, as a raw one here'),
    ('header_length|backing_offset', 'refused', 'does not lie between the header and the end of cluster 0',
     'a backing file name inside the header is refused, where QEMU reads it there'),
    ('extension', 'refused', 'external data file',
     'whoever names a data file means it, feature bit or not'),
    ('snapshot', 'refused', 'snapshot .* has .* extra data',
     'what the format asks for is asked for; QEMU goes on with a warning'),
    ('size/', '^map$', '', 'a size that is no multiple of 512 is kept, where QEMU cuts it off'),
    ('^v2/|version/0x2', 'check says', 'zero flag', 'version 2 has no zero clusters'),
    ('', 'QEMU does not answer', '',
     'QEMU reads table entries that are not there one by one; on a loaded machine that takes minutes'),
    ('', 'check says corrupt, QEMU clean', 'reserved bit', _STRICT),
    ('', 'check says corrupt, QEMU (clean|leaks)', 'shares cluster',
     'a table that is changed where it is must have its clusters for itself; QEMU counts uses only'),
    ('', 'check counts corrupt', '',
     'both call it corrupt; what is counted per broken table is not the same'),
))


def reason(image, kind, detail):
    for images, kinds, details, why in RULES:
        if images.search(image) and kinds.search(kind) and details.search(detail):
            return why
    return None
