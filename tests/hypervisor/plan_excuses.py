"""Where a plan of x-millrace-plan may differ from the deed, with the reason, and what is open.

A plan opens nothing. What only opening tells it names in `unknown`; a deed may come out otherwise
only for what is named there (EXCUSES). Of two mistakes a command tells the one that it meets first:
where that is the host's, the plan tells the other.

OPEN_FINDINGS are no excuses: they are wrong and known, and go when they are mended.
"""

import dataclasses
import itertools
import re
import typing

from support.plan_deed import Finding, differences

# What the host, or an image, refuses; `file` is the one that it is about, where the text tells.
BACKING = r'(Could not open backing file: )?'
NO_FILE = (BACKING + r"Could not (open|create) '(?P<file>.*)': (No such file or directory|"
                     r"Is a directory|Not a directory|Permission denied)")
LOCK = BACKING + r'Failed to get (shared )?"[\w ]+" lock'
NO_IMAGE = BACKING + r'Image is not in qcow2 format'
HOST = (NO_FILE, LOCK, NO_IMAGE)

# What a plan says it cannot know, what the deed may be refused for then, and why.
EXCUSES = (
    (r"whether '(?P<file>.*)' can be (made, )?opened and locked", (NO_FILE, LOCK),
     'the file is not looked at before it is opened'),
    (r"whether '.*' is an image of format qcow2", (NO_IMAGE,), 'nor is its header read'),
    (r"which image the header of '.*' names as its backing, and what that stands on",
     (r'Could not open backing file: .*',), 'the header is not read'),
    (r"what format '.*' has", (r'Could not open backing file: .*',), 'nor its first bytes'),
    (r'whether the host lets it listen at that address', (r'Failed to \w+ socket.*',),
     'the host is not asked'),
    (r'whether the image takes that request.*', (r'\w+ failed: .*',), 'no request is sent'),
    (r'whether what is read has the pattern.*', (r'Pattern verification failed.*',),
     'nothing is read'),
    (r'whether the image can have that length.*', (r'.*',), 'the image is not asked'),
    (r"whether the children of '.*' have one length", (r'Cannot open quorum .*',),
     'nothing says so before they are open'),
    (r'whether the host lets the image be opened for writing', (r'.*Permission denied.*',),
     'nothing is opened'),
)
# Whose job, set free, ends in its own time.
GOES_ON = r'(block-)?job-resume|block-job-set-speed|block_job_(resume|set_speed)'


def _is_refusal(answer):
    return isinstance(answer, dict) and 'error' in answer


def _desc(answer):
    """The text, without what the human monitor adds."""
    return re.sub(r'^Error: |\r?\n(.|\n)*$', '', answer['error']['desc'])


@dataclasses.dataclass
class Open:
    """A finding that is known and not yet mended."""
    name: str
    fits: typing.Callable[[Finding], bool]


def _is(kind, command='.*', *, plan='.*', deed='.*', detail='.*'):
    """Fits findings of which all that is given is so."""
    def fits(finding):
        return (re.fullmatch(kind, finding.kind) and re.fullmatch(command, finding.command) and
                all(re.fullmatch(wanted, _desc(answer) if _is_refusal(answer) else '', re.DOTALL)
                    for wanted, answer in ((plan, finding.plan), (deed, finding.deed))) and
                all(re.fullmatch(detail, one, re.DOTALL) for one in finding.detail))
    return fits


# Each goes when it is mended: take the line out, and see the test pass.
OPEN_FINDINGS = (
    Open('of a tree with a read-only middle another node is named than the deed names',  # seed 20076
         _is('another refusal', 'blockdev-add', plan='Block node is read-only',
             deed='Block node is read-only')),
    Open('what links of a node ask that goes ends when it is closed, not with the plan',  # seed 20182
         _is('another graph', 'blockdev-del', detail='.* edges: .*')),
)


def open_finding(finding):
    """The name of the known finding that it is, or None."""
    return next((one.name for one in OPEN_FINDINGS if one.fits(finding)), None)


def excuse(finding):
    """The reason why plan and deed may differ there, or None."""
    return next((reason for judge in (_only_the_host_refuses, _first_the_host,
                                              _only_opening_tells_the_graph)
                 if (reason := judge(finding))), None)


def _unknown(finding):
    return finding.plan.get('unknown', ()) if isinstance(finding.plan, dict) else ()


def _only_the_host_refuses(finding):
    if finding.kind != 'refused only by the deed':
        return None
    for wanted, refusals, reason in EXCUSES:
        told = [match for one in _unknown(finding) if (match := re.fullmatch(wanted, one))]
        refused = [match for one in refusals
                   if (match := re.fullmatch(one, _desc(finding.deed)))]
        if any(_is_of_one_file(*pair) for pair in itertools.product(told, refused)):
            return reason
    return None


def _is_of_one_file(told, refused):
    files = [match.groupdict().get('file') for match in (told, refused)]
    return None in files or files[0] == files[1]


def _first_the_host(finding):
    if finding.kind == 'another refusal' and any(
            re.fullmatch(one, _desc(finding.deed)) for one in HOST):
        return 'the command meets the host before the mistake that the plan tells'
    return None


def _only_opening_tells_the_graph(finding):
    if finding.kind not in ('another graph', 'a graph without a plan', 'other generated names'):
        return None
    if any(re.fullmatch(r"what format '.*' has", one) for one in _unknown(finding)):
        return 'of what format the image is decides what is opened'
    planned, done, before = finding.pictures
    if finding.kind == 'a graph without a plan' and re.fullmatch(GOES_ON, finding.command):
        return 'when a job ends that goes on, only time tells'
    if any(re.fullmatch(r"the graph when job '.*', which is cancelled, has ended", one)
           for one in _unknown(finding)):
        return 'a job of the device ends in its own time'
    if finding.has_failed_job and not differences(before, done):
        return 'no plan knows that the work of a job fails'
    if any(re.fullmatch(r"whether '.*' has the source's length", one)
           for one in _unknown(finding)) and not differences(before, done):
        return 'the job fails, as the target has another length'
    return _below_a_header(finding, planned, done)


def _below_a_header(finding, planned, done):
    """What is opened because a header names it: the nodes below, and how they are called."""
    is_open = any(re.fullmatch(r"which image the header of '.*' names as its backing, .*", one)
                  for one in _unknown(finding))
    new = [name for name in done if name not in planned]
    if not is_open or not new:
        return None
    done = {name: {**node, 'edges': [edge for edge in node['edges']
                                     if not (edge[0] == 'backing' and edge[2] in new)]}
            for name, node in done.items() if name not in new}
    return None if differences(planned, done) else 'the header is not read'
