#!/usr/bin/env python3
"""Breaks each rule of source_rules.py once, and passes it once: a rule that cannot fail is none."""

import pathlib
import sys
import tempfile
import unittest

import source_rules
from cpp_text import Source, strip

# rule: [(path, text that breaks it)], [(path, text that does not)]
CASES = {
    'layers_point_down': (
        [('engine/a.cc', '#include "millrace/graph/node.h"\n'),
         ('graph/a.cc', '#include "millrace/jobs/stream/stream.h"\n'),
         ('jobs/a.cc', '#include "examples/cli/cli.h"\n'),
         ('engine/a.cc', '#include "tests/support/seeds.h"\n')],
        [('jobs/a.cc', '#include "millrace/graph/node.h"\n#include "millrace/engine/engine.h"\n'),
         ('tests/a.cc', '#include "tests/support/seeds.h"\n')]),
    'includes_are_spelled_in_full': (
        [('graph/a.cc', '#include "graph/node.h"\n'), ('graph/a.cc', '#include "../node.h"\n')],
        [('graph/a.cc', '#include "millrace/graph/node.h"\n')]),
    'foreign_libraries_stay_in_their_file': (
        [('engine/scheduler/a.cc', '#include <boost/context/fiber.hpp>\n'),
         ('graph/a.cc', '#include <liburing.h>\n'), ('jobs/a.cc', '#include <zlib.h>\n')],
        [('engine/coroutine/context_switch.h', '#include <boost/context/detail/fcontext.hpp>\n'),
         ('graph/drivers/qcow2/a.cc', '#include <zstd.h>\n')]),
    'threads_live_in_engine_io': (
        [('graph/a.cc', 'std::thread worker;\n'), ('engine/engine.cc', 'std::jthread t(run);\n')],
        [('engine/io/a.cc', 'std::thread worker;\n'), ('graph/a.cc', '// not a std::thread\n'),
         ('graph/a.cc', 'auto id = std::this_thread::get_id();\n')]),
    'time_comes_from_the_clock': (
        [('jobs/a.cc', 'auto now = std::chrono::steady_clock::now();\n'),
         ('graph/a.cc', 'clock_gettime(CLOCK_MONOTONIC, &now);\n'),
         ('graph/a.cc', 'uint64_t seed = time(nullptr);\n')],
        [('engine/scheduler/clock.cc', 'auto now = std::chrono::steady_clock::now();\n'),
         ('jobs/a.cc', 'Nanoseconds now = clock.Now();\n')]),
    'nothing_sleeps_in_the_library_or_its_tests': (
        [('tests/a_test.cc', 'std::this_thread::sleep_for(1ms);\n'), ('jobs/a.cc', 'usleep(5);\n')],
        [('tests/a_test.cc', 'CoSleepFor(kSecond);\n'), ('examples/a.cc', 'usleep(5);\n')]),
    'simulated_graphs_are_checked': (
        [('tests/jobs/a_test.cc',
          'auto engine = Engine::Create({.simulated = true});\nGraph graph(*engine);\n'),
         ('tests/support/a.cc', 'options.simulated = true;\nJobWorld world(*engine);\n')],
        [('tests/jobs/a_test.cc', 'auto engine = SimulatedEngine();\nGraph graph(*engine);\n'),
         ('tests/engine/a_test.cc', 'auto engine = Engine::Create({.simulated = true});\n')]),
    'tests_have_namespaces_of_their_own': (
        [('tests/jobs/a_test.cc', 'namespace millrace {\nnamespace {\n')],
        [('tests/jobs/a_test.cc', 'namespace millrace::a_test {\nnamespace {\n'),
         ('tests/support/a.cc', 'namespace millrace {\n')]),
    'node_pointers_stay_in_the_graph': (
        [('jobs/a.h', '// A.\nclass A {\n  Node* top_;\n};\n'),
         ('jobs/a.h', '// A.\nclass A {\n  const Node* top_ = nullptr;\n};\n'),
         ('examples/a.h', '// A.\nclass A {\n  NodeView top_;\n};\n')],
        [('jobs/a.h', '// A.\nclass A {\n  NodeId top_;\n};\n'),
         ('graph/a.h', '// A.\nclass A {\n  Node* top_;\n};\n')]),
    'the_library_prints_nothing': (
        [('engine/a.cc', 'std::cout << 1;\n'), ('jobs/a.cc', 'fprintf(stderr, "x");\n'),
         ('jobs/a.cc', 'printf("x");\n')],
        [('jobs/a.cc', 'snprintf(text, sizeof(text), "x");\n'), ('examples/a.cc', 'printf("x");\n'),
         ('graph/a.cc', 'status = "printf(";\n')]),
    'the_library_leaves_the_process_alone': (
        [('engine/a.cc', 'signal(SIGPIPE, SIG_IGN);\n'), ('graph/a.cc', 'chdir(folder);\n'),
         ('graph/a.cc', 'std::exit(1);\n')],
        [('engine/a.cc', 'scope.exit();\nregister_signal();\n')]),
    'checks_carry_our_prefix': (
        [('graph/a.cc', 'CHECK(x);\n'), ('graph/a.cc', 'DCHECK_EQ(x, y);\n'),
         ('graph/a.cc', 'assert(x);\n'), ('graph/a.h', '#define SHORT 1\n')],
        [('graph/a.cc', 'MILLRACE_CHECK(x, "G1");\nstatic_assert(true);\n'),
         ('graph/a.h', '#define MILLRACE_LONG 1\n')]),
    'header_guards_follow_the_path': (
        [('graph/node.h', '// Node.\n#ifndef NODE_H\n#define NODE_H\n#endif\n'),
         ('tests/support/a.h', '// A.\n#ifndef TESTS_A_H_\n#define TESTS_A_H_\n#endif\n')],
        [('graph/node.h',
          '// Node.\n#ifndef MILLRACE_GRAPH_NODE_H_\n#define MILLRACE_GRAPH_NODE_H_\n#endif\n')]),
    'a_source_includes_its_header_first': (
        [('graph/a.cc', '#include <vector>\n#include "millrace/graph/a.h"\n')],
        [('graph/a.cc', '#include "millrace/graph/a.h"\n#include <vector>\n')]),
    'headers_say_what_they_are': (
        [('graph/node.h', '#ifndef MILLRACE_GRAPH_NODE_H_\n')],
        [('graph/node.h', '// Node: a vertex.\n'), ('graph/node.cc', '#include <vector>\n')]),
    'what_may_suspend_is_called_co': (
        [('graph/a.h', 'absl::Status Read() MILLRACE_MAY_SUSPEND;\n'),
         ('graph/a.cc', 'void Drain(int depth) const MILLRACE_MAY_SUSPEND { CoWait(); }\n'),
         ('graph/a.h', 'absl::Status CoRead(ByteRange range);\n'),
         ('graph/a.h', 'class A {\n public:\n  virtual absl::Status CoRead() = 0;\n};\n'),
         ('graph/a.h', 'absl::StatusOr<std::unique_ptr<A>> CoOpen(B& b) const;\n')],
        [('graph/a.h', 'absl::Status CoRead(ByteRange range) MILLRACE_MAY_SUSPEND;\n'),
         ('graph/a.h', 'virtual absl::Status CoRead(int x = 1)\n    MILLRACE_MAY_SUSPEND = 0;\n'),
         ('graph/a.h', 'absl::Status CoRun() override MILLRACE_MAY_SUSPEND;\n'),
         ('graph/a.h', 'void Get() { return CoRead(1); }\n'),
         ('graph/a.cc', 'scope.Spawn("x", [&]() MILLRACE_MAY_SUSPEND { CoYield(); });\n'),
         ('graph/a.cc', 'auto f = [&](int x) mutable MILLRACE_MAY_SUSPEND -> int { return 1; };\n'),
         ('graph/a.h', 'bool CopyBytes();\nCoroutine* Current();\n')]),
    'hash_order_is_never_observed': (
        [('graph/a.cc', 'absl::flat_hash_map<int, int> nodes_;\nfor (auto& [k, v] : nodes_) f();\n'),
         ('graph/a.cc', 'std::unordered_set<int> seen;\nfor (int x : seen) f();\n')],
        [('graph/a.cc', 'absl::flat_hash_map<int, int> nodes_;\nnodes_.find(1);\n'),
         ('graph/a.cc', 'absl::btree_map<int, int> nodes_;\nfor (auto& [k, v] : nodes_) f();\n')]),
    'no_process_wide_state': (
        [('graph/a.cc', 'static int counter = 0;\n'), ('graph/a.cc', 'thread_local Graph* g;\n'),
         ('graph/a.cc', 'void F() {\n  static std::vector<int> cache;\n}\n')],
        [('graph/a.cc', 'static constexpr int kSlots = 1;\nstatic int Count(int x) { return x; }\n'),
         ('graph/a.cc', 'static const int kSlots = 1;\n'),
         ('engine/scheduler/scheduler.cc', 'thread_local Scheduler* current = nullptr;\n')]),
    'status_text_uses_standard_strings': (
        [('graph/a.h', 'void Name(absl::string_view name);\n'),
         ('graph/a.cc', 'return absl::StrCat(a, b);\n')],
        [('graph/a.h', 'void Name(std::string_view name);\n'), ('graph/a.cc', 'StrCat(a, b);\n')]),
    'files_and_functions_stay_small': (
        [('graph/a.cc', '\n' * 701),
         ('graph/a.cc', 'namespace a {\nvoid F() {\n' + '  G();\n' * 69 + '}\n}\n'),
         ('graph/a.h', 'class A {\n  int F() const {\n' + '    if (x) {}\n' * 69 + '  }\n};\n')],
        [('graph/a.cc', '\n' * 700),
         ('graph/a.cc', 'namespace a {\nvoid F() {\n' + '  G();\n' * 68 + '}\n}\n'),
         ('graph/a.cc', 'void F() {\n' + '  case E::kA:\n    return "a";\n' * 60 + '}\n'),
         ('graph/a.cc', 'void F() {\n  G();\n}\n' * 40),
         ('graph/a.h', 'class A {\n' + '  int x = 1;\n' * 100 + '};\n')]),
    'nothing_is_left_for_later': (
        [('graph/a.cc', '// TO' + 'DO: more\n')],
        [('graph/a.cc', 'kToDoList\n')]),
    'dividers_stand_alone': (
        [('graph/a.h', '  // ---- Edits\n  // ' + '-' * 80 + ' A new\n  // node.\n'),
         ('graph/a.h', '// ---- A title that is long\n// ' + '-' * 60 + '\n')],
        [('graph/a.h', '  // ---- Edits ' + '-' * 80 + '\n  // A new node.\n'),
         ('graph/a.h', '//   stream --dry-run      says what would happen\n')]),
    'options_can_be_given_by_name': (
        [('graph/a.h', 'struct AOptions {\n  std::string path;\n};\n'),
         ('graph/a.h', 'struct AOptions {\n  int x = 0;\n  NodeId base;  // why\n};\n'),
         ('jobs/a.h', 'struct JobSpec {\n  std::optional<std::string> id;\n};\n'),
         ('jobs/a.h', 'struct ALimits {\n  Limit total, read;\n};\n'),
         ('jobs/a.h', 'struct AOptions : BOptions {\n  std::function<void(int)> f;\n};\n')],
        [('graph/a.h', 'struct AOptions {\n  std::string path{};\n  int x = 0;\n};\n'),
         ('graph/a.h', 'struct AOptions {\n  int x = 0;\n  void F() {\n    G();\n    int y;\n  }\n};\n'),
         ('graph/a.h', 'struct Node {\n  std::string name;\n};\n'),
         ('tests/a.h', 'struct AOptions {\n  std::string path;\n};\n')]),
    'comments_cite_what_is_here': (
        [('graph/a.cc', 'int a;  // see seman' + 'tics 1.7\n')],
        [('graph/a.cc', '// QEMU\'s order of completion\n// ends the drained section 5 times\n')]),
    'no_machine_is_named': (
        [('tests/a.cc', 'path = "/ro' + 'ot/image";\n')],
        [('tests/a.cc', '// reads and/or writes: root/work\n')]),
}


