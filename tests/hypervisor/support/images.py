"""Images made and looked at by QEMU's tools, in one test's folder."""

import re
import subprocess

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


class Images:
    def __init__(self, folder):
        self.folder = folder

    def path(self, name):
        return str(self.folder / name)

    def run(self, *words, expect=(0,), **options):
        done = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, timeout=300,
                              stdin=subprocess.DEVNULL, **options)
        if done.returncode not in expect:
            raise AssertionError(f'{" ".join(words)} ended with {done.returncode}\n'
                                 f'{done.stdout}{done.stderr}')
        return done.stdout + done.stderr

    def create(self, name, size=None, image_format='qcow2', backing=None, backing_format='qcow2',
               options=''):
        """Makes an image; `backing` is the name as it shall stand in the header. Returns its path."""
        words = ['qemu-img', 'create', '-q', '-f', image_format]
        if options:
            words += ['-o', options]
        if backing:
            words += ['-b', backing, '-F', backing_format]
        words += [self.path(name)] + ([str(size)] if size is not None else [])
        self.run(*words)
        return self.path(name)

    def chain(self, *names, size=MIB, base_format='qcow2'):
        """Overlays from the root up, their headers with absolute names. Returns their paths."""
        paths = []
        for name in names:
            if not paths:
                paths.append(self.create(name, size, base_format))
            else:
                paths.append(self.create(name, backing=paths[-1], backing_format=(
                    base_format if len(paths) == 1 else 'qcow2')))
        return paths

    def io(self, name, *commands, image_format='qcow2', expect=(0,)):
        """qemu-io's output for these commands."""
        words = [word for command in commands for word in ('-c', command)]
        return self.run('qemu-io', '-f', image_format, *words, self.path(name), expect=expect)

    def map(self, name, image_format='qcow2'):
        """Which ranges are allocated, as qemu-io prints them."""
        return self.io(name, 'map', image_format=image_format)

    def holds(self, name, pattern, offset, length, image_format='qcow2'):
        """Whether the image shows `pattern` there, through its chain."""
        text = self.io(name, f'read -P {pattern} {offset} {length}', image_format=image_format,
                       expect=(0, 1))
        return was_read(text, length)

    def info(self, name):
        import json
        return json.loads(self.run('qemu-img', 'info', '-U', '--output=json', self.path(name)))

    def backing_name(self, name):
        return self.info(name).get('backing-filename')

    def check(self, name):
        self.run('qemu-img', 'check', '-q', self.path(name))

    def same_content(self, one, other, formats=('qcow2', 'qcow2')):
        text = self.run('qemu-img', 'compare', '-f', formats[0], '-F', formats[1], self.path(one),
                        self.path(other), expect=(0, 1))
        return 'Images are identical' in text


def was_read(text, length):
    """Whether qemu-io read all of that length, and found the pattern it was told of."""
    return f'read {length}/{length} bytes' in text and 'verification failed' not in text


def without_paths(text, folder):
    """Text of a program with the test's folder and figures that vary taken out."""
    text = text.replace(str(folder) + '/', '')
    return re.sub(r'\d+\.\d+ (sec|\w*iB/sec|ops/sec)[^\n]*|[\d.]+ \w+, \d+ ops; [^\n]*', 'TIME', text)
