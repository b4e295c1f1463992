"""What QEMU 7.2 does wrong in random scripts, so that a difference is told as known, by its reason.

explain() is asked about a script whose answers differ. It looks for the one event from which the
differences follow, in QEMU's own answers; that two programs differ is never enough.
"""

import dataclasses
import fnmatch
import json
import re


class Story:
    """A script as both programs answered it: lists of (line number, what was asked, answer)."""

    def __init__(self, qemu, ours):
        self.qemu = qemu
        self._events = [next((answer for _, asked, answer in answers if asked == 'jobs'), {})
                        for answers in (qemu, ours)]
        self._answers = {number: (asked, answer) for number, asked, answer in qemu}
        self._both = qemu, ours

    def commands(self, before=10 ** 9):
        """(name, arguments) of what QEMU accepted, in order, up to a line."""
        for number, asked, answer in self.qemu:
            if asked.startswith('> ') and number < before and 'return' in answer:
                name, _, arguments = asked[2:].partition(' ')
                yield name, json.loads(arguments) if arguments else {}

    def answer(self, number):
        """What QEMU said to the command of a line."""
        return self._answers[number][1]

    def events(self, job):
        """The events of a job in QEMU, and here."""
        return [one.get(job, []) for one in self._events]

    def images_that_show(self, image):
        """That image, and all whose content may have come from it: they stand on it or stood on it,
        or a job has copied to them what shows it."""
        sources, found, pending = self._sources(), set(), [image]
        while pending:
            one = pending.pop()
            if one not in found:
                found.add(one)
                pending += [name for name, below in sources if below == one]
        return found

    def roots(self):
        """Images that stand on none in the end."""
        return {name for name, below in self._headers() if below is None}

    def _headers(self):
        """(image, what its header names in the end or None), of both programs."""
        for answers in self._both:
            for _, asked, answer in answers:
                if asked.startswith('header ') and isinstance(answer, list):
                    yield asked.split()[1], answer[0] and answer[0].rpartition('/')[2]

    def _sources(self):
        """{(image, one that it shows or may hold a copy of)}"""
        found = set(self._headers())
        chain = sorted(name for name, _ in found if name[0] == 'a')  # as it is at first
        found.update(zip(chain[1:], chain))
        tops = chain[-1:]  # who may be on top of the device's chain
        for name, arguments in self.commands():
            if name == 'blockdev-snapshot-sync':
                overlay = arguments['snapshot-file'].rpartition('/')[2]
                node = image_of(arguments.get('node-name', arguments.get('device')))
                found.update((overlay, below) for below in ([node] if node else tops))
                tops = [*tops, overlay]
            elif name == 'blockdev-mirror':
                source = image_of(arguments['device'])
                found.update((image_of(arguments['target']), one)
                             for one in ([source] if source else tops))
            elif name == 'block-commit':
                source = image_of(arguments.get('top-node'))
                bases = [image_of(arguments.get('base-node'))] if 'base-node' in arguments \
                    else self.roots()
                found.update((base, one) for base in bases for one in ([source] if source else tops))
        return found

    def job_of(self, difference):
        """The job that a difference is about, or None."""
        number, asked, path = difference[:3]
        if asked == 'jobs':
            return re.split(r'[.\[]', path)[0]
        if not asked.startswith('> '):
            return None
        name, _, arguments = asked[2:].partition(' ')
        if name in ('query-jobs', 'query-block-jobs'):
            index = re.match(r'return\[(\d+)\]', path)
            listed = self._answers[number][1].get('return', [])
            if index and int(index[1]) < len(listed):
                return listed[int(index[1])].get('id', listed[int(index[1])].get('device'))
        arguments = json.loads(arguments) if arguments else {}
        return arguments.get('id', arguments.get('device')) if '-job-' in f'-{name}' else None


def image_of(node):
    """The image of a node of random_script.py, by the names there; None for others, as filters."""
    known = re.fullmatch(r'(n|s)(\d+)|target', node or '')
    if not known:
        return None
    return 'target.img' if node == 'target' else f'{"a" if known[1] == "n" else "s"}{known[2]}.img'


def _is_content_of_a_target(story, difference, targets):
    """Whether it is what an image shows that is one of the jobs' targets, or has come from there.
    A target that is not known by its name, a filter, may be any image."""
    kind, _, image = difference[1].partition(' ')
    return kind == 'content' and any(target is None or image in story.images_that_show(target)
                                     for target in targets)


@dataclasses.dataclass(frozen=True)
class Defect:
    name: str
    reason: str
    explains: callable  # (story, difference) -> bool
    has_consequences: bool = False  # what differs later follows from it


def _ready_speeds(events):
    return [one[1]['speed'] for one in events
            if isinstance(one, list) and one[0] == 'BLOCK_JOB_READY']


def _held_mirror_went_on(story, difference):
    job = story.job_of(difference)
    qemu, ours = (_ready_speeds(events) for events in story.events(job))
    return bool(qemu) and qemu[0] != 0 and ours[:1] != qemu[:1]


def _writable_node(story, difference):
    """The node that is writable in QEMU alone, by its file's permissions or by what it says."""
    number, _, path, value, other = difference
    edge = re.fullmatch(r'return\.graph-edges\.block-driver:(\w+) -> .* file\.perm', path)
    if edge and value == 'consistent-read, resize, write' and other == 'consistent-read':
        return edge[1]
    entry = re.fullmatch(r'return\[(\d+)\]\.ro', path)
    if not entry or value is not False or other is not True:
        return None
    listed = story.answer(number).get('return', [])
    file = listed[int(entry[1])]['file'] if int(entry[1]) < len(listed) else None
    # A node and its file are told by one name.
    return next((node['node-name'] for node in listed
                 if node['file'] == file and not node['node-name'].startswith('#')), None)


