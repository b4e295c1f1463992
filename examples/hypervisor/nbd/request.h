// NbdRequest: the header of one request on the wire, and what is wrong with it.
#ifndef MILLRACE_EXAMPLES_HYPERVISOR_NBD_REQUEST_H_
#define MILLRACE_EXAMPLES_HYPERVISOR_NBD_REQUEST_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "examples/hypervisor/nbd/disk.h"
#include "examples/hypervisor/nbd/protocol.h"

namespace millrace {

struct NbdRequest {
  uint16_t flags = 0;
  uint16_t command = 0;
  uint64_t cookie = 0;  // the client's; replies carry it
  uint64_t offset = 0;
  uint32_t bytes = 0;

  // Whether `bytes` bytes follow the header.
  bool has_payload() const { return command == nbd::kCmdWrite; }
  // Whether it needs a buffer of `bytes` bytes.
  bool needs_buffer() const {
    return command == nbd::kCmdRead || command == nbd::kCmdWrite || command == nbd::kCmdCache;
  }
};

// `bytes` are kRequestHeaderBytes; nothing if the magic is wrong.
std::optional<NbdRequest> ParseNbdRequest(const uint8_t* bytes);

// What a client agreed on, as far as requests depend on it.
struct NbdTerms {
  uint64_t disk_bytes = 0;
  bool is_read_only = false;
  bool structured_replies = false;
  NbdContextSet contexts = 0;  // that block status is about
};

// Why a request is not carried out: the protocol's error, and a text for people.
struct NbdRefusal {
  uint32_t error = nbd::kEinval;
  std::string text;
};

// Nothing if the request is good.
std::optional<NbdRefusal> CheckNbdRequest(const NbdRequest& request, const NbdTerms& terms);

// The protocol's error for what became of a request.
uint32_t NbdErrorOf(const absl::Status& status);

}  // namespace millrace

#endif  // MILLRACE_EXAMPLES_HYPERVISOR_NBD_REQUEST_H_
