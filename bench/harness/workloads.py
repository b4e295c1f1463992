"""What is measured: one run of one daemon each, as a dictionary of figures."""

import time

from harness import chains, syscalls
from harness.daemon import Daemon, JobTimeout
from harness.guest import Guest

EVENTS_PER_RUN = 8


def remember(images, options):
    if options.verify:
        images.remember()


def job_run(program, images, cell, options, counts_calls=False):
    """Seconds, MB/s, processor time and page faults of a cell's jobs on a quiet machine."""
    plan = images.plan
    images.reset()
    remember(images, options)
    with Daemon(program, images.folder, aio=cell.aio, cache=cell.cache) as daemon:
        images.open(daemon)
        counter = syscalls.Counter(daemon.process.pid, images.folder) if counts_calls else None
        cpu, faults = daemon.cpu_seconds(), daemon.minor_faults()
        seconds = daemon.run_jobs(plan.jobs)
        cpu, faults = daemon.cpu_seconds() - cpu, daemon.minor_faults() - faults
        calls = counter.stop() if counter else None
        begun = time.monotonic()
        images.sync()  # before its end, at which QEMU flushes
        synced = seconds + time.monotonic() - begun
    if options.verify:
        images.verify()
    moved = plan.moved_bytes
    if counts_calls:
        return {'calls_per_cluster': calls / (moved / 65536)}
    return {'seconds': seconds, 'mb_s': moved / 1e6 / seconds,
            'durable_mb_s': moved / 1e6 / synced, 'cpu_s_per_gb': cpu / (moved / 1e9),
            'faults_per_mb': faults / (moved / 1e6)}


class GuestWorld:
    """A daemon with a cell's images and a guest on the top, for a `with`."""

    def __init__(self, program, images, cell, options):
        self.images, self._cell, self._options = images, cell, options
        images.reset()
        remember(images, options)
        self.daemon = Daemon(program, images.folder, aio=cell.aio, cache=cell.cache)
        self.guest = None

    def __enter__(self):
        try:
            self.images.open(self.daemon)
            uri = self.daemon.export(self.images.plan.tops[-1])
            self.guest = Guest(uri, self.images.folder, self._cell.guest, self._cell.pattern,
                               size=f'{self._cell.size_mib}M')
            self.guest.wait_until_begun()
            time.sleep(self._options.before_s)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind, *more):
        if self.guest:
            self.guest.kill()
        self.daemon.__exit__(kind, *more)

    def quiet_window(self):
        """The second half of the time before now: the first is the guest's beginning."""
        now = time.time()
        return now - self._options.before_s / 2, now

    def verify(self, result, shown):
        if not self._options.verify:
            return
        if self._cell.pattern == 'randread':
            self.images.verify_file(result, shown)
        else:
            self.images.verify_written(result, shown, self.guest)


def guest_run(program, images, cell, options):
    """A guest before a job and while it runs, and what the job takes without it."""
    if cell.event:
        return event_run(program, images, cell, options)
    if cell.job == 'none':
        return lone_guest_run(program, images, cell, options)
    if cell.pattern == 'randwrite' and cell.job in ('active', 'mirror'):
        return converge_run(program, images, cell, options)
    quiet_job = job_run(program, images, cell, options)['seconds']
    with GuestWorld(program, images, cell, options) as world:
        quiet = world.quiet_window()
        started = time.time()
        world.daemon.run_jobs(images.plan.jobs)
        ended = time.time()
        time.sleep(0.3)
        world.guest.stop()
    result, shown = images.plan.results[0]
    # What a guest wrote after a commit or a mirror is not in what the job read.
    written = shown if cell.pattern == 'randwrite' and cell.job == 'commit' else result
    world.verify(images.path(written), shown)
    row = under_job(world.guest, quiet, started, ended)
    row['job_share'] = quiet_job / row['job_s']
    return row


def under_job(guest, quiet, started, ended):
    """The figures of a guest beside a job, from moments of time.time()."""
    row = {f'quiet_{name}': value for name, value in guest.between(*quiet).items()}
    if not row['quiet_iops']:
        raise RuntimeError('the guest did nothing before the job')
    row |= {f'during_{name}': value for name, value in guest.between(started, ended).items()}
    row['job_s'] = ended - started
    row['usual_stall_ms'] = guest.usual_stall(*quiet)
    row['start_stall_ms'] = guest.stall_around(started)
    row['finish_stall_ms'] = guest.stall_around(ended)
    row['iops_share'] = row['during_iops'] / max(row['quiet_iops'], 1e-9)
    row['p99_factor'] = row['during_p99_ms'] / max(row['quiet_p99_ms'], 1e-9)
    return row


def lone_guest_run(program, images, cell, options):
    """A guest on a chain that nothing happens to."""
    with GuestWorld(program, images, cell, options) as world:
        cpu, begun = world.daemon.cpu_seconds(), time.time()
        time.sleep(options.before_s)
        used, ended = world.daemon.cpu_seconds() - cpu, time.time()
        world.guest.stop()
    top = images.plan.tops[-1]
    world.verify(images.path(top), top)
    told = world.guest.between(begun, ended)
    row = {f'quiet_{name}': value for name, value in told.items()}
    row['cpu_us_per_request'] = used * 1e6 / max(told['iops'] * (ended - begun), 1)
    return row


