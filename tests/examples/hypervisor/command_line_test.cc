#include "examples/hypervisor/process/command_line.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace::command_line_test {
namespace {

absl::StatusOr<CommandLine> Parse(std::vector<std::string> words) {
  words.insert(words.begin(), "/usr/bin/millraced");
  return ParseCommandLine(words);
}

std::vector<std::pair<std::string, std::string>> Options(const CommandLine& line) {
  std::vector<std::pair<std::string, std::string>> options;
  for (const GivenOption& option : line.options) {
    options.emplace_back(option.name, option.argument);
  }
  return options;
}

std::string Mistake(std::vector<std::string> words) {
  return std::string(Parse(std::move(words)).status().message());
}

TEST(CommandLine, KeepsTheOrderOfWhatHasAnEffect) {
  const auto line = Parse(
      {"--chardev", "stdio,id=c", "--pidfile=/p", "--blockdev=a=b", "--mon", "c", "--daemonize"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->program, "millraced");
  EXPECT_EQ(Options(*line), (std::vector<std::pair<std::string, std::string>>{
                                {"chardev", "stdio,id=c"}, {"blockdev", "a=b"}, {"monitor", "c"}}));
  EXPECT_EQ(line->pid_file, "/p");
  EXPECT_TRUE(line->daemonizes);
}

TEST(CommandLine, TellsMistakesAsGetoptDoes) {
  EXPECT_EQ(Mistake({"--foo"}), "unrecognized option '--foo'");
  EXPECT_EQ(Mistake({"-x"}), "invalid option -- 'x'");
  EXPECT_EQ(Mistake({"--blockdev"}), "option '--blockdev' requires an argument");
  EXPECT_EQ(Mistake({"--daemonize=3"}), "option '--daemonize' doesn't allow an argument");
  EXPECT_EQ(Mistake({"--d"}),
            "option '--d' is ambiguous; possibilities: '--daemonize' '--device' '--drive'");
  EXPECT_EQ(Mistake({"extra"}), "extra: Unexpected argument");
  EXPECT_EQ(Mistake({"-"}), "-: Unexpected argument");
  EXPECT_EQ(Mistake({"-T"}), "option requires an argument -- 'T'");
  EXPECT_EQ(Mistake({"--open-gate", "wide"}), "--open-gate wide: expected 'strict' or 'qemu'");
  EXPECT_EQ(Mistake({"--io", "magic"}), "--io magic: expected 'auto', 'io_uring' or 'threads'");
  EXPECT_EQ(Mistake({"--io", "threads", "--io", "magic"}),
            "--io magic: expected 'auto', 'io_uring' or 'threads'");
  EXPECT_NE(Mistake({"--open-root", "/there/is/none"}), "");
}

TEST(CommandLine, TakesTheSpellingsOfQemusClients) {
  const auto line = Parse({"-nodefaults", "-nographic", "-display",
                           "none",        "-vga",       "none",
                           "-S",          "-M",         "none",
                           "-machine",    "pc",         "-accel",
                           "tcg",         "-cpu",       "max",
                           "-m",          "16",         "-chardev",
                           "stdio,id=c",  "-mon",       "chardev=c,mode=control",
                           "-drive",      "if=none",    "-device",
                           "help",        "-pidfile",   "/p"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(Options(*line),
            (std::vector<std::pair<std::string, std::string>>{{"chardev", "stdio,id=c"},
                                                              {"monitor", "chardev=c,mode=control"},
                                                              {"drive", "if=none"},
                                                              {"device", "help"}}));
  EXPECT_EQ(line->pid_file, "/p");
  EXPECT_TRUE(Parse({"-help"})->wants_help);
  EXPECT_EQ(Mistake({"-M"}), "option '-M' requires an argument");
  EXPECT_EQ(Mistake({"-drive"}), "option '--drive' requires an argument");
  EXPECT_EQ(Mistake({"-dev", "x"}), "unrecognized option '-dev'");  // only whole names
  EXPECT_EQ(Mistake({"-hx"}), "invalid option -- 'x'");
}

TEST(CommandLine, KnowsHowAnOptionWasSpelled) {
  const auto line = Parse(
      {"-drive", "a=b", "--drive", "c", "-mon", "d", "--blockdev=e=f", "-qmp", "stdio", "-Tx"});
  ASSERT_TRUE(line.ok()) << line.status();
  std::vector<std::string> spelled;
  for (const GivenOption& option : line->options) spelled.push_back(option.spelled);
  EXPECT_EQ(spelled,
            (std::vector<std::string>{"-drive", "--drive", "-mon", "--blockdev", "-qmp", "-T"}));
}

TEST(CommandLine, PassesOverWhatOnlyAMachineHas) {
  const auto line =
      Parse({"-boot",   "c",       "-smp",      "2",    "-no-shutdown",    "-no-reboot",
             "-serial", "none",    "-parallel", "none", "-qtest-log",      "/dev/null",
             "-net",    "none",    "-monitor",  "none", "-no-user-config", "-enable-kvm",
             "-rtc",    "clock=vm"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_TRUE(line->options.empty());
  EXPECT_EQ(Options(*Parse({"-machine", "pc", "-M", "help"})),
            (std::vector<std::pair<std::string, std::string>>{{"M", "help"}}));
  EXPECT_EQ(Mistake({"-smp"}), "option '-smp' requires an argument");
  EXPECT_EQ(Mistake({"-frobnicate", "x"}), "unrecognized option '-frobnicate'");
}

TEST(CommandLine, KeepsWhatIsSaidOfAMachineAndAskedAfter) {
  const auto line = Parse({"-qmp", "stdio", "-qmp-pretty", "unix:/p", "-qtest", "unix:/q", "-name",
                           "foo", "-uuid", "u", "-monitor", "chardev=m", "--monitor", "none"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(Options(*line),
            (std::vector<std::pair<std::string, std::string>>{{"qmp", "stdio"},
                                                              {"qmp-pretty", "unix:/p"},
                                                              {"qtest", "unix:/q"},
                                                              {"name", "foo"},
                                                              {"uuid", "u"},
                                                              {"monitor", "chardev=m"},
                                                              {"monitor", "none"}}));
}

TEST(CommandLine, SaysWhetherRefusalsCarryData) {
  EXPECT_TRUE(Parse({})->tells_error_data);
  EXPECT_TRUE(Parse({"--qmp-error-data", "on"})->tells_error_data);
  EXPECT_FALSE(Parse({"--qmp-error-data=off"})->tells_error_data);
  EXPECT_EQ(Mistake({"--qmp-error-data", "x"}), "--qmp-error-data x: expected 'on' or 'off'");
}

TEST(CommandLine, KnowsShortNames) {
  EXPECT_TRUE(Parse({"-h"})->wants_help);
  EXPECT_TRUE(Parse({"-V"})->wants_version);
  EXPECT_EQ(Parse({"-Tx"})->options[0].argument, "x");
}

TEST(CommandLine, ResolvesTheOpenRoot) {
  EXPECT_EQ(Parse({"--open-root", "/usr/../usr/./"})->open_root, "/usr");
  EXPECT_TRUE(Parse({"--open-gate", "qemu"})->open_gate_like_qemu);
  EXPECT_FALSE(Parse({})->open_gate_like_qemu);
}

TEST(CommandLine, ChoosesHowFilesAreReadAndWritten) {
  EXPECT_EQ(Parse({})->io, IoBackendKind::kAutomatic);
  EXPECT_EQ(Parse({"--io", "auto"})->io, IoBackendKind::kAutomatic);
  EXPECT_EQ(Parse({"--io", "threads"})->io, IoBackendKind::kThreads);
  EXPECT_EQ(Parse({"--io=io_uring"})->io, IoBackendKind::kIoUring);
  EXPECT_EQ(Parse({"--io=io_uring", "--io=auto"})->io, IoBackendKind::kAutomatic);
}

}  // namespace
}  // namespace millrace::command_line_test