def _keeps_a_permission(story, difference):
    number, _, path, value, other = difference
    return bool(re.fullmatch(r'return\.graph-edges\.block-driver:\S+ -> block-driver:.* backing\.perm',
                             path)) and (value, other) == ('consistent-read', '') and any(
        name == 'block-stream' and arguments.get('auto-dismiss') is False
        for name, arguments in story.commands(before=number))


def _is_of_active_layer(story, arguments):
    """Whether a commit is: no top was named, or the device's own node, or that of the chain, whose
    nodes count upwards."""
    top = arguments.get('top-node')
    if top == arguments['device']:
        return True
    nodes = [int(number) for _, _, answer in story.qemu
             for number in re.findall(r'"block-driver:n(\d+)"', json.dumps(answer))]
    return top is None or (bool(nodes) and top == f'n{max(nodes)}')


def _base_stays_writable(story, difference):
    node = _writable_node(story, difference)
    if node is None:
        return False
    commands = list(story.commands(before=difference[0]))
    cancelled = {arguments.get('id', arguments.get('device')) for name, arguments in commands
                 if fnmatch.fnmatchcase(name, '*job-cancel')}
    return any(name == 'block-commit' and _is_of_active_layer(story, arguments)
               and arguments['job-id'] in cancelled
               and arguments.get('base-node', node) == node for name, arguments in commands)


def _header_names_too_much(story, difference):
    _, asked, _, value, _ = difference
    return asked.startswith(('header ', 'content ')) and (
        "Can't specify 'file' and 'filename' options at the same time" in json.dumps(value))


_BACKING = re.compile(r"(Node '.*' is busy: node is used as backing hd of )'(.*)'")


def _overlay_by_its_device(_, difference):
    told, ours = (_BACKING.fullmatch(str(text)) for text in difference[3:])
    return bool(told and ours) and told[1] == ours[1] and told[2] == 'drive0'


def _lost_below_raw(story, difference):
    raws = {arguments.get('node-name') for name, arguments in story.commands()
            if name == 'blockdev-add' and arguments.get('driver') == 'raw'}
    return _is_content_of_a_target(story, difference, [
        image_of(arguments['target']) for name, arguments in story.commands()
        if name == 'blockdev-mirror' and arguments.get('device') in raws])


def _partly_copied(story, difference):
    """What the target shows of a commit or mirror that was cancelled, after it was held or a guest
    wrote to its source meanwhile."""
    is_written = any(asked.startswith('io ') for _, asked, _ in story.qemu)
    targets = set()
    for name, arguments in story.commands():
        if name not in ('block-commit', 'blockdev-mirror') or not (
                'speed' in arguments or is_written):
            continue
        if any(isinstance(event, list) and event[0] == 'BLOCK_JOB_CANCELLED'
               for event in story.events(arguments['job-id'])[0]):
            target = arguments.get('base-node' if name == 'block-commit' else 'target')
            targets.update([image_of(target)] if target else story.roots())
    return _is_content_of_a_target(story, difference, targets)


def _found_by_a_stale_name(story, difference):
    number, asked, path, _, ours = difference
    # It started, or was refused for what lies between, which a base not found hides.
    if not asked.startswith('> block-stream ') or path not in ('error', 'error.desc'):
        return False
    arguments = json.loads(asked.split(' ', 2)[2])
    told = ours.get('desc', '') if isinstance(ours, dict) else str(ours)
    return 'base' in arguments and told.startswith("Can't find '") and any(
        'filter-node-name' in before for _, before in story.commands(before=number))


DEFECTS = (
    Defect('a held mirror went on',
           'a job that is held by its speed does one more piece at each drain; a mirror so becomes '
           'ready, and takes commands that it would have refused (mended in QEMU 8.1)',
           _held_mirror_went_on, has_consequences=True),
    Defect('a base stayed writable',
           'an active commit that is cancelled leaves its base writable',
           _base_stays_writable),
    Defect('a link kept a permission',
           'the backing link of an image that a stream has cut out, and keeps until it is dismissed, '
           'goes on asking for what nobody above it asks for any more',
           _keeps_a_permission),
    Defect('a header that cannot be opened',
           'a json: name with both "file" and "filename" is written into the header of an overlay '
           'whose backing image stands on a filter; no program of QEMU opens that image again',
           _header_names_too_much),
    Defect('an overlay was told by its device',
           'who is in the way of a node is called by the name it had when the link was made: an '
           'overlay whose backing link a job has changed by its device, all others by their node',
           _overlay_by_its_device),
    Defect('a mirror through raw lost data',
           'of a raw node over an overlay a mirror copies what the overlay itself holds, and '
           'discards what only its backing images do',
           _lost_below_raw),
    Defect('a copy was cancelled',
           'what a commit or mirror has copied by then stays in its target: a job that is held does '
           'one more piece at each drain (mended in QEMU 8.1), and of what a guest has just written '
           'time decides',
           _partly_copied),
    Defect('a layer was found by a stale name',
           'the name of an image above a filter changes with the filter, and QEMU notices it when '
           'somebody asks for the names: a query in between, and the base is not found either',
           _found_by_a_stale_name, has_consequences=True),
)


def explain(qemu, ours, found):
    """The name of the defect from which all of `found` follows, or None.

    `found` is [(line number, what was asked, path, QEMU's value, ours)], in the order of the lines.
    """
    story, names = Story(qemu, ours), []
    for difference in found:
        defect = next((one for one in DEFECTS if one.explains(story, difference)), None)
        if defect is None:
            return None
        names.append(defect.name)
        if defect.has_consequences:
            break
    return names[0] if names else None
