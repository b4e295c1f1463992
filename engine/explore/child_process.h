// ChildProcess: runs a function in a fork of this process and says how it ended. Its memory is a
// copy, except for a SharedBlock made before; its stderr comes back as text. Internal; not
// installed.
#ifndef MILLRACE_ENGINE_EXPLORE_CHILD_PROCESS_H_
#define MILLRACE_ENGINE_EXPLORE_CHILD_PROCESS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"

namespace millrace {

// Zeroed memory that a process shares with its children; untouched pages cost nothing.
class SharedBlock {
 public:
  explicit SharedBlock(size_t bytes);
  ~SharedBlock();
  SharedBlock(const SharedBlock&) = delete;
  SharedBlock& operator=(const SharedBlock&) = delete;

  char* data() const { return data_; }
  absl::Span<char> bytes() const { return {data_, bytes_}; }

 private:
  char* data_;
  size_t bytes_;
};

struct ChildEnd {
  bool is_clean = false;    // the function returned, or EndChild() was called
  std::string how;          // else: "killed by signal 6 (Aborted)"
  std::string stderr_text;  // its last 64 KiB
};

ChildEnd RunInChild(absl::FunctionRef<void()> function);
// In the child: ends it here, cleanly, without running anything else.
[[noreturn]] void EndChild();
// In the child: the kernel kills it unless this is called again within so many seconds of processor
// time, or twenty times as many of the clock's; 0: never.
void KillChildAfter(uint32_t seconds);

// What this process frees it keeps for its next run, instead of giving pages back to the kernel,
// which then have to be filled with zeroes again: scenarios of some MiB took fifteen times as long.
// For processes that do nothing but run scenarios: it is a setting of the whole process. Children
// do it.
void KeepFreedMemory();

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_CHILD_PROCESS_H_
