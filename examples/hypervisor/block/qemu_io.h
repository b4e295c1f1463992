// qemu-io's command language, as far as tests of block layers need it: read, write, aio_read,
// aio_write, flush, aio_flush, discard, and the break points of blkdebug.
//
//   qemu-io drive0 "aio_write -P 0x55 64k 4k"
//
// What qemu-io would print goes to stdout.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

// A command in words; what stands in quotes is one.
std::vector<std::string> SplitWords(std::string_view line);

// "512", "64k", "0x200", "1M"; nothing if it is no number.
std::optional<uint64_t> ParseIoNumber(std::string_view text);

// "64 KiB", "1.500 MiB", as qemu-io writes sizes.
std::string IoSizeText(double bytes);

// What a read or write is to do.
struct QemuIoRequest {
  std::string name;  // "read", "aio_write", "discard"
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::optional<uint8_t> pattern;
  bool is_quiet = false;
  bool writes_zeroes = false;  // -z
  bool may_unmap = false;      // -u
  bool force_unit_access = false;
  bool is_verbose = false;

  bool is_read() const { return name == "read" || name == "aio_read"; }
  bool is_asynchronous() const { return name.compare(0, 4, "aio_") == 0; }
};

// The text of a mistake, or nothing.
std::optional<std::string> ParseIoRequest(const std::vector<std::string>& words,
                                          QemuIoRequest* request);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_BLOCK_QEMU_IO_H_
