#include "tests/campaign/campaign.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "millrace/engine/explore/child_process.h"

namespace millrace {
namespace {

constexpr uint64_t kFindingsMax = 10;

struct CommandLine {
  uint64_t seconds = 10;
  uint64_t seed_start = 1;
  bool one_seed = false;
};

bool Parse(int argc, char** argv, CommandLine& line) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    const uint64_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (flag == "--seconds") {
      line.seconds = value;
    } else if (flag == "--seed-start") {
      line.seed_start = value;
    } else if (flag == "--seed") {
      line.seed_start = value;
      line.one_seed = true;
    } else {
      return false;
    }
  }
  return argc % 2 == 1;
}

// Keeps the current seed in the file that MILLRACE_CAMPAIGN_SEED_FILE names, so that a crash leaves
// it behind.
class SeedFile {
 public:
  SeedFile() {
    if (const char* path = std::getenv("MILLRACE_CAMPAIGN_SEED_FILE")) {
      descriptor_ = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0666);
    }
  }
  ~SeedFile() {
    if (descriptor_ >= 0) close(descriptor_);
  }
  void Write(uint64_t seed) const {
    if (descriptor_ < 0) return;
    const std::string text = std::to_string(seed);  // seeds only grow, so no digit is left over
    if (pwrite(descriptor_, text.data(), text.size(), 0) < 0) std::cerr << "seed " << seed << '\n';
  }

 private:
  int descriptor_ = -1;
};

void PrintResult(const CommandLine& line, uint64_t end, uint64_t failures,
                 const CampaignCounts& counts) {
  std::cout << "{\"seed_from\": " << line.seed_start << ", \"seed_to\": " << end - 1
            << ", \"failures\": " << failures << ", \"counts\": {";
  const char* separator = "";
  for (const auto& [name, count] : counts) {
    std::cout << separator << '"' << name << "\": " << count;
    separator = ", ";
  }
  std::cout << "}}" << std::endl;
}

}  // namespace

int RunCampaign(int argc, char** argv, CampaignBody body) {
  CommandLine line;
  if (!Parse(argc, argv, line)) {
    std::cerr << "usage: " << argv[0] << " [--seconds S] [--seed-start N | --seed N]\n";
    return 2;
  }
  KeepFreedMemory();
  CampaignCounts counts;
  uint64_t failures = 0;
  uint64_t seed = line.seed_start;
  SeedFile seed_file;
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(line.seconds);
  do {
    seed_file.Write(seed);
    if (absl::Status status = body(seed, counts); !status.ok()) {
      ++failures;
      std::cerr << "seed " << seed << ": " << status << "\n  repeat: " << argv[0] << " --seed "
                << seed << '\n';
    }
    ++seed;
  } while (!line.one_seed && failures < kFindingsMax && std::chrono::steady_clock::now() < end);
  PrintResult(line, seed, failures, counts);
  return failures == 0 ? 0 : 1;
}

}  // namespace millrace
