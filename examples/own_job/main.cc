// A job of one's own: scrubs a qcow2 image and everything below it, at a speed if one is given.
//
//   own_job IMAGE [BYTES_PER_SECOND]
//
// Exit status: 0 all could be read; 1 it could not be done; 3 some pieces could not be read.
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "examples/own_job/scrub_job.h"
#include "millrace/engine/base/status_macros.h"
#include "millrace/engine/engine.h"
#include "millrace/graph/open_image.h"
#include "millrace/jobs/block_runtime.h"

namespace {

using namespace millrace;  // NOLINT: an example reads better without prefixes

absl::Status CoScrub(BlockRuntime& blocks, const std::string& path, int64_t speed,
                     example::ScrubReport* report) MILLRACE_MAY_SUSPEND {
  const OpenImageOptions image{.path = path, .is_read_only = true};
  MILLRACE_ASSIGN_OR_RETURN(OpenedImage opened,
                            CoOpenImage(blocks.graph(), blocks.drivers(), image));
  example::ScrubOptions scrub;
  scrub.job.spec.id = "scrub0";
  scrub.job.spec.speed = speed;
  scrub.job.on_error = OnError::kIgnore;  // go on, and tell where
  scrub.image = opened.top();
  scrub.report = report;
  MILLRACE_RETURN_IF_ERROR(example::CoStartScrub(blocks.graph(), blocks.jobs(), scrub).status());
  return blocks.jobs().CoWaitUntilOver("scrub0");
}

absl::Status CoMain(Engine& engine, const std::string& path, int64_t speed,
                    example::ScrubReport* report) MILLRACE_MAY_SUSPEND {
  BlockRuntime blocks(engine);
  return blocks.CoRun([&]() MILLRACE_MAY_SUSPEND { return CoScrub(blocks, path, speed, report); });
}

}  // namespace

int main(int argc, char** argv) {
  int64_t speed = 0;  // no limit
  if ((argc != 2 && argc != 3) || (argc == 3 && !absl::SimpleAtoi(argv[2], &speed)) || speed < 0) {
    std::cerr << "usage: own_job IMAGE [BYTES_PER_SECOND]\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create({});
  if (!engine.ok()) {
    std::cerr << engine.status().message() << '\n';
    return 1;
  }
  example::ScrubReport report;
  const absl::Status status = (*engine)->Run(
      [&]() MILLRACE_MAY_SUSPEND { return CoMain(**engine, argv[1], speed, &report); });
  if (!status.ok()) {
    std::cerr << status.message() << '\n';
    return 1;
  }
  std::cout << report.bytes_read << " bytes read\n";
  for (uint64_t offset : report.bad_offsets) std::cout << "cannot be read: " << offset << '\n';
  return report.bad_offsets.empty() ? 0 : 3;
}
