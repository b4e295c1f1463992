#include "examples/hypervisor/process/fd_sets.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace millrace::fd_sets_test {
namespace {

class FdSetsTest : public testing::Test {
 protected:
  ~FdSetsTest() override {
    close(reader_);
    close(both_);
  }
  std::string Add(int fd, int set) {
    const absl::Status status =
        sets_.AddFromOption("fd=" + std::to_string(fd) + ",set=" + std::to_string(set));
    return std::string(status.message());
  }

  FdSets sets_;
  const int reader_ = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int both_ = open("/dev/null", O_RDWR | O_CLOEXEC);
};

TEST_F(FdSetsTest, ClosesWhatOptionsHaveNamedWhenNoMoreCome) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  EXPECT_EQ(Add(ends[0], 1), "");
  EXPECT_EQ(Add(ends[0], 2), "");
  EXPECT_EQ(Add(ends[1], 1), "");
  ASSERT_EQ(dup3(both_, ends[1], O_CLOEXEC), ends[1]);  // somebody else's by now
  sets_.CloseGiven();
  EXPECT_EQ(fcntl(ends[0], F_GETFD), -1);
  EXPECT_EQ(fcntl(ends[1], F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(sets_.Describe()[2].size(), 1u);
  EXPECT_EQ(fcntl(static_cast<int>(sets_.Describe()[2][0].fd), F_GETFD), FD_CLOEXEC);
  close(ends[1]);
}

TEST_F(FdSetsTest, OpensTheDescriptorWithTheWantedMode) {
  EXPECT_EQ(Add(both_, 1), "");
  EXPECT_EQ(Add(reader_, 1), "");
  EXPECT_EQ(Add(reader_, 2), "");
  const auto mode = [&](int set, bool is_writable) {
    const absl::StatusOr<int> fd = sets_.Open(set, is_writable);
    if (!fd.ok()) return -1;
    const int flags = fcntl(*fd, F_GETFL) & O_ACCMODE;
    EXPECT_EQ(fcntl(*fd, F_GETFD), FD_CLOEXEC);
    close(*fd);
    return flags;
  };
  EXPECT_EQ(mode(1, true), O_RDWR);
  EXPECT_EQ(mode(1, false), O_RDONLY);
  EXPECT_EQ(mode(2, false), O_RDONLY);
  EXPECT_EQ(mode(2, true), -1);
  EXPECT_EQ(mode(3, false), -1);
  EXPECT_EQ(sets_.Open(2, true).status().message(),
            "Could not dup FD for /dev/fdset/2 flags 2: Permission denied");
  EXPECT_EQ(sets_.Open(3, false).status().message(),
            "Could not dup FD for /dev/fdset/3 flags 0: No such file or directory");
}

TEST_F(FdSetsTest, KnowsItsNames) {
  EXPECT_EQ(FdSets::SetNumber("/dev/fdset/12"), 12);
  for (const char* name : {"/dev/fdset/", "/dev/fdset/x", "/dev/fdset/1/2", "/dev/fd/1", "",
                           "/dev/fdset/99999999999999999999"}) {
    EXPECT_FALSE(FdSets::SetNumber(name).has_value()) << name;
  }
}

TEST_F(FdSetsTest, RefusesWhatCannotBeAdded) {
  EXPECT_EQ(Add(-1, 1), "fd option is required and must be non-negative");
  EXPECT_EQ(Add(both_, -1), "set option is required and must be non-negative");
  EXPECT_EQ(Add(1, 1), "fd cannot be a standard I/O stream");
  EXPECT_NE(Add(1000000, 1), "");
  EXPECT_EQ(sets_.AddFromOption("fd=5,set=1,x=1").message(), "Parameter 'x' is unexpected");
}

}  // namespace
}  // namespace millrace::fd_sets_test
