// The cases of QEMU's iotest 030 as programs over the library: one function for each, which reads
// like its line in QEMU's test, grouped into files by section.
#ifndef MILLRACE_EXAMPLES_IOTEST_030_CASES_H_
#define MILLRACE_EXAMPLES_IOTEST_030_CASES_H_

#include <string_view>

#include "absl/types/span.h"

namespace millrace {

class Machine;

struct Case {
  char section;  // A to F
  std::string_view name;
  // Runs in a coroutine. What goes wrong is kept by the machine.
  void (*run)(Machine& machine);
};

absl::Span<const Case> OneDriveCases();     // A: one drive over two images
absl::Span<const Case> ParallelCases();     // B: several jobs on a chain of nine
absl::Span<const Case> OtherChainCases();   // C: below a quorum; D: a base that is shorter
absl::Span<const Case> ErrorCases();        // E: a read that fails once
absl::Span<const Case> CancelSpeedCases();  // F: cancel and speed

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_IOTEST_030_CASES_H_
