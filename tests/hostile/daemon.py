"""`millraced` and what a guest would do to hostile images: opened, read, written, flushed, closed.

The image is a copy; the daemon must live through all of it, and says why where it refuses.
"""

import pathlib
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'examples/hypervisor/client'))
from qmp import QmpClient, QmpError  # noqa: E402

COMMANDS = ('read 0 64k', 'write -P 1 0 64k', 'write -P 2 100 3000', 'write -z 128k 64k',
            'discard 0 64k', 'flush', 'write -P 3 1536 512', 'read 0 256k', 'flush')


class Daemon:
    def __init__(self, program, environment):
        self.folder = tempfile.TemporaryDirectory()
        path = pathlib.Path(self.folder.name)
        self.errors = open(path / 'stderr', 'w+b')
        socket = str(path / 'qmp')
        self.process = subprocess.Popen(
            [program, '--chardev', f'socket,id=m,path={socket},server=on,wait=off', '--monitor',
             'chardev=m'], stderr=self.errors, stdout=subprocess.DEVNULL, env=environment)
        self.qmp = None
        while self.qmp is None:
            try:
                self.qmp = QmpClient.connect(socket)
            except (FileNotFoundError, ConnectionRefusedError):
                if self.process.poll() is not None:
                    raise

    def use(self, path):
        """What is wrong about how the daemon takes the image; nothing if it is alright."""
        file = {'driver': 'file', 'filename': str(path)}
        try:
            self.qmp.command('blockdev-add', driver='qcow2', node_name='hostile', file=file)
        except QmpError as refused:
            return None if refused.description else 'a refusal without a reason'
        except ConnectionError:
            return self.last_words()
        try:
            for command in COMMANDS:
                self.qmp.command('human-monitor-command',
                                 command_line=f'qemu-io hostile "{command}"')
            self.qmp.command('blockdev-del', node_name='hostile')
        except QmpError as refused:
            return f'a node that cannot be closed: {refused.description}'
        except ConnectionError:
            return self.last_words()
        return None

    def last_words(self):
        status = self.process.wait(timeout=60)
        self.errors.seek(0)
        return f'the daemon ended, {status}: {self.errors.read().decode(errors="replace")[-800:]}'

    def close(self):
        """What the daemon said when it was told to end, if that is worth complaining about."""
        complaint = None
        if self.process.poll() is None:
            try:
                self.qmp.command('quit')
            except (QmpError, ConnectionError):
                pass
            if self.process.wait(timeout=60) != 0:
                complaint = self.last_words()
        self.qmp.close()
        self.errors.close()
        self.folder.cleanup()
        return complaint
