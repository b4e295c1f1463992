// A folder for the files of one test, removed with everything in it at the end.
#ifndef MILLRACE_TESTS_SUPPORT_TEMPORARY_FOLDER_H_
#define MILLRACE_TESTS_SUPPORT_TEMPORARY_FOLDER_H_

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include <gtest/gtest.h>

namespace millrace {

class TemporaryFolder {
 public:
  TemporaryFolder() : path_(::testing::TempDir() + "/millrace-XXXXXX") {
    EXPECT_NE(mkdtemp(path_.data()), nullptr) << path_;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace millrace

#endif  // MILLRACE_TESTS_SUPPORT_TEMPORARY_FOLDER_H_
