"""Verbs that end a job are answered before what they bring about: a client hears at once that he
was understood, and no monitor waits for a disk. QEMU 7.2 tells of all of it first where the job needs
not wait for its disk (DIFFERENCES.md, "The wire"); what holds of both is in ../reply_order_test.py.
"""

import unittest

from support.reply_order import Order

CANCELLED = ['aborting', 'BLOCK_JOB_CANCELLED', 'concluded', 'null']
CANCELS = (('job-cancel', {'id': 'j'}), ('block-job-cancel', {'device': 'j'}),
           ('block-job-cancel', {'device': 'j', 'force': True}))


class RepliesFirst(Order):
    def pending(self, **options):
        self.stream(auto_finalize=False, **options)
        self.wait_status('j', 'pending')
        self.vm.qmp.wait_event('BLOCK_JOB_PENDING')

    def test_cancel_of_a_job_that_sleeps(self):
        for verb, arguments in CANCELS:
            with self.subTest(verb=verb, **arguments):
                self.stream(speed=65536)
                self.assert_order(['reply', *CANCELLED], verb, **arguments)

    def test_cancel_of_a_job_that_is_paused(self):
        for verb, arguments in CANCELS[::2]:
            with self.subTest(verb=verb, **arguments):
                self.stream(speed=65536)
                self.pause('j')
                self.assert_order(['reply', 'running', *CANCELLED], verb, **arguments)

    def test_cancel_of_a_job_that_is_pending(self):
        for verb, arguments in CANCELS:
            with self.subTest(verb=verb, **arguments):
                self.pending()
                self.assert_order(['reply', *CANCELLED], verb, **arguments)

    def test_finalize(self):
        for verb in ('job-finalize', 'block-job-finalize'):
            with self.subTest(verb=verb):
                self.pending()
                self.assert_order(['reply', 'BLOCK_JOB_COMPLETED', 'concluded', 'null'], verb,
                                  id='j')

    def test_finalize_of_a_job_that_is_dismissed_by_hand(self):
        self.pending(auto_dismiss=False)
        self.assert_order(['reply', 'BLOCK_JOB_COMPLETED', 'concluded'], 'job-finalize', id='j')

    def test_quit(self):
        self.assert_order(['reply', 'SHUTDOWN'], 'quit')
        self.assertEqual(self.vm.wait_exit(), 0)

    def test_quit_with_a_job(self):
        self.stream(speed=65536)
        self.assert_order(['reply', 'SHUTDOWN', 'paused', 'running', *CANCELLED], 'quit')
        self.assertEqual(self.vm.wait_exit(), 0)


if __name__ == '__main__':
    unittest.main()
