// Big-endian integers in byte buffers: how qcow2 stores every number. Internal; not installed.
#ifndef MILLRACE_GRAPH_DRIVERS_QCOW2_BIG_ENDIAN_H_
#define MILLRACE_GRAPH_DRIVERS_QCOW2_BIG_ENDIAN_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace millrace::qcow2 {

namespace internal {
constexpr uint16_t Swap(uint16_t value) { return __builtin_bswap16(value); }
constexpr uint32_t Swap(uint32_t value) { return __builtin_bswap32(value); }
constexpr uint64_t Swap(uint64_t value) { return __builtin_bswap64(value); }
}  // namespace internal

// The caller has checked that sizeof(Value) bytes are there.
template <typename Value>
Value LoadBig(const uint8_t* source) {
  Value value;
  std::memcpy(&value, source, sizeof(value));
  return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? value : internal::Swap(value);
}

template <typename Value>
void StoreBig(uint8_t* target, std::type_identity_t<Value> value) {
  if (__BYTE_ORDER__ != __ORDER_BIG_ENDIAN__) value = internal::Swap(value);
  std::memcpy(target, &value, sizeof(value));
}

}  // namespace millrace::qcow2

#endif  // MILLRACE_GRAPH_DRIVERS_QCOW2_BIG_ENDIAN_H_