def converge_run(program, images, cell, options):
    """Does a mirror become ready while a guest writes? The guest ends before the job does, so that
    the copy can be compared with what it was made of."""
    quiet_job = job_run(program, images, cell, options)['seconds']
    with GuestWorld(program, images, cell, options) as world:
        quiet = world.quiet_window()
        started, begun = time.time(), time.monotonic()
        jobs = world.daemon.start_jobs(images.plan.jobs)
        try:
            world.daemon.next_event(jobs, begun + options.converge_s)
            is_ready = True
        except JobTimeout:
            is_ready = False
        ended = time.time()
        world.guest.stop()
        for job in jobs if is_ready else ():
            world.daemon.qmp.command('block-job-complete', device=job)
        world.daemon.finish_jobs(jobs)  # completes what only the guest's end made ready
    result, shown = images.plan.results[0]
    world.verify(images.path(result), shown)
    row = under_job(world.guest, quiet, started, ended)
    del row['finish_stall_ms']  # nobody was there any more
    return row | {'converged': float(is_ready), 'job_share': quiet_job / row['job_s']}


# ---- What a guest feels of an edit -------------------------------------------------------------


def event_run(program, images, cell, options):
    """Several snapshots, or filters put below the guest's image, with a guest on it."""
    snapshot = cell.event == 'snapshot'
    with GuestWorld(program, images, cell, options) as world:
        prepare = _prepare_snapshots if snapshot else _prepare_filters
        edits = prepare(world)
        quiet = world.quiet_window()
        moments = []
        for edit in edits:
            time.sleep(0.25)
            moments.append((time.time(), None))
            edit()
            moments[-1] = (moments[-1][0], time.time())
        time.sleep(0.25)
        world.guest.stop()
    top = images.plan.tops[-1]
    shown = images.folder / f'over{EVENTS_PER_RUN - 1}.qcow2' if snapshot else images.path(top)
    world.verify(shown, top)
    guest = world.guest
    stalls = sorted(guest.longest_in(begin - 0.005, end + 0.1) for begin, end in moments)
    row = {f'quiet_{name}': value for name, value in guest.between(*quiet).items()}
    row['usual_stall_ms'] = guest.usual_stall(*quiet, window=0.105)
    row['event_stall_ms'] = stalls[len(stalls) // 2]
    row['event_longest_ms'] = stalls[-1]
    row['command_ms'] = sorted(end - begin for begin, end in moments)[len(moments) // 2] * 1e3
    return row


def _prepare_snapshots(world):
    """Opens the overlays beforehand; the edits."""
    images, below, edits = world.images, world.images.plan.tops[-1], []
    for index in range(EVENTS_PER_RUN):
        layer = chains.Layer(f'over{index}', below=below)
        images.make(layer)
        world.daemon.add(layer.name, images.path(layer.name), None)
        edits.append(lambda node=below, overlay=layer.name: world.daemon.qmp.command(
            'blockdev-snapshot', node=node, overlay=overlay))
        below = layer.name
    return edits


def _prepare_filters(world):
    """A throttle that limits nothing, above the image below the guest's, and out again. QEMU points
    the overlay at another node; millraced puts a filter above a node, with a job."""
    qmp, top, below = world.daemon.qmp, world.images.plan.tops[-1], 'data0'
    qmp.command('object-add', qom_type='throttle-group', id='nothing')
    has_jobs = any(each['name'] == 'x-millrace-insert-filter'
                   for each in qmp.command('query-commands'))

    def by_job(name, **arguments):
        qmp.command(name, job_id='edit', **arguments)
        world.daemon.finish_jobs({'edit'}, 30)

    def repoint(node):
        qmp.command('blockdev-reopen', options=[
            {'driver': 'qcow2', 'node-name': top, 'file': f'{top}-file', 'backing': node}])

    filter_node = {'driver': 'throttle', 'node-name': 'filter', 'throttle-group': 'nothing'}
    if has_jobs:
        pair = [lambda: by_job('x-millrace-insert-filter', node_name=below, filter=filter_node),
                lambda: by_job('x-millrace-remove-filter', node_name='filter')]
    else:
        qmp.command('blockdev-add', **filter_node, file=below)
        pair = [lambda: repoint('filter'), lambda: repoint(below)]
    return pair * (EVENTS_PER_RUN // 2)


# ---- Many jobs in one chain under a guest ------------------------------------------------------


def concurrency_run(program, images, options, guest_depth, size_mib):
    """Streams on disjoint parts of one chain, under a guest."""
    images.reset()
    remember(images, options)
    guest = None
    with Daemon(program, images.folder, aio=options.aio, cache=options.cache) as daemon:
        images.open(daemon)
        try:
            if guest_depth:
                guest = Guest(daemon.export('active'), images.folder, guest_depth,
                              size=f'{size_mib}M')
                guest.wait_until_begun()
                time.sleep(options.before_s)
            cpu, begun = daemon.cpu_seconds(), time.time()
            seconds = daemon.run_jobs(images.plan.jobs)
            ended, used = time.time(), daemon.cpu_seconds() - cpu
            if guest:
                time.sleep(0.3)
                guest.stop()
        finally:
            if guest:
                guest.kill()
    if options.verify:
        images.verify()
    moved = images.plan.moved_bytes
    row = {'job_s': seconds, 'mb_s': moved / 1e6 / seconds,
           'cpu_s_per_gb': used / (moved / 1e9) if moved else 0.0}
    if guest:
        row |= under_job(guest, (begun - options.before_s / 2, begun), begun, ended)
    return row
