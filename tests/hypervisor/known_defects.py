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
    if not difference[1].startswith('content '):
        return False
    raws = {arguments.get('node-name') for name, arguments in story.commands()
            if name == 'blockdev-add' and arguments.get('driver') == 'raw'}
    return any(name == 'blockdev-mirror' and arguments.get('device') in raws
               for name, arguments in story.commands())


def _partly_copied(story, difference):
    """Content of images, after a commit or mirror was cancelled that was held, or that a guest wrote
    to meanwhile."""
    if not difference[1].startswith('content '):
        return False
    is_written = any(asked.startswith('io ') for _, asked, _ in story.qemu)
    copies = {arguments['job-id'] for name, arguments in story.commands()
              if name in ('block-commit', 'blockdev-mirror')
              and ('speed' in arguments or is_written)}
    return any(isinstance(event, list) and event[0] == 'BLOCK_JOB_CANCELLED'
               for job in copies for event in story.events(job)[0])


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