def source(path, text):
    return Source(path, text, path.replace('.cc', '.h') if path.endswith('.cc') else '')


class SourceRules(unittest.TestCase):
    def test_every_rule_has_cases(self):
        self.assertEqual(sorted(CASES), sorted(check.__name__ for check in source_rules.RULES))

    def test_each_rule_rejects_what_breaks_it(self):
        for check in source_rules.RULES:
            for path, text in CASES[check.__name__][0]:
                with self.subTest(rule=check.__name__, text=text[:200]):
                    self.assertTrue(list(check(source(path, text))))

    def test_each_rule_accepts_what_keeps_it(self):
        for check in source_rules.RULES:
            for path, text in CASES[check.__name__][1]:
                with self.subTest(rule=check.__name__, text=text[:200]):
                    self.assertEqual(list(check(source(path, text))), [])

    def test_a_folder_with_sources_wants_a_readme(self):
        with tempfile.TemporaryDirectory() as root:
            for folder in ('graph/io', 'graph/empty'):
                (pathlib.Path(root) / folder).mkdir(parents=True)
            paths = ['graph/node.cc', 'graph/node.h', 'graph/io/file.h']
            self.assertEqual(list(source_rules.folders_without_readme(root, paths)),
                             ['graph: has sources and no README.md',
                              'graph/io: has sources and no README.md'])
            (pathlib.Path(root) / 'graph' / 'README.md').write_text('# graph\n', encoding='utf-8')
            self.assertEqual(list(source_rules.folders_without_readme(root, paths)),
                             ['graph/io: has sources and no README.md'])

    def test_comments_and_literals_are_not_code(self):
        text = 'a("x // y", \'"\', 1\'000); // b\n/* c\nd */ e R"(f"g)" h\n'
        self.assertEqual(strip(text).split(), "a(\"        \",    , 1'000); e \"     \" h".split())
        self.assertEqual(strip(text).count('\n'), text.count('\n'))


if __name__ == '__main__':
    sys.exit(unittest.main())
