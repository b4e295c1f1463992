// The toy format: a format driver over a file, small enough to write images by hand in a test.
//
// An image is one line of text, then data. The line is "TOY backing format map": a hyphen stands
// for nothing, and the map has one letter per cluster of 512 bytes: D (data, in the file at 512
// times one more than the cluster's number), Z (zeroes) or U (unallocated). Read-only.
#ifndef MILLRACE_TESTS_SUPPORT_TOY_FORMAT_H_
#define MILLRACE_TESTS_SUPPORT_TOY_FORMAT_H_

#include <memory>
#include <string>
#include <string_view>

#include "millrace/graph/driver.h"

namespace millrace {

inline constexpr uint64_t kToyClusterBytes = 512;

std::unique_ptr<FormatDriver> MakeToyDriver();

// An image's file; the data of cluster i are all `fill`.
std::string ToyImage(std::string_view backing, std::string_view format, std::string_view map,
                     char fill = 'x');

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_TOY_FORMAT_H_
