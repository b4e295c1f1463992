"""What the tests of replies and events among each other share: lines as they come on the wire."""

from support.case import Case
from support.images import MIB


class Order(Case):
    """base <- top, with 4 MiB in base; the job is called j."""

    def setUp(self):
        super().setUp()
        base = self.images.create('base.img', 4 * MIB)
        self.images.io('base.img', 'write -P 1 0 4M')
        self.vm.drive(self.images.create('top.img', backing=base)).launch()

    def stream(self, **options):
        """With a limit: until it has done its first piece, and sleeps.

        A second stream of one machine finds that piece done, and counts it before it works.
        """
        self.vm.command('block-stream', device='drive0', job_id='j', **options)
        while options.get('speed') and not self.is_asleep():
            pass
        for _ in range(20):  # between what it has done and its sleep there are only turns, no I/O
            self.jobs()

    def is_asleep(self):
        job = self.job('j')
        return job['offset'] >= MIB // 2 and not job['busy']  # a step of QEMU's, and of ours

    def assert_order(self, lines, verb, **arguments):
        """The lines that follow the verb, by states, names of events and the word "reply"."""
        before = len(self.vm.qmp.messages())
        self.vm.reply(verb, **arguments)
        if lines[-1] != 'reply':
            last = lines[-1]
            self.vm.qmp.wait_event_that(lambda event: self.name_of(event) == last, what=last)
        told = [self.name_of(message) for message in self.vm.qmp.messages()[before:]]
        self.assertEqual(told, lines)

    def name_of(self, message):
        if message.get('event') == 'JOB_STATUS_CHANGE':
            return message['data']['status']
        return message.get('event', 'reply')


class Ready(Order):
    """A mirror that has copied everything."""

    def setUp(self):
        super().setUp()
        self.vm.command('blockdev-add', driver='null-co', node_name='t', size=4 * MIB)
        self.vm.command('blockdev-mirror', device='drive0', target='t', sync='full', job_id='j')
        self.wait_status('j', 'ready')
        self.vm.qmp.wait_event('BLOCK_JOB_READY')
