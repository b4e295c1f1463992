// Who an option of a step choice belongs to, as one number. Internal; not installed.
#ifndef MILLRACE_ENGINE_EXPLORE_PARTY_H_
#define MILLRACE_ENGINE_EXPLORE_PARTY_H_

#include <cstdint>
#include <cstring>
#include <string_view>

#include "millrace/engine/scheduler/decider.h"

namespace millrace {

// A good hash of two numbers, the same in every process.
inline uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t z = (a ^ 0x9e3779b97f4a7c15u) + b * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

inline uint64_t HashText(std::string_view text, uint64_t seed = 0) {
  uint64_t hash = Mix(seed, text.size());
  uint64_t word = 0;
  for (; text.size() > sizeof(word); text.remove_prefix(sizeof(word))) {
    std::memcpy(&word, text.data(), sizeof(word));
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  word = 0;
  if (!text.empty()) std::memcpy(&word, text.data(), text.size());
  return Mix(hash, word);
}

// Coroutines and I/O have ids of their own; timers have none and are told apart by name.
inline uint64_t PartyOf(const Option& option) {
  return option.actor != 0 ? option.actor : HashText(option.name) | uint64_t{1} << 63;
}

// What kind of step it is, whoever takes it: "stream0/copy@io.read".
inline uint64_t PlaceOf(const Option& option) {
  return HashText(option.detail, HashText(option.name));
}

}  // namespace millrace

#endif  // MILLRACE_ENGINE_EXPLORE_PARTY_H_
