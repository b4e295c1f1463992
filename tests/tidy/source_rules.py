#!/usr/bin/env python3
"""Rules of the design that neither the compiler nor a test at run time can hold.

    source_rules.py ROOT            checks every source below ROOT; exit status 1 if a rule is broken

Each rule is a generator over one file (or over all of them) that yields (line, message). What a
rule must let pass stands beside it, with the reason. source_rules_test.py breaks each rule once.
"""

import pathlib
import re
import sys

from cpp_text import Source, closing, matching_open

LIBRARY = ('engine', 'graph', 'jobs')
FOLDERS = LIBRARY + ('examples', 'bench', 'tests')
FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 70

RULES = []


def rule(check):
    RULES.append(check)
    return check


def in_library(source):
    return source.folder in LIBRARY


@rule
def layers_point_down(source):
    """engine <- graph <- jobs <- examples; the library knows neither tests nor bench."""
    ranks = {'engine': 0, 'graph': 1, 'jobs': 2, 'examples': 3}
    if source.folder not in ranks:
        return
    for line, path in source.includes():
        parts = path.split('/')
        target = parts[1] if parts[0] == 'millrace' else parts[0]
        if path.startswith('millrace/engine/explore/') and source.folder in LIBRARY and (
                not source.path.startswith('engine/explore/')):
            yield line, f'{source.path} must not include the explorer'
        if target in ('tests', 'bench') or ranks.get(target, -1) > ranks[source.folder]:
            yield line, f'{source.folder}/ must not include {path}'


@rule
def includes_are_spelled_in_full(source):
    """Library headers are included as "millrace/...", the same inside and outside."""
    for line, path in source.includes():
        if path.split('/')[0] in LIBRARY or path.startswith('.'):
            yield line, f'include "{path}" as "millrace/..."'


@rule
def foreign_libraries_stay_in_their_file(source):
    """Boost.Context, liburing and the compression libraries are each known to one place only."""
    homes = (
        (r'^boost/', ('engine/coroutine/context_switch.h',)),
        (r'^sanitizer/', ('engine/coroutine/', 'tests/')),
        (r'^liburing', ('engine/io/uring_io.cc', 'engine/io/io_uring.cc',
                        'engine/io/io_uring_backend.cc', 'engine/io/uring_backend.cc')),
        (r'^(zlib|zstd)\.h$', ('graph/drivers/', 'tests/support/crafted_qcow2.cc')),
    )
    peers = ('bench/', 'examples/')  # benchmarks measure the bare libraries; examples may use JSON
    for line, path in source.includes():
        for pattern, allowed in homes:
            if re.search(pattern, path) and not source.path.startswith(allowed + peers):
                yield line, f'<{path}> belongs into {allowed[0]} only'


@rule
def threads_live_in_engine_io(source):
    """One scheduler per thread: only the I/O backends start threads."""
    if not in_library(source) or source.path.startswith('engine/io/'):
        return
    for line, match in source.find(r'\bstd::(j?thread|async)\b|\bpthread_create\b'):
        yield line, f'{match.group(0)} outside engine/io'


@rule
def time_comes_from_the_clock(source):
    """Engine time only, so that a simulation owns it."""
    if not in_library(source) or source.path == 'engine/scheduler/clock.cc':
        return
    for line, match in source.find(
            r'\bstd::chrono::\w+_clock\b|\bclock_gettime\b|\bgettimeofday\b|\babsl::Now\b'
            r'|\bstd::time\b|\btime\(\s*(nullptr|NULL|0)\s*\)'):
        yield line, f'{match.group(0)} outside engine/scheduler/clock.cc'


@rule
def nothing_sleeps_in_the_library_or_its_tests(source):
    """Waiting is suspending a coroutine; tests wait for events, in simulated time."""
    if source.folder in ('bench', 'examples'):
        return
    for line, match in source.find(r'\bsleep_(for|until)\b|\bu?sleep\(|\bnanosleep\('
                                   r'|\babsl::SleepFor\b'):
        yield line, f'{match.group(0)} instead of waiting for an event'


