#!/usr/bin/env python3
"""No process-wide state, as the compiler sees it: what is writable in the libraries' archives.

    writable_data.py OBJDUMP ARCHIVE...             lists what nobody has allowed; exit status 1
    writable_data.py --can-fail OBJDUMP COMPILER    whether state of every kind would be found

source_rules.py looks for `static` and `thread_local` in the text; this finds the rest: a plain
`int g;`, an inline variable, a cache that is filled on first use, state of a template.
"""
import os
import re
import subprocess
import sys
import tempfile

# What is allowed, as a pattern for the whole name, and why.
ALLOWED = {
    r'std::__ioinit': 'of <iostream>; no state of ours',
    r'DW\.ref\..*': 'a pointer of the compiler, for exceptions; never written',
    r'millrace::internal::current_scheduler':
        'one per thread: which engine is being driven there; set and restored around each drive',
}

# "0000 g     O .bss   0008 millrace::internal::x"; .data.rel.ro is read-only once it is loaded.
SYMBOL = re.compile(r'^[0-9a-f]+ .{7} (?P<section>\.\S+)\t[0-9a-f]+ +(\.hidden )?(?P<name>.*)$')
WRITABLE = re.compile(r'\.(bss|data|tbss|tdata)(\..*)?$')


def writable_symbols(objdump, files):
    table = subprocess.run([objdump, '--syms', '--demangle', *files], check=True,
                           capture_output=True, text=True).stdout
    found = set()
    for line in table.splitlines():
        symbol = SYMBOL.match(line)
        if symbol is None:
            continue
        section, name = symbol['section'], symbol['name']
        if not WRITABLE.match(section) or section.startswith('.data.rel.ro') or name == section:
            continue
        found.add(name)
    return found


def check(objdump, archives):
    found = writable_symbols(objdump, archives)
    if not found:
        print('no symbol at all is writable: are these the archives?', *archives)
        return 1
    wrong = sorted(name for name in found
                   if not any(re.fullmatch(pattern, name) for pattern in ALLOWED))
    for name in wrong:
        print(f'{name}: writable data that all engines of a process share; give it to an engine, '
              'or allow it in writable_data.py with a reason')
    return 1 if wrong else 0


PROGRAM = '''
#include <atomic>
#include <string>
#include <vector>
namespace millrace {
int plain;
int initialised = 7;
inline std::atomic<int> of_a_header{1};
thread_local int of_a_thread;
thread_local int of_a_thread_initialised = 3;
namespace { int hidden; }
template <typename T> struct Holder { static inline int of_a_template = 2; };
const std::vector<int>& Cached() {
  static const std::vector<int> filled_on_first_use(3);
  return filled_on_first_use;
}
int Use() {
  return plain++ + initialised++ + of_a_header++ + of_a_thread++ + of_a_thread_initialised++ +
         hidden++ + Holder<int>::of_a_template++ + Cached()[0];
}
extern const char* const kConstant;
const char* const kConstant = "fine";
struct Virtual { virtual ~Virtual() = default; virtual void F(); };
void Virtual::F() {}
}
'''
STATE = ['plain', 'initialised', 'of_a_header', 'of_a_thread', 'of_a_thread_initialised', 'hidden',
         'of_a_template', 'filled_on_first_use']


def can_fail(objdump, compiler):
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, 'state.cc')
        with open(source, 'w') as file:
            file.write(PROGRAM)
        compiled = os.path.join(folder, 'state.o')
        subprocess.run([compiler, '-std=c++20', '-O2', '-fPIC', '-c', source, '-o', compiled],
                       check=True)
        found = writable_symbols(objdump, [compiled])
    missed = [name for name in STATE if not any(each.split('::')[-1] == name for each in found)]
    if missed:
        print('state that is not found:', *missed)
    wrong = [name for name in found if 'kConstant' in name or 'Virtual' in name]
    if wrong:
        print('taken for state, but constant:', *wrong)
    return 1 if missed or wrong else 0


if __name__ == '__main__':
    if sys.argv[1] == '--can-fail':
        sys.exit(can_fail(*sys.argv[2:]))
    sys.exit(check(sys.argv[1], sys.argv[2:]))
