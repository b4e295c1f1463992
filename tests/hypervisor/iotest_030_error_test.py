"""QEMU's iotest 030, section E: a read of the backing file fails once, at 512 K."""

from support.case import Case
from support.images import MIB

ERROR = 'Input/output error'
FAILS_AT = 512 * 1024
LENGTH = 2 * MIB


class Errors(Case):
    """A 2 M image over a file whose reads go through blkdebug with one injected error."""

    def setUp(self):
        super().setUp()
        self.backing = self.images.create('backing.img', LENGTH, 'raw')
        self.images.io('backing.img', f'write -P 1 0 {LENGTH}', image_format='raw')

    def launch(self, errno=5):
        """The state machine of the rules: each read at the place of the error changes the state,
        so that it fails once and is well the next time."""
        (self.folder / 'blkdebug.conf').write_text(f'''
[inject-error]
state = "1"
event = "read_aio"
errno = "{errno}"
immediately = "off"
once = "on"
sector = "{FAILS_AT // 512}"

[set-state]
state = "1"
event = "read_aio"
new_state = "2"

[set-state]
state = "2"
event = "read_aio"
new_state = "1"
''')
        name = f'blkdebug:{self.folder}/blkdebug.conf:{self.backing}'
        self.images.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', name, '-F', 'raw',
                        self.images.path('test.img'), str(LENGTH))
        self.vm.drive(self.images.path('test.img')).launch()
        self.assert_no_job()

    def start(self, on_error):
        self.vm.command('block-stream', device='drive0', on_error=on_error)
        error = self.vm.qmp.wait_event('BLOCK_JOB_ERROR')['data']
        self.assertEqual((error['device'], error['operation']), ('drive0', 'read'))
        return error['action']

    def wait_stopped(self, io_status):
        self.wait_status('drive0', 'paused')
        job = self.job()
        self.assertEqual((job['paused'], job['offset'], job['io-status']),
                         (True, FAILS_AT, io_status))
        self.vm.command('block-job-resume', device='drive0')

    def test_report(self):
        self.launch()
        self.assertEqual(self.start('report'), 'report')
        data = self.wait_ended(error=ERROR, offset=FAILS_AT, kind='stream')
        self.assertEqual(data['len'], LENGTH)
        self.assert_no_job()

    def test_ignore(self):
        self.launch()
        self.assertEqual(self.start('ignore'), 'ignore')
        self.wait_ended(error=ERROR, offset=LENGTH, kind='stream')
        self.assert_no_job()

    def test_stop(self):
        self.launch()
        self.assertEqual(self.start('stop'), 'stop')
        self.wait_stopped('failed')
        # It may have ended by now; while it lives its status is ok again.
        for job in self.jobs():
            self.assertEqual(job['io-status'], 'ok')
        self.wait_ended(offset=LENGTH, kind='stream')
        self.assert_no_job()

    def test_enospc_policy_reports_another_error(self):
        self.launch()
        self.assertEqual(self.start('enospc'), 'report')
        self.wait_ended(error=ERROR, offset=FAILS_AT, kind='stream')
        self.assert_no_job()

    def test_enospc(self):
        self.launch(errno=28)
        self.assertEqual(self.start('enospc'), 'stop')
        self.wait_stopped('nospace')
        for job in self.jobs():
            self.assertEqual(job['io-status'], 'ok')
        self.wait_ended(offset=LENGTH, kind='stream')
        self.assert_no_job()