@rule
def simulated_graphs_are_checked(source):
    """Tests get engines whose graphs look at every edit from SimulatedEngine() (tests/support)."""
    # The helper itself; and what edits of 10,000 nodes cost, without those who look at them.
    if source.folder != 'tests' or source.path in ('tests/support/simulation.cc',
                                                   'tests/graph/cost_test.cc'):
        return
    if not re.search(r'\b(Graph|JobWorld|MirrorWorld)\b', source.code):
        return
    for line, _ in source.find(r'\bsimulated\s*=\s*true\b'):
        yield line, 'an engine that looks at no edit: take SimulatedEngine() (tests/support)'


@rule
def tests_have_namespaces_of_their_own(source):
    """Tests are compiled many at a time (MILLRACE_UNITY_BUILD): their names must not meet."""
    if source.folder != 'tests' or not source.path.endswith('_test.cc'):
        return
    name = pathlib.PurePath(source.path).stem
    for line, _ in source.find(r'(?m)^namespace millrace \{'):
        yield line, f'a test\'s names are in "namespace millrace::{name}"'


@rule
def node_pointers_stay_in_the_graph(source):
    """Outside graph/ a node is a NodeId, an Attachment or a lease; a view does not outlive a block."""
    if source.folder in ('graph', 'tests'):
        return
    for line, match in source.find(
            r'^\s*(?:const\s+)?(?:millrace::)?(?:Node\s*\*|Node\s*&|NodeView)\s*(?:const\s+)?'
            r'(\w+_)\s*(?:=[^;]*|\{[^;]*)?;'):
        yield line, f'member {match.group(1)} keeps a node; keep a NodeId'


@rule
def the_library_prints_nothing(source):
    """An EngineObserver hears what the library has to say. A failed check, about to abort, may."""
    if not in_library(source) or source.path == 'engine/base/check.cc':
        return
    for line, match in source.find(
            r'\bstd::(cout|cerr|clog)\b|(?<!\w)(f|d|v|vf)?printf\(|\bf?puts\(|\bputchar\('
            r'|\bsyslog\('):
        yield line, f'{match.group(0)} in the library'


@rule
def the_library_leaves_the_process_alone(source):
    """No signal handlers, no working directory, no environment, no exit: they are the embedder's."""
    # The child process of an exploration is the library's own, and has to end without running what
    # the embedder registered for the end of its process.
    if not in_library(source) or source.path == 'engine/explore/child_process.cc':
        return
    for line, match in source.find(
            r'(?<![\w.>:])(signal|sigaction|f?chdir|setenv|putenv|exit|_exit|quick_exit)\('
            r'|\bstd::(exit|quick_exit|signal|atexit)\b'):
        yield line, f'{match.group(0)} in the library'


@rule
def checks_carry_our_prefix(source):
    """Installed headers define MILLRACE_ macros only, and a check is always on."""
    if not in_library(source):
        return
    for line, match in source.find(r'(?<![\w])D?CHECK(_[A-Z]+)?\(|(?<![\w:])assert\('):
        yield line, f'{match.group(0)} instead of MILLRACE_CHECK('
    if source.is_header:
        for line, match in source.find(r'^\s*#\s*define\s+(\w+)'):
            if not match.group(1).startswith('MILLRACE_'):
                yield line, f'macro {match.group(1)} lacks the MILLRACE_ prefix'


@rule
def header_guards_follow_the_path(source):
    if not source.is_header:
        return
    guard = 'MILLRACE_' + re.sub(r'\W', '_', source.path).upper() + '_'
    if f'#ifndef {guard}\n#define {guard}\n' not in source.text:
        yield 1, f'the include guard should be {guard}'


@rule
def a_source_includes_its_header_first(source):
    """So that every header with a .cc beside it is known to compile alone."""
    if source.is_header or not source.own_header:
        return
    first = next(source.includes(), (1, 'nothing'))
    if first[1] not in (source.own_header, f'millrace/{source.own_header}'):
        yield first[0], f'includes {first[1]} before "{source.own_header}"'


