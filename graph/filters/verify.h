// The verifying filter: shows its child "raw", and does everything to a second child, "test", as
// well, which must come to the same. For testing formats and drivers: "test" is what is tested,
// "raw" a simpler image with the same content. (QEMU's blkverify.)
//
//   read             both are read; they must hold the same, or fail with the same errno
//   write, zeroes    go to both; both must succeed, or fail with the same errno
//   flush            goes to both
//   discard, resize  a discard goes nowhere, as nobody says what it leaves; the size stays
//
// Whoever made the filter is told at once when the two differ, before the request ends, with EIO.
#ifndef MILLRACE_GRAPH_FILTERS_VERIFY_H_
#define MILLRACE_GRAPH_FILTERS_VERIFY_H_

#include <functional>
#include <memory>
#include <string>

#include "millrace/engine/base/byte_range.h"
#include "millrace/graph/driver.h"

namespace millrace {

struct VerifyMismatch {
  std::string node;  // the filter's name
  bool is_write = false;
  ByteRange range;    // of the request
  std::string words;  // "contents mismatch at offset 512"
};

struct VerifyOptions {
  // Called in the middle of I/O; must not suspend. May be null.
  std::function<void(const VerifyMismatch&)> on_mismatch{};
};

// Opening it is InvalidArgument if there is no child "test".
std::unique_ptr<FilterDriver> MakeVerifyDriver(VerifyOptions options);

}  // namespace millrace

#endif  // MILLRACE_GRAPH_FILTERS_VERIFY_H_
