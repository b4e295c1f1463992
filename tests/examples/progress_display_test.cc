#include "examples/common/progress_display.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>

#include <gtest/gtest.h>

namespace millrace::progress_display_test {
namespace {

constexpr uint64_t kMiB = 1 << 20;

ProgressEntry Running(uint64_t done_bytes, uint64_t total_bytes) {
  return {"job", "running", done_bytes, total_bytes};
}

// Gives what was printed since the last call.
class Log {
 public:
  Log() : file_(open_memstream(&text_, &bytes_)) {}
  ~Log() {
    fclose(file_);
    free(text_);
  }
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  FILE* file() { return file_; }
  std::string News() {
    fflush(file_);
    return std::string(text_ + std::exchange(seen_, bytes_), text_ + bytes_);
  }

 private:
  char* text_ = nullptr;
  size_t bytes_ = 0;
  size_t seen_ = 0;
  FILE* file_;
};

// The same for a terminal; what is written must be less than its buffer of some KiB.
class Terminal {
 public:
  Terminal() : master_(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
    EXPECT_EQ(grantpt(master_), 0);
    EXPECT_EQ(unlockpt(master_), 0);
    const int slave = open(ptsname(master_), O_RDWR | O_NOCTTY);
    termios mode;
    EXPECT_EQ(tcgetattr(slave, &mode), 0);
    cfmakeraw(&mode);  // "\n" stays "\n"
    EXPECT_EQ(tcsetattr(slave, TCSANOW, &mode), 0);
    file_ = fdopen(slave, "w");
  }
  ~Terminal() {
    fclose(file_);
    close(master_);
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  FILE* file() { return file_; }
  // What is written at one end comes to the other when the kernel finds time for it, and in parts:
  // a mark behind it says when all of it is there.
  std::string News() {
    fputc(kMark, file_);
    fflush(file_);
    std::string text;
    while (text.empty() || text.back() != kMark) {
      pollfd wait = {master_, POLLIN, 0};
      if (poll(&wait, 1, 60'000) != 1) break;
      char part[4096];
      const ssize_t bytes = read(master_, part, sizeof(part));
      if (bytes <= 0) break;
      text.append(part, static_cast<size_t>(bytes));
    }
    EXPECT_TRUE(!text.empty() && text.back() == kMark) << text;
    return text.substr(0, text.find(kMark));
  }

 private:
  static constexpr char kMark = '\x04';

  const int master_;
  FILE* file_ = nullptr;
};

TEST(ProgressDisplay, ALineSaysPhaseShareBytesRateAndWhatIsLeft) {
  EXPECT_EQ(ProgressDisplay::Describe(Running(3 * kMiB, 8 * kMiB), 2 * kMiB),
            "running    37 %, 3 MiB of 8 MiB, 2 MiB/s, 2 s left");
  EXPECT_EQ(ProgressDisplay::Describe(Running(0, 100 << 10), 512),
            "running    0 %, 0 B of 100 KiB, 512 B/s, 3 min 20 s left");
  EXPECT_EQ(ProgressDisplay::Describe(Running(kMiB, 3072 * kMiB), 300 << 10),
            "running    0 %, 1 MiB of 3 GiB, 300 KiB/s, 2 h 54 min left");
}

TEST(ProgressDisplay, NothingIsLeftToWaitForWithoutARateOrWork) {
  EXPECT_EQ(ProgressDisplay::Describe(Running(0, kMiB), 0), "running    0 %, 0 B of 1 MiB");
  EXPECT_EQ(ProgressDisplay::Describe(Running(kMiB, kMiB), 512),
            "running    100 %, 1 MiB of 1 MiB, 512 B/s");
  EXPECT_EQ(ProgressDisplay::Describe({"job", "paused", kMiB, 2 * kMiB}, 512),
            "paused     50 %, 1 MiB of 2 MiB, 512 B/s");
  EXPECT_EQ(ProgressDisplay::Describe({"job", "done", 0, 0}, 0), "done       100 %, 0 B of 0 B");
}

// Lines come every two seconds; the rate is that of what came between, and follows changes by two
// fifths: 1 MiB/s for a second, then 2 MiB/s, are 1.4 MiB/s.
TEST(ProgressDisplay, TheRateIsThatOfTheTimesAndBytesItIsShown) {
  Log log;
  ProgressDisplay display(log.file(), false);
  display.Show(10 * kSecond, {Running(0, 8 * kMiB)});
  EXPECT_EQ(log.News(), "job: running    0 %, 0 B of 8 MiB\n");
  display.Show(11 * kSecond, {Running(kMiB, 8 * kMiB)});
  EXPECT_EQ(log.News(), "");
  display.Show(12 * kSecond, {Running(3 * kMiB, 8 * kMiB)});
  EXPECT_EQ(log.News(), "job: running    37 %, 3 MiB of 8 MiB, 1.40 MiB/s, 3 s left\n");
  display.Show(14 * kSecond, {Running(4 * kMiB, 8 * kMiB)});  // half a MiB a second: 1.04
  EXPECT_EQ(log.News(), "job: running    50 %, 4 MiB of 8 MiB, 1.04 MiB/s, 3 s left\n");
}

TEST(ProgressDisplay, WhatCameWithinHalfASecondMakesNoRate) {
  Log log;
  ProgressDisplay display(log.file(), false);
  display.Show(0, {Running(0, 8 * kMiB)});
  display.Show(kSecond / 2 - 1, {Running(4 * kMiB, 8 * kMiB)});
  log.News();
  display.Show(kSecond / 2 - 1, {{"job", "paused", 4 * kMiB, 8 * kMiB}});
  EXPECT_EQ(log.News(), "job: paused     50 %, 4 MiB of 8 MiB\n");
  display.Show(kSecond / 2, {Running(4 * kMiB, 8 * kMiB)});  // counted from the start
  EXPECT_EQ(log.News(), "job: running    50 %, 4 MiB of 8 MiB, 8 MiB/s, 0 s left\n");
}

TEST(ProgressDisplay, AJobThatStartsAnewIsMeasuredAnew) {
  Log log;
  ProgressDisplay display(log.file(), false);
  display.Show(0, {Running(6 * kMiB, 8 * kMiB)});
  display.Show(kSecond, {Running(0, 8 * kMiB)});
  display.Show(2 * kSecond, {Running(kMiB, 8 * kMiB)});
  log.News();
  display.Show(4 * kSecond, {Running(3 * kMiB, 8 * kMiB)});
  EXPECT_EQ(log.News(), "job: running    37 %, 3 MiB of 8 MiB, 1 MiB/s, 5 s left\n");
}

TEST(ProgressDisplay, EachJobHasARateOfItsOwn) {
  Log log;
  ProgressDisplay display(log.file(), false);
  display.Show(0, {{"a", "running", 0, kMiB}, {"b", "running", 0, kMiB}});
  log.News();
  display.Show(2 * kSecond, {{"a", "running", 1024, kMiB}, {"b", "running", 2048, kMiB}});
  EXPECT_EQ(log.News(),
            "a: running    0 %, 1 KiB of 1 MiB, 512 B/s, 34 min 6 s left\n"
            "b: running    0 %, 2 KiB of 1 MiB, 1 KiB/s, 17 min 2 s left\n");
}

TEST(ProgressDisplay, ALogGetsALineForEachPhase) {
  Log log;
  ProgressDisplay display(log.file(), false);
  display.Show(0, {Running(0, kMiB)});
  display.Show(1, {Running(1024, kMiB)});
  display.Show(2, {{"job", "done", kMiB, kMiB}});
  display.Show(9 * kSecond, {{"job", "done", kMiB, kMiB}});
  EXPECT_EQ(log.News(),
            "job: running    0 %, 0 B of 1 MiB\n"
            "job: done       100 %, 1 MiB of 1 MiB\n");
}

TEST(ProgressDisplay, ATerminalGetsBarsThatTakeTheirOwnPlaceAgain) {
  Terminal terminal;
  ProgressDisplay display(terminal.file(), false);
  display.Show(0, {Running(0, 8 * kMiB)});
  EXPECT_EQ(terminal.News(),
            "job          [........................] running    0 %, 0 B of 8 MiB\n");
  display.Show(kSecond, {Running(2 * kMiB, 8 * kMiB)});
  EXPECT_EQ(terminal.News(),
            "\x1b[1A\x1b[2K"
            "job          [######..................] running    25 %, 2 MiB of 8 MiB, 2 MiB/s, "
            "3 s left\n");
  display.Say("told");
  EXPECT_EQ(terminal.News(),
            "\x1b[1A\x1b[2K"
            "told\n"
            "job          [######..................] running    25 %, 2 MiB of 8 MiB, 2 MiB/s, "
            "3 s left\n");
  display.Finish();
  display.Show(2 * kSecond, {Running(0, kMiB)});
  EXPECT_EQ(terminal.News(),
            "job          [........................] running    0 %, 0 B of 1 MiB\n");
}

TEST(ProgressDisplay, AQuietOneWritesNothing) {
  Log log;
  ProgressDisplay display(log.file(), true);
  display.Show(0, {Running(0, kMiB)});
  display.Say("told");
  EXPECT_EQ(log.News(), "");
}

}  // namespace
}  // namespace millrace::progress_display_test
