// FdSets: descriptors handed to the program (--add-fd, add-fd), opened under the name
// "/dev/fdset/N"; those that clients gave names (getfd); and the one that came with the request
// that is being served.
//
// A set holds descriptors of one file with different access modes; opening the name duplicates the
// one whose mode is wanted. The sets own their descriptors. Home thread only.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_SETS_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_SETS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "examples/hypervisor/process/passed_descriptor.h"

namespace millrace {

class FdSets {
 public:
  FdSets() = default;
  ~FdSets();
  FdSets(const FdSets&) = delete;
  FdSets& operator=(const FdSets&) = delete;

  // The argument of --add-fd: "fd=N,set=N[,opaque=TEXT]". Takes a duplicate of the descriptor: the
  // given one may be named in several options.
  absl::Status AddFromOption(std::string_view text);
  // No more options come: closes the descriptors that they have named, like QEMU.
  void CloseGiven();

  // ---- What clients pass along -------------------------------------------------------------------
  // What came with the request that is being served; whoever serves it puts it there, and takes
  // away what no command took.
  PassedDescriptor& offered() { return offered_; }
  // That one, for the caller to own, or "No file descriptor supplied via SCM_RIGHTS".
  absl::StatusOr<int> TakeOffered();
  // What that would refuse.
  absl::Status CheckOffered() const;
  // Puts it into a set (absent: the first number that is free); returns the number. Owns it.
  int64_t Add(int fd, std::optional<int64_t> set, std::string opaque);
  // Closes a descriptor of a set, or all of them: "File descriptor named 'fdset-id:3' not found".
  // What was opened under the set's name stays open.
  absl::Status Remove(int64_t set, std::optional<int64_t> fd);
  // What that would refuse.
  absl::Status CheckRemove(int64_t set, std::optional<int64_t> fd) const;
  // The number that Add() would return.
  int64_t NumberFor(std::optional<int64_t> set) const;
  // Descriptors by the names that clients have given them (getfd). A name's older one is closed.
  void SetNamed(const std::string& name, PassedDescriptor fd) { named_[name] = std::move(fd); }
  // "File descriptor named 'x' not found".
  absl::Status CloseNamed(const std::string& name);
  // What that would refuse.
  absl::Status CheckCloseNamed(const std::string& name) const;
  // It loses its name: "File descriptor named 'x' has not been found".
  absl::StatusOr<PassedDescriptor> TakeNamed(const std::string& name);
  struct Described {
    int64_t fd = -1;
    std::optional<std::string> opaque;
  };
  // Sets by number, descriptors in the order in which they came.
  std::map<int64_t, std::vector<Described>> Describe() const;

  // The number in "/dev/fdset/N"; nothing for any other name.
  static std::optional<int64_t> SetNumber(std::string_view path);
  // A new descriptor, close-on-exec, for the caller to own. `is_writable` asks for read-write,
  // otherwise a read-only one is preferred and a read-write one is taken. Errors are QMP errors in
  // QEMU's words: "Could not dup FD for /dev/fdset/N flags 2: No such file or directory" (there is
  // no such set), "... Permission denied" (none of its descriptors can do that).
  absl::StatusOr<int> Open(int64_t set, bool is_writable) const;

 private:
  struct Member {
    int fd = -1;
    std::optional<std::string> opaque;
  };
  PassedDescriptor offered_;
  std::map<int64_t, std::vector<Member>> sets_;
  std::map<int, int> given_;  // by options, and a duplicate of each
  std::map<std::string, PassedDescriptor> named_;
};

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_PROCESS_FD_SETS_H_
