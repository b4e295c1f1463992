// StrongInt: a different type for each meaning of an integer, so that a guest offset cannot be
// passed where a host offset is meant. Arithmetic stays within one type; `value()` is the way out.
//
// It costs what the integer costs, compares and hashes like it, and is 0 until told otherwise.
// Nothing is checked: arithmetic that leaves the range of `Value` wraps, so numbers from an image
// or a client are bounded before they become one. Plain value; any thread.
//
//   struct HostOffsetTag;  using HostOffset = StrongInt<HostOffsetTag, uint64_t>;
//   HostOffset a{4096};  uint64_t distance = b - a;  HostOffset c = a + 512;
#ifndef MILLRACE_ENGINE_BASE_STRONG_INT_H_
#define MILLRACE_ENGINE_BASE_STRONG_INT_H_

#include <compare>
#include <cstdint>
#include <string>
#include <utility>

namespace millrace {

template <typename Tag, typename Value>
class StrongInt {
 public:
  using ValueType = Value;

  constexpr StrongInt() = default;
  constexpr explicit StrongInt(Value value) : value_(value) {}

  constexpr Value value() const { return value_; }

  friend constexpr auto operator<=>(StrongInt, StrongInt) = default;

  // A position moved by a distance is a position; two positions differ by a distance.
  friend constexpr StrongInt operator+(StrongInt a, Value distance) {
    return StrongInt(a.value_ + distance);
  }
  friend constexpr StrongInt operator-(StrongInt a, Value distance) {
    return StrongInt(a.value_ - distance);
  }
  friend constexpr Value operator-(StrongInt a, StrongInt b) { return a.value_ - b.value_; }
  constexpr StrongInt& operator+=(Value distance) {
    value_ += distance;
    return *this;
  }

  template <typename Hash>
  friend Hash AbslHashValue(Hash state, StrongInt a) {
    return Hash::combine(std::move(state), a.value_);
  }

 private:
  Value value_ = 0;
};

template <typename Tag, typename Value>
std::string ToString(StrongInt<Tag, Value> number) {
  return std::to_string(number.value());
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_BASE_STRONG_INT_H_