@rule
def comments_cite_what_is_here(source):
    """A reader has this tree, and no pages by number of a document that is elsewhere."""
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(r'//.*\b([Ss]emantics|architecture) \d', line):
            yield number, 'name the subject, not a section of a document that is not here'


@rule
def headers_say_what_they_are(source):
    """A header opens with its contract."""
    if source.is_header and not source.text.startswith('// '):
        yield 1, 'the header does not open with a comment that says what it is'


def _declared_name(code, position):
    """The name of the function whose parameter list ends before `position`; '' for a lambda."""
    head = code[:position].rstrip()
    while True:  # qualifiers between the parameter list and the annotation
        shorter = re.sub(r'\b(const|override|final|noexcept|mutable|MILLRACE_\w+)$', '', head)
        shorter = re.sub(r'(->\s*[\w:<>*&\s]+|MILLRACE_\w+\([^()]*\))$', '', shorter).rstrip()
        if shorter == head:
            break
        head = shorter
    if not head.endswith(')'):
        return ''
    before = code[:matching_open(code, len(head) - 1)].rstrip()
    match = re.search(r'(\w+)$', before)
    return match.group(1) if match else ''


@rule
def what_may_suspend_is_called_co(source):
    """A function is named Co... if and only if it carries MILLRACE_MAY_SUSPEND."""
    if source.path == 'engine/base/capabilities.h' or source.path.startswith('tests/must_not_comp'):
        return
    # Suspend() is the primitive; TEST and its like are macros around a body.
    exempt = {'Suspend', 'operator', 'TEST', 'TEST_F', 'TEST_P'}
    for line, match in source.find(r'\bMILLRACE_MAY_SUSPEND\b'):
        name = _declared_name(source.code, match.start())
        if name and not re.match(r'Co[A-Z]', name) and name not in exempt:
            yield line, f'{name}() may suspend, so its name starts with Co'
    # A declaration has a type before its name; a call has not. What a .cc file defines inherits
    # the annotation of its header, and clang holds the rest to it.
    if not source.is_header:
        return
    for line, match in source.find(r'(?<=[\w>&*] )(Co[A-Z]\w*)\('):
        start = max(source.code.rfind(mark, 0, match.start()) for mark in ';{}')
        if re.search(r'[=(.!]|->|\b(return|case|else|new)\b', source.code[start + 1:match.start()]):
            continue  # part of a statement
        end = closing(source.code, match.end() - 1)
        tail = re.match(r'[^;{]*', source.code[end + 1:]).group(0)
        if re.match(r'\s*(\.|->|\)|,|\?|==|!=|&&|\|\|)', tail):
            continue  # part of an expression
        if 'MILLRACE_MAY_SUSPEND' not in tail and 'MILLRACE_NO_ANALYSIS' not in tail:
            yield line, f'{match.group(1)}() is declared without MILLRACE_MAY_SUSPEND'


@rule
def hash_order_is_never_observed(source):
    """Abseil's hash order differs per process: walking one would make replays differ."""
    if not in_library(source):
        return
    names = {match.group(1) for _, match in source.find(
        r'\b(?:flat_hash_|node_hash_|unordered_)(?:map|set)<[^;{}]*>\s+(\w+)\s*(?:;|=|\{)')}
    for line, match in source.find(r'\bfor\s*\([^;()]*:\s*\*?(?:\w+(?:\.|->))*(\w+)\s*\)'):
        if match.group(1) in names:
            yield line, f'iterates over the hash table {match.group(1)}'


@rule
def no_process_wide_state(source):
    """Two engines in one process share nothing but constants and one current-scheduler pointer."""
    if not in_library(source):
        return
    for line, match in source.find(
            r'^\s*(?:inline\s+)?(?:static|thread_local)\s+(?!constexpr\b|const\b|constinit\s+const\b)'
            r'(?:[\w:<>,*&]+\s+)+\**(\w+)\s*(?:=|;|\{)'):
        if not (source.path == 'engine/scheduler/scheduler.cc' and 'thread_local' in match.group(0)):
            yield line, f'{match.group(1)} is state of the process'


