// qcow2 images on a CrashDisk: making and checking them, and random choices among the format's
// options. For tests, campaigns and fuzzers.
#ifndef MILLRACE_TESTS_SUPPORT_QCOW2_IMAGES_H_
#define MILLRACE_TESTS_SUPPORT_QCOW2_IMAGES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/engine/base/check.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/drivers/qcow2/qcow2_check.h"
#include "millrace/graph/drivers/qcow2/qcow2_create.h"
#include "millrace/graph/drivers/qcow2/qcow2_driver.h"
#include "tests/support/crash_disk.h"
#include "tests/support/fake_driver_context.h"
#include "tests/support/simulation.h"

namespace millrace {

inline CrashDisk MakeImage(const Qcow2CreateOptions& options) {
  CrashDisk disk;
  DiskFile file(disk);
  auto engine = SimulatedEngine();
  const absl::Status status =
      engine->Run([&]() MILLRACE_MAY_SUSPEND { return CoCreateQcow2(file, options); });
  MILLRACE_CHECK(status.ok(), "an image could not be made");
  return disk;
}

inline absl::StatusOr<Qcow2CheckResult> CheckImage(CrashDisk& disk,
                                                   Qcow2Repair repair = Qcow2Repair::kNone) {
  DiskFile file(disk);
  auto engine = SimulatedEngine();
  absl::StatusOr<Qcow2CheckResult> result = absl::UnknownError("the check did not run");
  (void)engine->Run([&]()
                        MILLRACE_MAY_SUSPEND { result = CoCheckQcow2(file, {.repair = repair}); });
  return result;
}

// "3 corruptions, 1 leaks: first finding"
inline std::string Describe(const absl::StatusOr<Qcow2CheckResult>& result) {
  if (!result.ok()) return result.status().ToString();
  std::string text = std::to_string(result->corruptions) + " corruptions, " +
                     std::to_string(result->leaks) + " leaks";
  for (const std::string& finding : result->findings) text += "\n  " + finding;
  return text;
}

inline std::vector<uint8_t> Pattern(uint64_t bytes, uint64_t seed) {
  RandomStream random(seed, "pattern");
  std::vector<uint8_t> data(bytes);
  for (uint8_t& byte : data) byte = static_cast<uint8_t>(random.Next() | 1);
  return data;
}

// Options over the whole range of the format. Most images are small, so that tables matter; one in
// twelve has clusters of 128 KiB to 2 MiB, and few of them.
inline Qcow2CreateOptions RandomOptions(RandomStream& random) {
  Qcow2CreateOptions options;
  options.version = random.OneIn(4) ? 2 : 3;
  options.cluster_bytes = uint64_t{512} << (random.OneIn(4) ? random.Below(8) : random.Below(3));
  if (options.version == 3) {
    options.refcount_bits = uint32_t{1} << random.Below(7);
    options.lazy_refcounts = random.OneIn(4);
    if (random.OneIn(3)) {
      options.extended_l2 = true;
      options.cluster_bytes = uint64_t{16384} << random.Below(3);
    }
  }
  const bool is_large = random.OneIn(12);
  if (is_large) options.cluster_bytes = uint64_t{131072} << random.Below(5);
  const uint64_t clusters_max = is_large ? 4 : 16;
  options.bytes = 512 * (1 + random.Below(clusters_max * options.cluster_bytes / 512 + 1000));
  if (random.OneIn(8)) options.preallocation = Qcow2Preallocation::kMetadata;
  return options;
}

inline std::string Describe(const Qcow2CreateOptions& options) {
  return "version " + std::to_string(options.version) + ", cluster " +
         std::to_string(options.cluster_bytes) + ", refcount bits " +
         std::to_string(options.refcount_bits) + (options.extended_l2 ? ", extended l2" : "") +
         (options.lazy_refcounts ? ", lazy" : "") +
         (options.preallocation == Qcow2Preallocation::kMetadata ? ", preallocated" : "") + ", " +
         std::to_string(options.bytes) + " bytes";
}

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_QCOW2_IMAGES_H_
