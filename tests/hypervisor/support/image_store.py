"""Images for many runs of scripts: made once for all programs, and looked at once if they are equal.

Starting QEMU's tools is what a random script costs most. An image's header names its backing image
by an absolute path; all folders of scripts have paths of one length, so that a copy for another
folder is the same file with the path replaced.
"""

import hashlib
import pathlib
import re
import shutil
import struct
import tempfile

from support.images import Images

PREFIX = 'millrace-script-'
HEADER_BYTES = 65536  # names in headers lie in the first cluster
QCOW2_MAGIC = b'QFI\xfb'


class ImageStore:
    """The images that scripts begin with, by the lines that make them."""

    def __init__(self):
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX))
        self._images = Images(self._folder)
        self._empty = {}  # line: bytes of the image just made

    def close(self):
        shutil.rmtree(self._folder, ignore_errors=True)

    def make(self, text):
        """{name: bytes} of all images of a script, as they are when its program starts."""
        lines = [line.split(maxsplit=3) for line in text.splitlines()]
        names, fills = [], []
        for words in lines:
            if words[:1] in (['image'], ['overlay']):
                names.append(words[1])
                self._put(' '.join(words), words)
            elif words[:1] == ['fill']:
                fills.append(f'open -o driver={words[2]} {words[1]}')
                fills += [*words[3].split(';'), 'close']
        if fills:
            told = self._images.run('qemu-io', *(word for one in fills for word in ('-c', one)))
            if told:
                raise AssertionError(told)
        return {name: (self._folder / name).read_bytes() for name in names}

    def _put(self, line, words):
        path = self._folder / words[1]
        if line not in self._empty:
            if words[0] == 'image':
                self._images.create(*words[1:])
            else:
                self._images.create(words[1], backing=self._images.path(words[2]))
            self._empty[line] = path.read_bytes()
        path.write_bytes(self._empty[line])

    def copy(self, images, folder):
        """Writes them into a folder of a script, whose path then stands in their headers."""
        for name, data in images.items():
            head = _renamed(data[:HEADER_BYTES], self._folder, folder)
            (folder / name).write_bytes(head + data[HEADER_BYTES:])


def _renamed(head, old, new):
    if len(str(old)) != len(str(new)):
        raise ValueError(f'{old} and {new} differ in length')
    return head.replace(bytes(old), bytes(new))


def digest_of_chain(path):
    """The same for images that QEMU's tools tell the same of, whatever folder they are in; or None.

    None if what the header names is not a plain path in the folder itself.
    """
    digest = hashlib.sha256()
    for _ in range(64):
        data = path.read_bytes()
        head = _renamed(data[:HEADER_BYTES], path.parent, pathlib.Path('?' * len(str(path.parent))))
        digest.update(path.name.encode() + struct.pack('>Q', len(data)) + head)
        digest.update(data[HEADER_BYTES:])
        if data[:4] != QCOW2_MAGIC:
            return None
        offset, length = struct.unpack('>QI', data[8:20])
        if not offset:
            return digest.digest()
        name = data[offset:offset + length].decode(errors='replace')
        if not re.fullmatch(re.escape(str(path.parent)) + r'/[\w.-]+', name):
            return None
        path = pathlib.Path(name)
        if not path.exists():
            return None
    return None
