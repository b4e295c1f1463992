// The order of members in QEMU's JSON. Its dictionaries print their 512 buckets one after the
// other, and inside one the newest first; clients, and tests of clients, compare such texts. Plain
// data; any thread.
#ifndef MILLRACE_ENGINE_BASE_JSON_ORDER_H_
#define MILLRACE_ENGINE_BASE_JSON_ORDER_H_

#include <cstdint>
#include <string_view>

namespace millrace {

// Where QEMU's dictionary keeps a key.
uint32_t QemuBucketOf(std::string_view key);

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_JSON_ORDER_H_
