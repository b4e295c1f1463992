"""Which comes first on the wire, the reply to a verb or the events that it brings about.

Where QEMU does it otherwise than millraced, on purpose, is in introspect/reply_order_test.py.
"""

from support.reply_order import Order, Ready


class Sleeping(Order):
    """A stream that sleeps for its limit acts on a verb at once."""

    def test_pause_and_resume(self):
        self.stream(speed=65536)
        self.assert_order(['paused', 'reply'], 'job-pause', id='j')
        self.assert_order(['running', 'reply'], 'job-resume', id='j')

    def test_pause_and_resume_by_their_other_names(self):
        self.stream(speed=65536)
        self.assert_order(['paused', 'reply'], 'block-job-pause', device='j')
        self.assert_order(['running', 'reply'], 'block-job-resume', device='j')

    def test_a_second_pause_is_refused_and_brings_nothing_about(self):
        self.stream(speed=65536)
        self.assert_order(['paused', 'reply'], 'job-pause', id='j')
        self.assert_order(['reply'], 'job-pause', id='j')
        self.assert_order(['running', 'reply'], 'job-resume', id='j')

    def test_dismiss(self):
        self.stream(auto_dismiss=False)
        self.wait_status('j', 'concluded')
        self.assert_order(['null', 'reply'], 'job-dismiss', id='j')


class Mirrors(Ready):
    def test_pause_and_resume(self):
        self.assert_order(['standby', 'reply'], 'job-pause', id='j')
        self.assert_order(['ready', 'reply'], 'job-resume', id='j')

    def test_complete(self):
        self.assert_order(['reply', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded',
                           'null'], 'job-complete', id='j')

    def test_soft_cancel(self):
        self.assert_order(['reply', 'waiting', 'pending', 'BLOCK_JOB_COMPLETED', 'concluded',
                           'null'], 'block-job-cancel', device='j')

    def test_cancel_by_force(self):
        self.assert_order(['reply', 'aborting', 'BLOCK_JOB_CANCELLED', 'concluded', 'null'],
                          'block-job-cancel', device='j', force=True)

    def test_job_cancel(self):
        self.assert_order(['reply', 'aborting', 'BLOCK_JOB_CANCELLED', 'concluded', 'null'],
                          'job-cancel', id='j')
