// What the gallery's commands write to the terminal.
#ifndef MILLRACE_EXAMPLES_RACE_GALLERY_PRINTING_H_
#define MILLRACE_EXAMPLES_RACE_GALLERY_PRINTING_H_

#include <cstdio>
#include <string>

#include "millrace/engine/scheduler/clock.h"

namespace millrace::gallery {

// At once, so that a long table is seen as it grows.
inline void Print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

inline std::string InSeconds(Nanoseconds time) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.3f s",
                static_cast<double>(time) / static_cast<double>(kSecond));
  return text;
}

}  // namespace millrace::gallery

#endif  // MILLRACE_EXAMPLES_RACE_GALLERY_PRINTING_H_