@rule
def status_text_uses_standard_strings(source):
    """Debian's absl::string_view is not std::string_view; ours is millrace::StrCat."""
    if not in_library(source) or source.path == 'engine/base/text.h':
        return
    types = 'string_view|optional|variant|' if source.is_header else ''  # a .cc may hand them to Abseil
    for line, match in source.find(rf'\babsl::({types}StrCat|StrAppend|StrFormat)\b'):
        yield line, f'{match.group(0)} instead of its std or millrace counterpart'


@rule
def files_and_functions_stay_small(source):
    lines = source.text.count('\n')
    if lines > FILE_LINES_MAX:
        yield 1, f'{lines} lines; at most {FILE_LINES_MAX}'
    for function in source.functions:
        # A switch from an enumeration to its names is a table: its labels do not count.
        labels = len(re.findall(r'^\s*case [\w:]+:$', function.body, re.MULTILINE))
        if function.lines - labels > FUNCTION_LINES_MAX:
            yield function.line, (f'{function.lines} lines, at most {FUNCTION_LINES_MAX}: '
                                  f'{function.head[:60]}')


@rule
def nothing_is_left_for_later(source):
    for number, text in enumerate(source.text.splitlines(), 1):
        if re.search(r'\b(TODO|FIXME|XXX)\b', text):
            yield number, 'unfinished: finish it, or record it where work is planned'


@rule
def dividers_stand_alone(source):
    """A divider is one line, its title in it; clang-format breaks longer ones into the next comment."""
    for number, text in enumerate(source.text.splitlines(), 1):
        if re.match(r'\s*// ?-{20,}', text):
            yield number, 'a divider that was broken in two: "// ---- Title ----..." of 100 columns'


@rule
def options_can_be_given_by_name(source):
    """{.path = ..., .format = ...} must not warn of the members that are left out (-Wextra)."""
    if not in_library(source) or not source.is_header:
        return
    named = r'(?:Options|Spec|Policy|Limits|Services|Rule|Tree|Change)'
    for line, match in source.find(rf'(?s)^( *)struct (\w*{named})\b[^;{{]*\{{[^\n]*\n(.*?)^\1\}};'):
        depth = 0
        for offset, text in enumerate(match.group(3).split('\n'), 1):
            member = re.match(r'\s+(?:[\w:&*]|<[^;]*>)+(?: const)?[\s*&]+(\w+(?:, \w+)*);', text)
            if depth == 0 and member and not re.match(r'\s+(using|static|friend|return)\b', text):
                yield line + offset, f'{match.group(2)}::{member.group(1)} has no default: give it {{}}'
            depth += text.count('{') - text.count('}')


@rule
def no_machine_is_named(source):
    """Paths of the machine the code was written on mean nothing elsewhere."""
    for number, text in enumerate(source.text.splitlines(), 1):
        if re.search(r'["\s(=]/(work|root|home|farm)/', text):
            yield number, 'names a path of one machine'


def sources(root):
    for folder in FOLDERS:
        for path in sorted((pathlib.Path(root) / folder).rglob('*')):
            if path.suffix in ('.h', '.cc') and path.is_file():
                yield Source.read(root, path.relative_to(root))


def broken_rules(source):
    """'path:line: rule: message' for every rule that the file breaks."""
    for check in RULES:
        for line, message in check(source):
            yield f'{source.path}:{line}: {check.__name__}: {message}'


def folders_without_readme(root, paths):
    """'folder: message' for every folder with sources of its own that nothing introduces."""
    for folder in sorted({str(pathlib.PurePath(path).parent) for path in paths}):
        if not (pathlib.Path(root) / folder / 'README.md').is_file():
            yield f'{folder}: has sources and no README.md'


def main(root):
    count = 0
    complaints = []
    paths = []
    for source in sources(root):
        count += 1
        paths.append(source.path)
        complaints.extend(broken_rules(source))
    complaints.extend(folders_without_readme(root, paths))
    for complaint in complaints:
        print(complaint)
    print(f'{count} files, {len(RULES)} rules, {len(complaints)} complaints')
    return 1 if complaints or count == 0 else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else '.'))
