"""The guest's kernel and initramfs, from Debian packages; nothing is installed on the host."""

import pathlib
import re
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
MODULES = ('virtio_pci', 'virtio_blk', 'ext4')
PROGRAMS = ('mke2fs', 'e2fsck')


class Missing(Exception):
    """Something that the run needs is not on this machine."""


def _program(name):
    found = shutil.which(name) or shutil.which(name, path='/sbin:/usr/sbin')
    if not found:
        raise Missing(f'{name} is not installed')
    return pathlib.Path(found)


def _run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


def kernel_package(cache):
    """The unpacked package of the newest cloud kernel, below `cache`; fetched once."""
    unpacked = cache / 'kernel'
    if not list(unpacked.glob('boot/vmlinuz-*')):
        depends = _run('apt-cache', 'depends', 'linux-image-cloud-amd64')
        match = re.search(r'Depends: (linux-image-\S+-cloud-amd64)', depends)
        if not match:
            raise Missing('apt knows no linux-image-cloud-amd64')
        cache.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(['apt-get', 'download', match.group(1)], cwd=cache,
                              capture_output=True, text=True, check=False)
        packages = sorted(cache.glob(f'{match.group(1)}_*.deb'))
        if done.returncode or not packages:
            raise Missing(f'apt-get download {match.group(1)}: {done.stderr.strip()}')
        _run('dpkg-deb', '-x', str(packages[-1]), str(unpacked))
        packages[-1].unlink()
    return unpacked


def needed_by(module):
    """Names of the modules that this one depends on, as its own description says."""
    said = dict(re.findall(rb'\0(depends|softdep)=([^\0]*)', module.read_bytes()))
    yield from filter(None, said.get(b'depends', b'').decode().split(','))
    yield from re.findall(r'pre: (\S+)', said.get(b'softdep', b'').decode())


def module_files(tree):
    """The modules that MODULES need, those they depend on first."""
    folder = next(tree.glob('lib/modules/*'), None) or next(tree.glob('usr/lib/modules/*'))
    files = {re.sub(r'\.ko(\..*)?$', '', path.name).replace('-', '_'): path
             for path in folder.rglob('*.ko*')}
    ordered = []

    def add(name):
        path = files.get(name.replace('-', '_'))
        if path is None or path in ordered:  # built in, or there already
            return
        for needed in needed_by(path):
            add(needed)
        ordered.append(path)

    for name in MODULES:
        add(name)
    return ordered


def libraries_of(program):
    """Paths of the shared libraries and the loader of a program."""
    done = subprocess.run(['ldd', str(program)], capture_output=True, text=True, check=False)
    return sorted(set(re.findall(r'(/\S+) \(0x', done.stdout)))


class Archive:
    """A cpio archive in the kernel's "newc" format."""

    def __init__(self):
        self._parts = []
        self._inode = 0
        self._folders = set()

    def _add(self, name, mode, data):
        self._inode += 1
        raw = name.encode() + b'\0'
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(raw), 0)
        head = b'070701' + b''.join(b'%08X' % field for field in fields) + raw
        self._parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def folder(self, name):
        if name and name not in self._folders:
            self.folder(name.rpartition('/')[0])
            self._folders.add(name)
            self._add(name, 0o040755, b'')

    def file(self, name, data, mode=0o644):
        self.folder(name.rpartition('/')[0])
        self._add(name, 0o100000 | mode, data)

    def finish(self):
        self._add('TRAILER!!!', 0, b'')
        return b''.join(self._parts)


def build(cache):
    """(kernel, initramfs), two paths below `cache`."""
    tree = kernel_package(cache)
    archive = Archive()
    archive.file('bin/busybox', _program('busybox').read_bytes(), 0o755)
    if libraries_of(_program('busybox')):
        raise Missing('busybox is not static (Debian: busybox-static)')
    archive.file('init', (HERE / 'init.sh').read_bytes(), 0o755)
    copied = set()
    for name in PROGRAMS:
        program = _program(name)
        archive.file(f'tools/{name}', program.read_bytes(), 0o755)
        for library in libraries_of(program):
            if library not in copied:
                copied.add(library)
                archive.file(library.lstrip('/'), pathlib.Path(library).read_bytes(), 0o755)
    modules = module_files(tree)
    for path in modules:
        archive.file(f'modules/{path.name}', path.read_bytes())
    archive.file('modules/order', '\n'.join(path.name for path in modules).encode())
    image = cache / 'initramfs.cpio'
    image.write_bytes(archive.finish())
    return next(tree.glob('boot/vmlinuz-*')), image
